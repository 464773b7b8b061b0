"""Whom is encrypted for: the key service is asked, and asked again."""

import time
from collections.abc import Callable

from keyservice.client import Answer, Mailbox, Outcome
from letterlock.subkeys import usable_subkeys
from letterlock.transaction import Recipient

ASKED_ANEW_SECONDS = 60
"""How long after a withdrawal mail may still be encrypted to the certificate."""


class NoCertificate(Exception):
    """There is nothing to encrypt to; the text says why."""

    def __init__(self, answer: Answer) -> None:
        """`answer`: of the key service."""
        super().__init__(_why_not(answer))
        self.outcome = answer.outcome


class Addressee:
    """The owner of a mailbox."""

    def __init__(
        self,
        mailbox: Mailbox,
        lookup: Callable[[Mailbox], Answer],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Ask nobody yet."""
        self._mailbox = mailbox
        self._lookup = lookup
        self._clock = clock
        self._known: Recipient | None = None
        self._asked_at = 0.0

    def recipient(self) -> Recipient:
        """Return him, with subkeys that could be used a minute ago. Raises NoCertificate."""
        now = self._clock()
        if self._known is None or not 0 <= now - self._asked_at < ASKED_ANEW_SECONDS:
            answer = self._lookup(self._mailbox)
            subkeys = usable_subkeys(answer, now)
            if not subkeys:
                raise NoCertificate(answer)
            self._known = Recipient(self._mailbox, answer, subkeys)
            self._asked_at = now
        return self._known


def _why_not(answer: Answer) -> str:
    match answer.outcome:
        case Outcome.OUTSIDE:
            return "its domain is not served by the key service"
        case Outcome.NOT_FOUND:
            return "it has no certificate"
        case Outcome.FOUND:
            return "its certificate has no subkey that can be encrypted to"
        case Outcome.REJECTED | Outcome.UNAVAILABLE:
            return answer.reason or answer.outcome.value
