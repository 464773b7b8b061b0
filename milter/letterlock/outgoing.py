"""One recipient's message, ready to leave: outer header and body, from what was kept."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Protocol

from letterlock import pgpmime
from letterlock.ciphertext import one_off
from letterlock.errors import CallbackOrder
from letterlock.header_protection import NOTHING_RECORDED, Form, inexact, payload_head
from letterlock.outer_header import (
    OuterHeader,
    arrived_encrypted_outer_header,
    as_arrived,
    wrapped_outer_header,
)
from letterlock.own_fields import Delivery, Marker, encrypted_header_field
from letterlock.plan import UNCHANGED, Treated
from letterlock.policy import Treatment
from letterlock.transaction import Recipient, Transaction

_RANDOM_OCTETS = 16
_PIECE_OCTETS = 48 * 1024


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message of ours."""

    header: OuterHeader
    body: Iterable[bytes] | None
    """The same octets each time it is read; None: as it arrived."""


class Builds(Protocol):
    """What makes messages."""

    def build(self, transaction: Transaction, treated: Treated) -> Outgoing:
        """Return the message for a recipient. Raises LetterlockError."""


@dataclass(frozen=True, slots=True)
class Builder:
    """Makes the messages of every transaction."""

    authserv_id: str
    clock: Callable[[], float]
    random: Callable[[int], bytes]

    def build(self, transaction: Transaction, treated: Treated) -> Outgoing:
        """Return the message for a recipient."""
        if treated.treatment in UNCHANGED:
            # What leaves in the clear says nothing of how its sender was authenticated.
            recorded = transaction.recorded if transaction.submitted is None else NOTHING_RECORDED
            return Outgoing(as_arrived(transaction.section, recorded), None)
        if treated.treatment is Treatment.HEADER:
            return self._with_encrypted_header(transaction, treated.recipient)
        return self._wrapped(transaction, treated)

    def encrypted_header(self, transaction: Transaction, recipient: Recipient) -> bytes:
        """Return the header section, encrypted to `recipient` (binary octets)."""
        section = transaction.section
        payload = payload_head(section, Form.HEADER, inexact(section), transaction.recorded)
        return one_off(payload, recipient.subkeys, recipient.seipd)

    def _wrapped(self, transaction: Transaction, treated: Treated) -> Outgoing:
        recipient = treated.recipient
        boundary = pgpmime.boundary(self.random(_RANDOM_OCTETS))
        header = wrapped_outer_header(
            transaction.section,
            recipient.answer.policy,
            self._delivery(recipient, is_ours=treated.treatment is Treatment.WRAP),
            boundary,
            transaction.recorded.forged,
        )
        ciphertext = transaction.ciphertexts[recipient.form, recipient.seipd]
        return Outgoing(header, _Wrapped(boundary, ciphertext.armored_for(recipient.subkeys)))

    def _with_encrypted_header(self, transaction: Transaction, recipient: Recipient) -> Outgoing:
        field = encrypted_header_field(self.encrypted_header(transaction, recipient))
        header = arrived_encrypted_outer_header(
            transaction.section,
            recipient.answer.policy,
            self._delivery(recipient, is_ours=True),
            field,
            transaction.recorded.forged,
        )
        return Outgoing(header, None)

    def _delivery(self, recipient: Recipient, *, is_ours: bool) -> Delivery:
        fingerprint = recipient.fingerprint or ""
        return Delivery(
            mailbox=recipient.mailbox,
            marker=Marker(self.authserv_id, fingerprint) if is_ours else None,
            now=datetime.fromtimestamp(self.clock(), UTC),
            message_id=f"<{self.random(_RANDOM_OCTETS).hex()}@{recipient.mailbox.domain}>",
        )


def octets(outgoing: Outgoing, transaction: Transaction) -> Iterator[bytes]:
    """Yield the complete message, for a copy that re-enters."""
    yield outgoing.header.octets + b"\r\n"
    if outgoing.body is not None:
        yield from outgoing.body
    elif transaction.arrived is not None:
        yield from transaction.arrived.read()
    else:
        raise CallbackOrder("the body that arrived was not set aside")


@dataclass(frozen=True, slots=True)
class _Wrapped:
    """A body made by `pgpmime`; the same octets each time it is read."""

    boundary: bytes
    encrypted: Iterable[bytes]

    def __iter__(self) -> Iterator[bytes]:
        pieces = [pgpmime.head(self.boundary)], self.encrypted, [pgpmime.tail(self.boundary)]
        return _joined(chain(*pieces))


def _joined(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield `pieces` in fewer and larger ones: each costs libmilter a packet."""
    gathered: list[bytes] = []
    size = 0
    for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size >= _PIECE_OCTETS:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)
