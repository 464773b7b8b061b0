"""What people and monitoring want to know: list, explanation, numbers. Reads only."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    and_,
    case,
    func,
    or_,
    select,
    true,
)

from keyservice import schema, store
from keyservice.certificate import Certificate
from keyservice.inquiries import Told
from keyservice.mailbox import Mailbox
from keyservice.operator_wire import BoundCertificate, Event, Inquired, Sighting, Subkey
from keyservice.schema import BindingState

STATES = ("in_use", "expired", "refused", "withdrawn")
"""Of a mailbox that has or had a certificate. Also the metric label."""

_EVENTS_MAX = 100
_decoder = msgspec.json.Decoder(Certificate)


class Period(NamedTuple):
    """From the second behind `after` to the second `until`."""

    after: int
    until: int


class Listed(msgspec.Struct, frozen=True):
    """A mailbox that has or had a certificate."""

    mailbox: Mailbox
    certificate: Certificate | None
    waits_until: int | None = None


def page(
    connection: Connection, after: str, limit: int, period: Period | None = None
) -> list[Listed]:
    """Return up to `limit` mailboxes whose address comes after `after`.

    Only those whose certificate in use ends within `period`, if one is given.
    """
    m, b, c = schema.mailbox, schema.binding, schema.certificate
    is_active = and_(b.c.mailbox_id == m.c.id, b.c.state == BindingState.ACTIVE.value)
    rows = connection.execute(
        select(m.c.address, c.c.facts, store.waits_until(m).label("until"))
        .select_from(m.outerjoin(b, is_active).outerjoin(c, c.c.fingerprint == b.c.fingerprint))
        .where(m.c.address > after, m.c.first_certificate_at.is_not(None))
        .where(true() if period is None else _ends(period))
        .order_by(m.c.address)
        .limit(limit)
    )
    return [
        Listed(
            Mailbox.parse(row.address),
            _decoder.decode(row.facts) if row.facts else None,
            row.until,
        )
        for row in rows
    ]


def bindings(connection: Connection, mailbox: Mailbox) -> tuple[BoundCertificate, ...]:
    """Return what is, was or may come in use for `mailbox`: in use, then the latest first."""
    m, b, c = schema.mailbox, schema.binding, schema.certificate
    rows = connection.execute(
        select(b, c.c.vetted_at, c.c.facts)
        .join(c, c.c.fingerprint == b.c.fingerprint)
        .join(m, m.c.id == b.c.mailbox_id)
        .where(m.c.address == mailbox.key)
        .order_by(b.c.state != BindingState.ACTIVE.value, b.c.since.desc())
    )
    return tuple(_bound(row) for row in rows)


def inquired(told: Sequence[Told]) -> tuple[Inquired, ...]:
    """Return who was asked and what they said."""
    return tuple(
        Inquired(
            source=one.source,
            result=one.result.value,
            at=one.at,
            detail=one.detail,
            refused=one.refused,
        )
        for one in told
    )


def evidence(connection: Connection, mailbox: Mailbox) -> tuple[Sighting, ...]:
    """Return who showed which certificate for `mailbox`, the latest first."""
    e = schema.evidence
    rows = connection.execute(_of(mailbox, select(e), e).order_by(e.c.id.desc()).limit(_EVENTS_MAX))
    return tuple(
        Sighting(
            fingerprint=row.fingerprint,
            source=row.source,
            level=row.level,
            authenticated=row.authenticated,
            at=row.seen_at,
            detail=row.detail,
        )
        for row in rows
    )


def events(connection: Connection, mailbox: Mailbox) -> tuple[Event, ...]:
    """Return what happened to `mailbox`, the latest first."""
    e = schema.event
    rows = connection.execute(_of(mailbox, select(e), e).order_by(e.c.id.desc()).limit(_EVENTS_MAX))
    return tuple(
        Event(
            kind=row.kind,
            at=row.at,
            fingerprint=row.fingerprint,
            reason=row.reason,
            detail=row.detail,
        )
        for row in rows
    )


def states(connection: Connection, now: int) -> dict[str, int]:
    """Return how many mailboxes have a certificate in each state."""
    m, b, c = schema.mailbox, schema.binding, schema.certificate
    is_active = and_(b.c.mailbox_id == m.c.id, b.c.state == BindingState.ACTIVE.value)
    has_expired = or_(c.c.refusal == "expired", c.c.not_after <= now)
    state = case(
        (c.c.fingerprint.is_(None), "withdrawn"),
        (has_expired, "expired"),
        (c.c.refusal.is_not(None), "refused"),
        else_="in_use",
    ).label("state")
    counted = connection.execute(
        select(state, func.count())
        .select_from(m.outerjoin(b, is_active).outerjoin(c, c.c.fingerprint == b.c.fingerprint))
        .where(m.c.first_certificate_at.is_not(None))
        .group_by(state)
    )
    return dict.fromkeys(STATES, 0) | {row[0]: row[1] for row in counted}


def expiring(connection: Connection, period: Period) -> int:
    """Return for how many mailboxes the certificate in use ends within `period`."""
    b, c = schema.binding, schema.certificate
    is_active = b.c.state == BindingState.ACTIVE.value
    counted = connection.scalar(
        select(func.count())
        .select_from(b.join(c, c.c.fingerprint == b.c.fingerprint))
        .where(is_active, _ends(period))
    )
    return counted or 0


def subkeys(certificate: Certificate) -> tuple[Subkey, ...]:
    """Return all encryption subkeys, those refused last."""
    used = (Subkey(fingerprint=s.fingerprint, not_after=s.not_after) for s in certificate.subkeys)
    refused = (
        Subkey(fingerprint=s.fingerprint, refused=s.reason) for s in certificate.refused_subkeys
    )
    return (*used, *refused)


def _ends(period: Period) -> ColumnElement[bool]:
    c = schema.certificate
    return and_(c.c.refusal.is_(None), c.c.not_after > period.after, c.c.not_after <= period.until)


def _of(mailbox: Mailbox, query: Select[Any], table: Table) -> Select[Any]:
    m = schema.mailbox
    return query.select_from(table.join(m, m.c.id == table.c.mailbox_id)).where(
        m.c.address == mailbox.key
    )


def _bound(row: Row[*tuple[Any, ...]]) -> BoundCertificate:
    certificate = _decoder.decode(row.facts)
    refusal = certificate.refusal
    return BoundCertificate(
        fingerprint=certificate.fingerprint,
        state=row.state,
        since=row.since,
        vetted_at=row.vetted_at,
        not_after=certificate.not_after,
        refused=f"{refusal.reason.value}: {refusal.detail}" if refusal else None,
        subkeys=subkeys(certificate),
        level=row.level,
        source=row.source,
        until=row.until,
        encrypted_to_at=row.encrypted_to_at,
        possession_proved_at=row.possession_proved_at,
    )
