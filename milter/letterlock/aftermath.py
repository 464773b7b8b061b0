"""What the key service learns of a submission that was accepted."""

import time
from collections.abc import Callable

from keyservice.client import Mailbox, PeerClient, PeerOutcome, SenderClient, Use
from letterlock import evidence
from letterlock.behind import Behind, ReportResult
from letterlock.message import HeaderSection
from letterlock.seldom import Seldom

_USED_MAX = 10_000
_USED_SECONDS = 3600.0
"""That one of so many certificates was used is told once in so many seconds."""


class Aftermath:
    """Any thread may call it; nothing here waits or raises."""

    def __init__(
        self,
        behind: Behind,
        peers: PeerClient,
        senders: SenderClient,
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock`: seconds since 1970; `monotonic` is for intervals."""
        self._behind = behind
        self._peers = peers
        self._senders = senders
        self._clock = clock
        self._used = Seldom(_USED_SECONDS, _USED_MAX, monotonic)

    def encrypted_to(self, mailbox: Mailbox, fingerprint: str) -> None:
        """The certificate of a peer was used: one half of LEAP's "successfully used"."""
        # The other half may never come, and mail to him goes on.
        if not self._used.is_due((mailbox.key, fingerprint)):
            return

        def tell() -> ReportResult:
            answer = self._peers.used(mailbox, Use(fingerprint=fingerprint, encrypted_to=True))
            heard = answer.outcome is not PeerOutcome.UNREACHABLE
            return ReportResult.NOTED if heard else ReportResult.UNHEARD

        self._behind.offer(tell)

    def wrote(self, author: Mailbox, section: HeaderSection) -> None:
        """The client of `author`, who was authenticated, wrote this header section."""
        submitted = evidence.submitted(section, int(self._clock()))
        if submitted is None:
            return

        def tell() -> ReportResult:
            taken = self._senders.autocrypt(author, submitted)
            return ReportResult.UNHEARD if taken is None else ReportResult.NOTED

        self._behind.offer(tell, sum(map(len, submitted.autocrypt_fields)))
