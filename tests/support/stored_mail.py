"""Mail as it lies in a store, an encryption for its owner, and what he reads of the result."""

from fake_keyservice import MemoryOwner
from keyservice.client import Answer, Mailbox, MailboxPolicy
from letterlock.ciphertext import Spill
from letterlock.message import split
from letterlock.reencryption.addressee import Addressee
from letterlock.reencryption.encryption import Encryption
from letterlock.restore import encrypted_header, restore

NOW = 1_795_000_000.0


def encryption(owner: MemoryOwner, clock=lambda: NOW, **policy: object) -> Encryption:
    """Return one that encrypts to `owner` under `policy`."""

    def lookup(mailbox: Mailbox) -> Answer:
        answer = owner.answer()
        return Answer(
            mailbox=mailbox.key,
            outcome=answer.outcome,
            policy=MailboxPolicy(**policy),
            fingerprint=answer.fingerprint,
            subkeys=answer.subkeys,
        )

    spill = Spill("/nonexistent", 1 << 30)
    addressee = Addressee(Mailbox.parse(owner.address), lookup, clock)
    return Encryption(addressee, "mx.example.test", spill)


def is_encrypted(stored: bytes) -> bool:
    """Whether it is one of ours."""
    return bool(split(stored)[0].named(b"letterlock"))


def original(owner: MemoryOwner, stored: bytes) -> bytes:
    """Return what `letterlock decrypt --original` prints."""
    section, body = split(stored.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    header = encrypted_header(section)
    payload = owner.decrypt(body) if header is None else owner.open(header) + body
    return restore(payload).octets
