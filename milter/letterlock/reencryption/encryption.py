"""What the milter would have made of a stored message: same policy, same format."""

import os
import re
from dataclasses import dataclass
from enum import Enum

from letterlock import payloads
from letterlock.ciphertext import Spill
from letterlock.classify import Classifier, is_for
from letterlock.envelope import Envelope
from letterlock.errors import SpillFailed
from letterlock.message import CRLF, HeaderField, HeaderSection, split
from letterlock.openpgp import EncryptedMessage
from letterlock.outgoing import Builder, Outgoing
from letterlock.own_fields import ENCRYPTED_HEADER_OCTETS_MAX, UnprintableField
from letterlock.plan import UNCHANGED, Treated
from letterlock.policy import Treatment, treat
from letterlock.reencryption.addressee import Addressee
from letterlock.reencryption.line_ends import Arrived
from letterlock.reencryption.store import MessageFailed, StoreFailed
from letterlock.transaction import Recipient, Transaction

_OURS = re.compile(rb"v=1;[ \t]*by=[^;\s]+;[ \t]*fpr=(?:[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})")

_FORMS_OF_DOVECOT = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"Dovecot-LZ4\x0d": "lz4",
    b"CRYPTED\x03\x07": "mail-crypt",
}
"""How files begin that hold a message in a form which only Dovecot reads."""


class Left(Enum):
    """Why a message stays as it is."""

    OURS = "encrypted_already"
    PASSED = "arrived_encrypted_pass"
    """The mailbox' policy leaves mail alone that arrived encrypted."""


@dataclass(frozen=True, slots=True)
class Encrypted:
    """A message that may take the place of the one it was made of."""

    octets: bytes
    treatment: Treatment


class Encryption:
    """Encrypts the stored messages of one mailbox."""

    def __init__(self, addressee: Addressee, authserv_id: str, spill: Spill) -> None:
        """`authserv_id`: as in the milter's configuration."""
        self._addressee = addressee
        self._authserv_id = authserv_id
        self._spill = spill

    def encrypt(self, stored: bytes, stored_at: float) -> Encrypted | Left:
        """Return what takes the place of `stored`, or why nothing does.

        `stored_at`: seconds since 1970, of which `hcp_all` shows the day. Raises
        NoCertificate, StoreFailed, and MessageFailed where nothing can be made of it.
        """
        for beginning, name in _FORMS_OF_DOVECOT.items():
            if stored.startswith(beginning):
                raise MessageFailed(f"stored by Dovecot as {name}, which only IMAP reads")
        recipient = self._addressee.recipient()
        arrived = Arrived.of(stored)
        section, body = split(arrived.octets)
        found = _classified(section, body)
        if found is not None and any(map(_is_ours, section.named(b"letterlock"))):
            return Left.OURS
        # Of mail that just arrived, what is encrypted to somebody else is wrapped. In a store
        # it is mail that the owner sent, or has had the key of: nested, programs show nothing.
        treatment = treat(
            recipient.answer, can_encrypt=True, encrypted_to_own_subkey=found is not None
        )
        if treatment in UNCHANGED:
            return Left.PASSED
        transaction = _transaction(recipient, section, arrived)
        builder = Builder(self._authserv_id, lambda: stored_at, os.urandom)
        if treatment is Treatment.HEADER and not (
            arrived.is_uniform and _fits(builder.encrypted_header(transaction, recipient))
        ):
            treatment = Treatment.WRAP
        made = self._made(builder, transaction, Treated(recipient, treatment), body)
        return Encrypted(arrived.as_stored(made), treatment)

    def _made(
        self, builder: Builder, transaction: Transaction, treated: Treated, body: bytes
    ) -> bytes:
        try:
            if treated.treatment is Treatment.WRAP:
                payloads.begin(transaction, self._spill)
                payloads.write(transaction, body)
                payloads.close(transaction)
            made = _joined(builder.build(transaction, treated), body)
        except UnprintableField as error:
            raise MessageFailed(f"no outer {error} field can be made of its own") from None
        except SpillFailed as error:
            raise StoreFailed(str(error)) from None
        finally:
            transaction.discard()
        _require_encrypted(made, treated)
        return made


def _require_encrypted(made: bytes, treated: Treated) -> None:
    # The original goes for good: what replaces it is looked at as if it had come in.
    found = _classified(*split(made))
    is_wrapped = treated.treatment is Treatment.WRAP
    if found is None or (is_wrapped and not is_for(found, treated.recipient.subkeys)):
        raise MessageFailed("what was made of it does not read as encrypted")


def _joined(outgoing: Outgoing, body: bytes) -> bytes:
    pieces = [body] if outgoing.body is None else outgoing.body
    return b"".join((outgoing.header.octets, CRLF, *pieces))


def _transaction(recipient: Recipient, section: HeaderSection, arrived: Arrived) -> Transaction:
    return Transaction(
        Envelope(""),
        recipients={recipient.mailbox.key: recipient},
        section=section,
        recorded=arrived.recorded,
    )


def _classified(section: HeaderSection, body: bytes) -> EncryptedMessage | None:
    classifier = Classifier(section)
    classifier.write(body)
    return classifier.close()


def _is_ours(field: HeaderField) -> bool:
    return _OURS.fullmatch(field.unfolded) is not None


def _fits(encrypted: bytes) -> bool:
    return len(encrypted) <= ENCRYPTED_HEADER_OCTETS_MAX
