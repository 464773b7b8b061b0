"""What is stored: certificates with the facts about them, and all that an answer needs.

Each public function runs in the transaction of the connection it is given, so that an
enrolment is one transaction, whatever it consists of.
"""

import json

import msgspec
from sqlalchemy import Connection, Row, ScalarSelect, Table, func, select, update

from keyservice import schema
from keyservice.certificate import Certificate, usable_until
from keyservice.errors import KeyServiceError
from keyservice.mailbox import Mailbox
from keyservice.schema import BindingState
from keyservice.upsert import upsert

_facts_encoder = msgspec.json.Encoder()
_facts_decoder = msgspec.json.Decoder(Certificate)


class StoredMailbox(msgspec.Struct, frozen=True):
    """All that an answer needs, from two indexed reads."""

    had_certificate: bool
    certificate: Certificate | None
    settings: dict[str, object]
    waits_until: int | None = None
    """When another certificate takes over, if one waits."""


def find(connection: Connection, mailbox: Mailbox) -> StoredMailbox | None:
    """Return what is stored about `mailbox`; its cost does not depend on their number."""
    m, b, c = schema.mailbox, schema.binding, schema.certificate
    is_active = (b.c.mailbox_id == m.c.id) & (b.c.state == BindingState.ACTIVE.value)
    joined = m.outerjoin(b, is_active).outerjoin(c, c.c.fingerprint == b.c.fingerprint)
    row = connection.execute(
        select(m.c.id, m.c.first_certificate_at, c.c.facts, waits_until(m).label("until"))
        .select_from(joined)
        .where(m.c.address == mailbox.key)
    ).one_or_none()
    if row is None:
        return None
    had_certificate = row.first_certificate_at is not None
    # Registered when the domain was none of ours: nobody enrolled it.
    counts = had_certificate and row.facts is not None
    return StoredMailbox(
        had_certificate,
        _facts_decoder.decode(row.facts) if counts else None,
        _settings(connection, row.id),
        row.until,
    )


def waits_until(m: Table) -> ScalarSelect[int]:
    """Return the column that says until when a certificate waits for a mailbox."""
    waiting = schema.binding.alias("waiting")
    return (
        select(func.max(waiting.c.until))
        .where(waiting.c.mailbox_id == m.c.id, waiting.c.state == BindingState.WAITING.value)
        .scalar_subquery()
    )


def due_holds(connection: Connection, now: int, limit: int) -> list[Mailbox]:
    """Return mailboxes for which a certificate has waited long enough, the longest first."""
    m, b = schema.mailbox, schema.binding
    rows = connection.scalars(
        select(m.c.address)
        .join(b, b.c.mailbox_id == m.c.id)
        .where(b.c.until <= now, b.c.state == BindingState.WAITING.value)
        .order_by(b.c.until)
        .limit(limit)
    )
    return [Mailbox.parse(address) for address in rows]


def octets_of(connection: Connection, fingerprint: str) -> bytes | None:
    """Return the stored octets of a certificate."""
    c = schema.certificate
    stored: bytes | None = connection.scalar(
        select(c.c.octets).where(c.c.fingerprint == fingerprint)
    )
    return stored


class StoredChanged(KeyServiceError):
    """Somebody else stored more of the certificate meanwhile; trying again helps."""

    error = "busy"
    status = 503


def require_unchanged(connection: Connection, fingerprint: str, octets: bytes | None) -> None:
    """Raise StoredChanged unless `octets` are what is stored of a certificate.

    They were read before vetting; to write what came of it over what was learned since would
    lose that, a revocation for example.
    """
    if octets_of(connection, fingerprint) != octets:
        raise StoredChanged("the certificate was changed at the same time")


def save_certificate(
    connection: Connection, found: Certificate, octets: bytes, now: int, vet_at: int
) -> None:
    """Store what vetting found, in place of what it found before."""
    columns = {
        "octets": octets,
        "facts": _facts_encoder.encode(found),
        "refusal": found.refusal.reason.value if found.refusal else None,
        "not_after": usable_until(found),
        "vetted_at": now,
        "vet_at": vet_at,
    }
    upsert(connection, schema.certificate, {"fingerprint": found.fingerprint}, columns)


def put_off(connection: Connection, fingerprint: str, vet_at: int) -> None:
    """Vet a certificate no earlier than at `vet_at`."""
    c = schema.certificate
    connection.execute(update(c).where(c.c.fingerprint == fingerprint).values(vet_at=vet_at))


def bound_mailboxes(connection: Connection, fingerprint: str) -> list[Mailbox]:
    """Return the mailboxes for which a certificate is in use."""
    m, b = schema.mailbox, schema.binding
    rows = connection.scalars(
        select(m.c.address)
        .join(b, b.c.mailbox_id == m.c.id)
        .where(b.c.fingerprint == fingerprint, b.c.state == BindingState.ACTIVE.value)
    )
    return [Mailbox.parse(address) for address in rows]


def due(connection: Connection, now: int, limit: int) -> list[str]:
    """Return certificates in use or waiting that are due for vetting, the longest due first."""
    c, b = schema.certificate, schema.binding
    in_use = select(b.c.fingerprint).where(
        b.c.fingerprint == c.c.fingerprint,
        b.c.state.in_([BindingState.ACTIVE.value, BindingState.WAITING.value]),
    )
    waiting = (
        select(c.c.fingerprint)
        .where(c.c.vet_at <= now, in_use.exists())
        .order_by(c.c.vet_at)
        .limit(limit)
    )
    return list(connection.scalars(waiting))


def certificate(connection: Connection, fingerprint: str) -> tuple[Certificate, bytes]:
    """Return the facts about a stored certificate, and its octets."""
    c = schema.certificate
    row = connection.execute(
        select(c.c.facts, c.c.octets).where(c.c.fingerprint == fingerprint)
    ).one()
    return _facts_decoder.decode(row.facts), row.octets


def facts_of(connection: Connection, fingerprint: str) -> Certificate | None:
    """Return the facts about a certificate, None if it is not stored."""
    c = schema.certificate
    facts: bytes | None = connection.scalar(select(c.c.facts).where(c.c.fingerprint == fingerprint))
    return None if facts is None else _facts_decoder.decode(facts)


def _settings(connection: Connection, mailbox_id: int) -> dict[str, object]:
    p = schema.mailbox_policy
    rows: list[Row[tuple[str, str]]] = list(
        connection.execute(select(p.c.name, p.c.value).where(p.c.mailbox_id == mailbox_id))
    )
    return {row.name: json.loads(row.value) for row in rows}
