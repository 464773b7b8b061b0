"""Answers about mailboxes: from the database, which is the truth, with copies left in Redis."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from keyservice import policy, store
from keyservice.cache import AnswerCache
from keyservice.certificate import usable_until
from keyservice.config import DomainSection
from keyservice.database import Database
from keyservice.decide import Standing, decide
from keyservice.errors import OutsideDomain
from keyservice.mailbox import Mailbox
from keyservice.metrics import Metrics
from keyservice.record import LIFETIME_MAX
from keyservice.replacement import Rules
from keyservice.rulebook import Rulebook
from keyservice.settling import Settled, settle
from keyservice.wire import Answer

log = logging.getLogger(__name__)


class Answers:
    """Any thread may call it."""

    def __init__(
        self,
        database: Database,
        domains: Mapping[str, DomainSection],
        cache: AnswerCache | None,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
        rulebook: Rulebook | None = None,
    ) -> None:
        """Answer for `domains`; every other domain is OUTSIDE."""
        self._rulebook = rulebook or Rulebook(domains)
        self._database = database
        self._domains = domains
        self._cache = cache
        self._metrics = metrics
        self._clock = clock
        self._changes = 0

    def answer(self, mailbox: Mailbox) -> Answer:
        """Return the answer about `mailbox`, and leave a signed copy of it in Redis."""
        changes = self._changes
        with self._metrics.lookup_seconds.time():
            answer = self.decide(mailbox)
        self._metrics.lookups.labels(answer.outcome.value).inc()
        if self._cache is not None:
            self._cache.put(mailbox, answer)
            # Something changed between our reading and our writing: perhaps this mailbox,
            # and then the copy just written is older than the removal that should end it.
            if changes != self._changes or self._has_changed_elsewhere(mailbox, answer):
                self._cache.forget(mailbox)
        return answer

    def decide(self, mailbox: Mailbox) -> Answer:
        """Return the answer about `mailbox` and leave no trace."""
        return decide(mailbox, self._standing(mailbox), self._clock())

    def changed(self, *mailboxes: Mailbox) -> int:
        """Make Redis forget `mailboxes`, whose new state is durable by now.

        Returns after how many seconds no copy of the old state is left: 0, unless Redis
        could not be told.
        """
        self._changes += 1  # before the removal, see `answer`
        if self._cache is None:
            return 0
        forgotten = [self._cache.forget(mailbox) for mailbox in mailboxes]
        return 0 if all(forgotten) else LIFETIME_MAX

    def rules(self, mailbox: Mailbox) -> Rules:
        """Return the rules that decide about `mailbox`."""
        return self._rulebook.of(mailbox)

    def settle(self, mailbox: Mailbox) -> Settled:
        """Decide anew about `mailbox`, since time has passed or somebody showed something."""
        with self._database.writing() as connection:
            settled = settle(connection, mailbox, self.rules(mailbox), self._clock())
        self.count(mailbox, settled.conflicts)
        if settled.has_changed:
            self.changed(mailbox)
        return settled

    def count(self, mailbox: Mailbox, conflicts: Iterable[str]) -> None:
        """Count conflicts that were not known before."""
        for conflict in conflicts:
            self._metrics.conflicts.labels(conflict).inc()
            # Of others' mailboxes no line: it would tell who writes to whom.
            if self.rules(mailbox).is_ours:
                log.info("certificate_conflict", extra={"mailbox": mailbox.key, "reason": conflict})

    def require_ours(self, mailbox: Mailbox) -> DomainSection:
        """Return what is configured for the domain of `mailbox`, or raise OutsideDomain."""
        domain = self._domains.get(mailbox.domain)
        if domain is None:
            raise OutsideDomain("its domain is not in the key service's configuration")
        return domain

    def _standing(self, mailbox: Mailbox) -> Standing | None:
        domain = self._domains.get(mailbox.domain)
        if domain is None:
            return None
        stored = self._find(mailbox)
        if stored is not None and self._is_due(stored):
            self.settle(mailbox)
            stored = self._find(mailbox)
        if stored is None:
            return Standing(policy.parse(domain.settings).mailbox)
        (settings, _), _ = policy.resolve(domain.settings, stored.settings)
        return Standing(settings, stored.had_certificate, stored.certificate, stored.waits_until)

    def _has_changed_elsewhere(self, mailbox: Mailbox, answer: Answer) -> bool:
        """Whether another service has decided otherwise since, and made Redis forget too early."""
        if not self._database.is_shared:
            return False
        times = {"issued_at": answer.issued_at, "expires_at": answer.expires_at}
        try:
            return msgspec.structs.replace(self.decide(mailbox), **times) != answer
        except SQLAlchemyError:  # a copy that cannot be checked is not left
            return True

    def _find(self, mailbox: Mailbox) -> store.StoredMailbox | None:
        with self._database.reading() as connection:
            return store.find(connection, mailbox)

    def _is_due(self, stored: store.StoredMailbox) -> bool:
        """Whether what waits need not wait any longer."""
        if stored.waits_until is None:
            return False
        end = None if stored.certificate is None else usable_until(stored.certificate)
        return min(stored.waits_until, end or stored.waits_until) <= self._clock()
