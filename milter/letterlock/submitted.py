"""What is known of a message that one of our own users hands in."""

from dataclasses import dataclass

from keyservice.client import Sender
from letterlock.dkim.body_hash import BodyHasher
from letterlock.dkim.signer import Signer
from letterlock.message import HeaderField, HeaderSection
from letterlock.senders import Author


@dataclass(frozen=True, slots=True)
class Submitted:
    """Whose it is, and what it was before it was cleaned."""

    author: Author

    sender: Sender
    received: HeaderSection
    kept: tuple[HeaderField | None, ...]
    """What became of each received field; new ones follow in the transaction's section."""

    body: BodyHasher
    """Of the body as it was handed in."""

    signers: tuple[Signer, ...] | None
    """None where nothing leaves, and nothing is signed."""

    @property
    def may_enrol(self) -> bool:
        """Whether the certificate that the client wrote of is the author's own word."""
        return self.sender.policy.autocrypt_enrols and self.author.is_owner
