"""Which notices there are to send, and what became of each.

A notice follows from an event, or from a certificate in use that ends soon; nobody who
enrols or withdraws knows of notices. Each public function runs in the transaction of the
connection it is given.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, and_, exists, false, or_, select, update

from keyservice import schema
from keyservice.mailbox import Mailbox
from keyservice.notice import Notice, NoticeKind, NoticeResult
from keyservice.report import Period
from keyservice.schema import BindingState, EventKind


class Claimed(NamedTuple):
    """A notice that is ours to send for now; None if there is nothing to say any more."""

    id: int
    made_at: int
    attempts: int
    notice: Notice | None


_IN_USE = (EventKind.ENROLLED.value, EventKind.REPLACED.value)
_KINDS = {
    EventKind.ENROLLED.value: NoticeKind.ENROLLED,
    EventKind.REPLACED.value: NoticeKind.REPLACED,
    EventKind.WAITING.value: NoticeKind.WAITING,
    EventKind.WITHDRAWN.value: NoticeKind.WITHDRAWN,
    EventKind.REFUSED.value: NoticeKind.REFUSED,
    EventKind.REVETTED.value: NoticeKind.REFUSED,
    EventKind.CLIENT_ISSUED.value: NoticeKind.CLIENT_ISSUED,
    EventKind.CLIENT_RENEWED.value: NoticeKind.CLIENT_ISSUED,
    EventKind.CLIENT_REVOKED.value: NoticeKind.CLIENT_REVOKED,
}


def add_changes(
    connection: Connection, domains: Collection[str], since: int, now: int, limit: int
) -> int:
    """Make a notice for each event from `since` on that has none; return how many, `limit` at most.

    An event without a fingerprint is about a certificate that never came into use: whoever
    tried to enrol it was told.
    """
    e, m, n = schema.event, schema.mailbox, schema.notice
    found = connection.execute(
        select(e.c.id, e.c.mailbox_id)
        .join(m, m.c.id == e.c.mailbox_id)
        .outerjoin(n, n.c.event_id == e.c.id)
        .where(e.c.at >= since, n.c.id.is_(None), e.c.fingerprint.is_not(None))
        .where(e.c.kind.in_(_KINDS), _is_ours(domains), _is_news())
        .order_by(e.c.at, e.c.id)  # by its index, as the condition is
        .limit(limit)
    ).all()
    return _add(connection, now, [{"event_id": r.id, "mailbox_id": r.mailbox_id} for r in found])


def add_warnings(
    connection: Connection,
    domains: Collection[str],
    period: Period,
    days: int,
    now: int,
    limit: int,
) -> int:
    """Make a notice for each certificate in use that ends within `period` and has no such notice.

    Returns how many, `limit` at most.
    """
    m, b, c, n = schema.mailbox, schema.binding, schema.certificate, schema.notice
    has_one = exists().where(
        n.c.mailbox_id == m.c.id,
        n.c.fingerprint == c.c.fingerprint,
        n.c.not_after == c.c.not_after,
        n.c.days == days,
    )
    found = connection.execute(
        select(m.c.id, c.c.fingerprint, c.c.not_after)
        .select_from(c)
        .join(b, and_(b.c.fingerprint == c.c.fingerprint, _is_active()))
        .join(m, m.c.id == b.c.mailbox_id)
        .where(c.c.refusal.is_(None), c.c.not_after > period.after, c.c.not_after <= period.until)
        .where(_is_ours(domains), ~has_one)
        .limit(limit)
    ).all()
    rows = [
        {"mailbox_id": r.id, "fingerprint": r.fingerprint, "not_after": r.not_after, "days": days}
        for r in found
    ]
    return _add(connection, now, rows)


def claim(connection: Connection, now: int, until: int) -> Claimed | None:
    """Take the notice that has waited longest; nobody else gets it before `until`."""
    n = schema.notice
    row = connection.execute(
        select(n).where(n.c.try_at <= now).order_by(n.c.try_at, n.c.id).limit(1)
    ).one_or_none()
    if row is None:
        return None
    taken = connection.execute(
        update(n)
        .where(n.c.id == row.id, n.c.try_at == row.try_at)
        .values(try_at=until, attempts=row.attempts + 1)
    )
    if taken.rowcount != 1:  # another instance was faster
        return None
    notice = _warning(connection, row) if row.event_id is None else _change(connection, row)
    return Claimed(row.id, row.made_at, row.attempts + 1, notice)


def settle(
    connection: Connection, notice_id: int, result: NoticeResult, try_at: int | None
) -> None:
    """Write down what became of a notice, and when it is tried again; None: never."""
    n = schema.notice
    connection.execute(
        update(n).where(n.c.id == notice_id).values(result=result.value, try_at=try_at)
    )


def _add(connection: Connection, now: int, rows: Sequence[dict[str, Any]]) -> int:
    if rows:
        made = {"made_at": now, "try_at": now, "attempts": 0}
        connection.execute(schema.notice.insert(), [row | made for row in rows])
    return len(rows)


def _change(connection: Connection, row: Row[*tuple[Any, ...]]) -> Notice:
    e, m, b = schema.event, schema.mailbox, schema.binding
    event = connection.execute(
        select(e, m.c.address).join(m, m.c.id == e.c.mailbox_id).where(e.c.id == row.event_id)
    ).one()
    kind = _KINDS[event.kind]
    of_mailbox = select(b).where(b.c.mailbox_id == event.mailbox_id)
    other = until = None
    if event.kind in _IN_USE:
        replaced = of_mailbox.where(
            b.c.state == BindingState.REPLACED.value,
            b.c.since == event.at,
            b.c.fingerprint != event.fingerprint,
        )
        found = connection.execute(replaced.limit(1)).one_or_none()
        if found is not None:
            kind, other = NoticeKind.REPLACED, found.fingerprint
    elif kind is NoticeKind.WAITING:
        bindings = connection.execute(of_mailbox).all()
        until = next((x.until for x in bindings if x.fingerprint == event.fingerprint), None)
        active = (x.fingerprint for x in bindings if x.state == BindingState.ACTIVE.value)
        other = next(active, None)
    return Notice(
        row.id,
        Mailbox.parse(event.address),
        kind,
        event.at,
        event.fingerprint,
        other=other if other != event.fingerprint else None,
        until=until,
        reason=event.detail,
    )


def _warning(connection: Connection, row: Row[*tuple[Any, ...]]) -> Notice | None:
    m, b, c = schema.mailbox, schema.binding, schema.certificate
    address = connection.scalar(
        select(m.c.address)
        .join(b, and_(b.c.mailbox_id == m.c.id, _is_active()))
        .join(c, c.c.fingerprint == b.c.fingerprint)
        .where(m.c.id == row.mailbox_id, c.c.fingerprint == row.fingerprint)
        .where(c.c.not_after == row.not_after, c.c.refusal.is_(None))
    )
    if address is None:  # extended, replaced or withdrawn meanwhile
        return None
    return Notice(
        row.id,
        Mailbox.parse(address),
        NoticeKind.EXPIRING,
        row.made_at,
        row.fingerprint,
        until=row.not_after,
    )


def _is_active() -> ColumnElement[bool]:
    return schema.binding.c.state == BindingState.ACTIVE.value


def _is_ours(domains: Collection[str]) -> ColumnElement[bool]:
    # Addresses in the table may be of other people's mailboxes, too.
    address = schema.mailbox.c.address
    return or_(false(), *(address.endswith(f"@{domain}", autoescape=True) for domain in domains))


def _is_news() -> ColumnElement[bool]:
    """A refusal that is found again every day is told once."""
    e, earlier = schema.event, schema.event.alias("earlier")
    return or_(
        e.c.reason.is_(None),
        ~exists().where(
            earlier.c.mailbox_id == e.c.mailbox_id,
            earlier.c.fingerprint == e.c.fingerprint,
            earlier.c.reason == e.c.reason,
            earlier.c.id < e.c.id,
        ),
    )
