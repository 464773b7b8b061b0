"""What the operator reads: the list, and everything about one mailbox."""

import time
from collections.abc import Callable, Mapping

from keyservice import autocrypt_store, dossier, inquiries, report
from keyservice.answers import Answers
from keyservice.certificate import usable_until
from keyservice.database import Database
from keyservice.decide import Standing, decide
from keyservice.explanation import in_words
from keyservice.mailbox import Mailbox
from keyservice.operator_wire import EnrolledMailbox, Explanation, MailboxPage
from keyservice.peers import outcome_of
from keyservice.senders import Senders
from keyservice.settings import MailboxSettings
from keyservice.settling import weigh
from keyservice.wire import MailboxPolicy, Outcome

PAGE_MAX = 500

DAY = 86_400

WARNINGS = (3, 14, 60)
"""Days before the end of a certificate at which its owner is warned, and the operator sees it."""

EXPIRING_MAX = 36_500
"""Days."""


class Overview:
    """Reads only; leaves no trace in Redis or in the lookup counters."""

    def __init__(
        self,
        database: Database,
        answers: Answers,
        settings: MailboxSettings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Decide as `answers` does."""
        self._database = database
        self._answers = answers
        self._settings = settings
        self._senders = Senders(database, answers, settings, clock)
        self._clock = clock

    def page(self, after: str, limit: int, expiring: int | None = None) -> MailboxPage:
        """Return up to `limit` mailboxes that have or had a certificate.

        Only those whose certificate ends within `expiring` days, if that is given.
        """
        period = None if expiring is None else self._days(expiring)
        with self._database.reading() as connection:
            listed = report.page(connection, after, limit, period)
        return MailboxPage(
            mailboxes=tuple(self._line(one) for one in listed),
            next=listed[-1].mailbox.key if len(listed) == limit else None,
        )

    def explain(self, mailbox: Mailbox) -> Explanation:
        """Return everything that is known about `mailbox`, ours or not."""
        rules, now = self._answers.rules(mailbox), self._clock()
        view = self._settings.show(mailbox) if rules.is_ours else None
        sender = self._senders.sender(mailbox) if rules.is_ours else None
        answer = self._answers.decide(mailbox)
        with self._database.reading() as connection:
            known = dossier.read(connection, mailbox, rules, now)
            told = inquiries.told(connection, mailbox)
            peer, why = outcome_of(mailbox, known, told, now)
            return Explanation(
                mailbox=mailbox.key,
                outcome=answer.outcome if rules.is_ours else Outcome(peer.value),
                is_ours=rules.is_ours,
                had_certificate=answer.had_certificate,
                reason=answer.reason if rules.is_ours else why,
                policy=view.policy if view else None,
                policy_sources=view.sources if view else {},
                sender=sender,
                decisions=tuple(map(in_words, weigh(known, rules, now).decisions)),
                bindings=report.bindings(connection, mailbox),
                inquiries=report.inquired(told),
                evidence=report.evidence(connection, mailbox),
                autocrypt=autocrypt_store.view(connection, mailbox, now),
                events=report.events(connection, mailbox),
            )

    def states(self) -> Mapping[str, int]:
        """Return how many mailboxes have a certificate in each state."""
        with self._database.reading() as connection:
            return report.states(connection, int(self._clock()))

    def expiring(self) -> Mapping[int, int]:
        """Return for how many mailboxes the certificate ends within each number of `WARNINGS`."""
        with self._database.reading() as connection:
            return {days: report.expiring(connection, self._days(days)) for days in WARNINGS}

    def require_readable(self) -> None:
        """Read something; raises what the database raises."""
        with self._database.reading() as connection:
            report.page(connection, "", 1)

    def _days(self, days: int) -> report.Period:
        now = int(self._clock())
        return report.Period(now, now + days * DAY)

    def _line(self, listed: report.Listed) -> EnrolledMailbox:
        standing = Standing(MailboxPolicy(), True, listed.certificate)
        answer = decide(listed.mailbox, standing, self._clock())
        return EnrolledMailbox(
            mailbox=listed.mailbox.key,
            outcome=answer.outcome,
            fingerprint=answer.fingerprint,
            not_after=usable_until(listed.certificate) if listed.certificate else None,
            reason=answer.reason,
            waits_until=listed.waits_until,
        )
