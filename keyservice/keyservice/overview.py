"""What the operator reads: the list, and everything about one mailbox."""

import time
from collections.abc import Callable, Mapping

from keyservice import report
from keyservice.answers import Answers
from keyservice.database import Database
from keyservice.decide import Standing, decide
from keyservice.mailbox import Mailbox
from keyservice.operator_wire import EnrolledMailbox, Explanation, MailboxPage
from keyservice.settings import MailboxSettings
from keyservice.wire import MailboxPolicy

PAGE_MAX = 500


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
        self._clock = clock

    def page(self, after: str, limit: int) -> MailboxPage:
        """Return up to `limit` mailboxes that have or had a certificate."""
        with self._database.reading() as connection:
            listed = report.page(connection, after, limit)
        return MailboxPage(
            mailboxes=tuple(self._line(one) for one in listed),
            next=listed[-1].mailbox.key if len(listed) == limit else None,
        )

    def explain(self, mailbox: Mailbox) -> Explanation:
        """Return everything that is known about `mailbox`. Raises OutsideDomain."""
        view = self._settings.show(mailbox)
        answer = self._answers.decide(mailbox)
        with self._database.reading() as connection:
            return Explanation(
                mailbox=mailbox.key,
                outcome=answer.outcome,
                had_certificate=answer.had_certificate,
                reason=answer.reason,
                policy=view.policy,
                policy_sources=view.sources,
                bindings=report.bindings(connection, mailbox),
                evidence=report.evidence(connection, mailbox),
                events=report.events(connection, mailbox),
            )

    def states(self) -> Mapping[str, int]:
        """Return how many mailboxes have a certificate in each state."""
        with self._database.reading() as connection:
            return report.states(connection, int(self._clock()))

    def require_readable(self) -> None:
        """Read something; raises what the database raises."""
        with self._database.reading() as connection:
            report.page(connection, "", 1)

    def _line(self, listed: report.Listed) -> EnrolledMailbox:
        standing = Standing(MailboxPolicy(), True, listed.certificate)
        answer = decide(listed.mailbox, standing, self._clock())
        return EnrolledMailbox(
            mailbox=listed.mailbox.key,
            outcome=answer.outcome,
            fingerprint=answer.fingerprint,
            not_after=listed.certificate.not_after if listed.certificate else None,
            reason=answer.reason,
        )
