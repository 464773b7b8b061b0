"""What the key service learns of a submission that was accepted."""

from collections.abc import Callable

from keyservice.client import Mailbox, PeerClient, PeerOutcome, SenderClient, Use
from letterlock import evidence
from letterlock.behind import Behind, ReportResult
from letterlock.message import HeaderSection


class Aftermath:
    """Any thread may call it; nothing here waits or raises."""

    def __init__(
        self,
        behind: Behind,
        peers: PeerClient,
        senders: SenderClient,
        clock: Callable[[], float],
    ) -> None:
        """`clock`: seconds since 1970."""
        self._behind = behind
        self._peers = peers
        self._senders = senders
        self._clock = clock

    def encrypted_to(self, mailbox: Mailbox, fingerprint: str) -> None:
        """The certificate of a peer was used: one half of LEAP's "successfully used"."""

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
