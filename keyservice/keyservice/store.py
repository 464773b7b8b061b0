"""What is stored about mailboxes: certificates, bindings, evidence, events, settings.

Each public function runs in the transaction of the connection it is given, so that an
enrolment is one transaction, whatever it consists of.
"""

import json

import msgspec
from sqlalchemy import Connection, Row, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from keyservice import schema
from keyservice.certificate import Certificate, Refusal
from keyservice.mailbox import Mailbox
from keyservice.schema import BindingState, EventKind, Source

_facts_encoder = msgspec.json.Encoder()
_facts_decoder = msgspec.json.Decoder(Certificate)


class StoredMailbox(msgspec.Struct, frozen=True):
    """All that an answer needs, from two indexed reads."""

    had_certificate: bool
    certificate: Certificate | None
    settings: dict[str, object]


class DueCertificate(msgspec.Struct, frozen=True):
    """A certificate that should be vetted again."""

    fingerprint: str
    octets: bytes
    certificate: Certificate


def find(connection: Connection, mailbox: Mailbox) -> StoredMailbox | None:
    """Return what is stored about `mailbox`; its cost does not depend on their number."""
    m, b, c = schema.mailbox, schema.binding, schema.certificate
    is_active = (b.c.mailbox_id == m.c.id) & (b.c.state == BindingState.ACTIVE.value)
    joined = m.outerjoin(b, is_active).outerjoin(c, c.c.fingerprint == b.c.fingerprint)
    row = connection.execute(
        select(m.c.id, m.c.first_certificate_at, c.c.facts)
        .select_from(joined)
        .where(m.c.address == mailbox.key)
    ).one_or_none()
    if row is None:
        return None
    return StoredMailbox(
        row.first_certificate_at is not None,
        None if row.facts is None else _facts_decoder.decode(row.facts),
        _settings(connection, row.id),
    )


def octets_of(connection: Connection, fingerprint: str) -> bytes | None:
    """Return the stored octets of a certificate."""
    c = schema.certificate
    stored: bytes | None = connection.scalar(
        select(c.c.octets).where(c.c.fingerprint == fingerprint)
    )
    return stored


def save_certificate(
    connection: Connection, certificate: Certificate, octets: bytes, now: int, vet_at: int
) -> None:
    """Store what vetting found, in place of what it found before."""
    found = {
        "octets": octets,
        "facts": _facts_encoder.encode(certificate),
        "refusal": certificate.refusal.reason.value if certificate.refusal else None,
        "not_after": certificate.not_after,
        "vetted_at": now,
        "vet_at": vet_at,
    }
    connection.execute(
        insert(schema.certificate)
        .values(fingerprint=certificate.fingerprint, **found)
        .on_conflict_do_update(index_elements=["fingerprint"], set_=found)
    )


def put_off(connection: Connection, fingerprint: str, vet_at: int) -> None:
    """Vet a certificate no earlier than at `vet_at`."""
    c = schema.certificate
    connection.execute(update(c).where(c.c.fingerprint == fingerprint).values(vet_at=vet_at))


def bind(connection: Connection, mailbox: Mailbox, fingerprint: str, now: int) -> str | None:
    """Use a stored certificate for `mailbox`; return the fingerprint of the one it replaces.

    The sighting is recorded as evidence. Nothing here judges: see `decide`.
    """
    mailbox_id = _mailbox_id(connection, mailbox)
    m, b = schema.mailbox, schema.binding
    old = _active(connection, mailbox_id)
    if old is not None and old != fingerprint:
        _set_state(connection, mailbox_id, old, BindingState.REPLACED, now)
    if old != fingerprint:
        active = {"state": BindingState.ACTIVE.value, "since": now}
        connection.execute(
            insert(b)
            .values(mailbox_id=mailbox_id, fingerprint=fingerprint, **active)
            .on_conflict_do_update(index_elements=["mailbox_id", "fingerprint"], set_=active)
        )
    connection.execute(
        update(m)
        .where(m.c.id == mailbox_id, m.c.first_certificate_at.is_(None))
        .values(first_certificate_at=now)
    )
    connection.execute(
        insert(schema.evidence).values(
            mailbox_id=mailbox_id,
            fingerprint=fingerprint,
            source=Source.OPERATOR.value,
            level=schema.OPERATOR_LEVEL,
            authenticated=True,
            seen_at=now,
        )
    )
    kind = EventKind.UPDATED if old == fingerprint else EventKind.ENROLLED
    note(connection, mailbox, kind, now, fingerprint)
    return old if old != fingerprint else None


def unbind(connection: Connection, mailbox: Mailbox, now: int) -> str | None:
    """Stop using the certificate of `mailbox`; return its fingerprint, None if there was none."""
    mailbox_id = _find_id(connection, mailbox)
    fingerprint = None if mailbox_id is None else _active(connection, mailbox_id)
    if mailbox_id is None or fingerprint is None:
        return None
    _set_state(connection, mailbox_id, fingerprint, BindingState.WITHDRAWN, now)
    note(connection, mailbox, EventKind.WITHDRAWN, now, fingerprint)
    return fingerprint


def bound_mailboxes(connection: Connection, fingerprint: str) -> list[Mailbox]:
    """Return the mailboxes for which a certificate is in use."""
    m, b = schema.mailbox, schema.binding
    rows = connection.scalars(
        select(m.c.address)
        .join(b, b.c.mailbox_id == m.c.id)
        .where(b.c.fingerprint == fingerprint, b.c.state == BindingState.ACTIVE.value)
    )
    return [Mailbox.parse(address) for address in rows]


def due(connection: Connection, now: int, limit: int) -> list[DueCertificate]:
    """Return certificates in use whose next vetting is due, the longest waiting first."""
    c, b = schema.certificate, schema.binding
    in_use = select(b.c.fingerprint).where(
        b.c.fingerprint == c.c.fingerprint, b.c.state == BindingState.ACTIVE.value
    )
    rows = connection.execute(
        select(c.c.fingerprint, c.c.octets, c.c.facts)
        .where(c.c.vet_at <= now, in_use.exists())
        .order_by(c.c.vet_at)
        .limit(limit)
    )
    return [DueCertificate(r.fingerprint, r.octets, _facts_decoder.decode(r.facts)) for r in rows]


def note(
    connection: Connection,
    mailbox: Mailbox,
    kind: EventKind,
    now: int,
    fingerprint: str | None = None,
    refusal: Refusal | None = None,
    detail: str | None = None,
) -> None:
    """Write down that something happened to `mailbox`."""
    connection.execute(
        insert(schema.event).values(
            mailbox_id=_mailbox_id(connection, mailbox),
            kind=kind.value,
            at=now,
            fingerprint=fingerprint,
            reason=refusal.reason.value if refusal else None,
            detail=refusal.detail if refusal else detail,
        )
    )


def set_setting(
    connection: Connection, mailbox: Mailbox, name: str, value: object, now: int
) -> None:
    """Let `mailbox` have a policy setting of its own."""
    stored = {"value": json.dumps(value), "set_at": now}
    connection.execute(
        insert(schema.mailbox_policy)
        .values(mailbox_id=_mailbox_id(connection, mailbox), name=name, **stored)
        .on_conflict_do_update(index_elements=["mailbox_id", "name"], set_=stored)
    )


def unset_setting(connection: Connection, mailbox: Mailbox, name: str) -> None:
    """Let the domain decide a setting again."""
    p = schema.mailbox_policy
    mailbox_id = _mailbox_id(connection, mailbox)
    connection.execute(delete(p).where(p.c.mailbox_id == mailbox_id, p.c.name == name))


def _settings(connection: Connection, mailbox_id: int) -> dict[str, object]:
    p = schema.mailbox_policy
    rows: list[Row[tuple[str, str]]] = list(
        connection.execute(select(p.c.name, p.c.value).where(p.c.mailbox_id == mailbox_id))
    )
    return {row.name: json.loads(row.value) for row in rows}


def _find_id(connection: Connection, mailbox: Mailbox) -> int | None:
    m = schema.mailbox
    found: int | None = connection.scalar(select(m.c.id).where(m.c.address == mailbox.key))
    return found


def _mailbox_id(connection: Connection, mailbox: Mailbox) -> int:
    connection.execute(insert(schema.mailbox).values(address=mailbox.key).on_conflict_do_nothing())
    mailbox_id = _find_id(connection, mailbox)
    if mailbox_id is None:
        raise RuntimeError("a mailbox that was just inserted is gone")
    return mailbox_id


def _active(connection: Connection, mailbox_id: int) -> str | None:
    b = schema.binding
    found: str | None = connection.scalar(
        select(b.c.fingerprint).where(
            b.c.mailbox_id == mailbox_id, b.c.state == BindingState.ACTIVE.value
        )
    )
    return found


def _set_state(
    connection: Connection, mailbox_id: int, fingerprint: str, state: BindingState, now: int
) -> None:
    b = schema.binding
    connection.execute(
        update(b)
        .where(b.c.mailbox_id == mailbox_id, b.c.fingerprint == fingerprint)
        .values(state=state.value, since=now)
    )
