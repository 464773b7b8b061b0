"""Many enrolled mailboxes, written into the key service's database directly.

Each has a certificate of its own: what vetting found about one real certificate, with
another mailbox and another point on the curve. Nobody could read mail encrypted to them.
"""

import os
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import msgspec
from sqlalchemy import func, select

from keyservice import schema, store
from keyservice.certificate import Certificate
from keyservice.database import Database
from keyservice.mailbox import Mailbox

_ROWS = 5_000
"""Mailboxes in one transaction."""

_A_YEAR = 365 * 86_400

# A version 4 ECDH subkey (RFC 9580 §5.5.5.6): the point is before the four KDF octets.
_POINT = slice(-36, -4)


def enrol(database: Path, like: Mailbox, addresses: Sequence[str]) -> None:
    """Enrol `addresses` as `like` is, which has a certificate with Curve25519 already."""
    opened = Database(database)
    try:
        with opened.reading() as connection:
            stored = store.find(connection, like)
            if stored is None or (facts := stored.certificate) is None:
                raise LookupError(f"{like} has no certificate")
            octets = store.octets_of(connection, facts.fingerprint) or b""
            taken = connection.scalar(select(func.max(schema.mailbox.c.id))) or 0
        numbered = iter(enumerate(addresses, start=taken + 1))
        while rows := list(islice(numbered, _ROWS)):
            _insert(opened, rows, facts, octets)
    finally:
        opened.close()


def _insert(
    database: Database, rows: list[tuple[int, str]], facts: Certificate, octets: bytes
) -> None:
    now = int(time.time())
    changed = {number: _like(facts, address) for number, address in rows}
    with database.writing() as connection:
        connection.execute(
            schema.mailbox.insert(),
            [{"id": n, "address": a, "first_certificate_at": now} for n, a in rows],
        )
        connection.execute(
            schema.certificate.insert(),
            [
                {
                    "fingerprint": certificate.fingerprint,
                    "octets": octets,
                    "facts": msgspec.json.encode(certificate),
                    "vetted_at": now,
                    "vet_at": now + _A_YEAR,
                }
                for certificate in changed.values()
            ],
        )
        connection.execute(
            schema.binding.insert(),
            [
                {
                    "mailbox_id": number,
                    "fingerprint": certificate.fingerprint,
                    "state": schema.BindingState.ACTIVE.value,
                    "since": now,
                }
                for number, certificate in changed.items()
            ],
        )


def _like(facts: Certificate, address: str) -> Certificate:
    subkey = facts.subkeys[0]
    packet = bytearray(subkey.packet)
    # Any 32 octets are a point (RFC 7748 §5).
    packet[_POINT] = os.urandom(32)
    return msgspec.structs.replace(
        facts,
        fingerprint=os.urandom(20).hex(),
        user_ids=(Mailbox.parse(address).key,),
        subkeys=(msgspec.structs.replace(subkey, packet=bytes(packet)),),
    )
