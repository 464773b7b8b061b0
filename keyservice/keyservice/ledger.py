"""What happens to mailboxes is written here: evidence, events, settings; see also `bindings`.

Each public function runs in the transaction of the connection it is given, so that an
enrolment is one transaction, whatever it consists of. Nothing here judges: see `settling`.
"""

import json

from sqlalchemy import Connection, delete, func, insert, select

from keyservice import schema
from keyservice.certificate import Refusal
from keyservice.evidence import STANDING, Sighting
from keyservice.explanation import conflict, in_words
from keyservice.levels import Level, Source
from keyservice.mailbox import Mailbox
from keyservice.replacement import Decision
from keyservice.schema import EventKind
from keyservice.upsert import upsert

REPEATED_AFTER = 6 * 3_600
"""Seconds. A small part of `evidence.SIGHTING_LASTS`: no gap can come from it."""


def sighted(
    connection: Connection,
    mailbox: Mailbox,
    seen: Sighting,
    certified_by: str | None = None,
    detail: str | None = None,
) -> int:
    """Write down that a source showed a stored certificate for `mailbox`; return when.

    What was said a quarter of a day ago is not written down again. What the owner or the
    operator says is later than all he said before, even in the same second.
    """
    mailbox_id = mailbox_id_of(connection, mailbox)
    e = schema.evidence
    if seen.source in STANDING:
        at = max(seen.seen_at, _last_word(connection, mailbox_id) + 1)
    else:
        at = seen.seen_at
        same = select(e.c.id).where(
            e.c.mailbox_id == mailbox_id,
            e.c.fingerprint == seen.fingerprint,
            e.c.source == seen.source.value,
            e.c.level == seen.level.value,
            e.c.seen_at > at - REPEATED_AFTER,
        )
        if certified_by is None and connection.scalar(same.limit(1)) is not None:
            return at
    connection.execute(
        insert(e).values(
            mailbox_id=mailbox_id,
            fingerprint=seen.fingerprint,
            source=seen.source.value,
            level=seen.level.value,
            authenticated=seen.level > Level.WEAK_CHAIN,
            seen_at=at,
            certified_by=certified_by,
            detail=detail,
        )
    )
    return at


def shown_since(
    connection: Connection, mailbox: Mailbox, source: Source, level: Level, since: float, limit: int
) -> frozenset[str]:
    """Return up to `limit` certificates that `source` showed for `mailbox` after `since`."""
    e, m = schema.evidence, schema.mailbox
    seen = (
        select(e.c.fingerprint)
        .distinct()
        .join(m, m.c.id == e.c.mailbox_id)
        .where(
            m.c.address == mailbox.key,
            e.c.source == source.value,
            e.c.level == level.value,
            e.c.seen_at > since,
        )
        .limit(limit)
    )
    return frozenset(connection.scalars(seen))


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
            mailbox_id=mailbox_id_of(connection, mailbox),
            kind=kind.value,
            at=now,
            fingerprint=fingerprint,
            reason=refusal.reason.value if refusal else None,
            detail=refusal.detail if refusal else detail,
        )
    )


def conflicted(
    connection: Connection, mailbox: Mailbox, decision: Decision, now: int, since: int
) -> bool:
    """Write down a certificate that was seen and is not used; False if it was since `since`."""
    mailbox_id = mailbox_id_of(connection, mailbox)
    e = schema.event
    what = {
        "mailbox_id": mailbox_id,
        "kind": EventKind.CONFLICT.value,
        "fingerprint": decision.fingerprint,
        "reason": conflict(decision),
    }
    same = [e.c[name] == value for name, value in what.items()]
    if connection.scalar(select(e.c.id).where(*same, e.c.at >= since).limit(1)) is not None:
        return False
    connection.execute(insert(e).values(at=now, detail=in_words(decision), **what))
    return True


def set_setting(
    connection: Connection, mailbox: Mailbox, name: str, value: object, now: int
) -> None:
    """Let `mailbox` have a policy setting of its own."""
    stored = {"value": json.dumps(value), "set_at": now}
    key = {"mailbox_id": mailbox_id_of(connection, mailbox), "name": name}
    upsert(connection, schema.mailbox_policy, key, stored)


def unset_setting(connection: Connection, mailbox: Mailbox, name: str) -> None:
    """Let the domain decide a setting again."""
    p = schema.mailbox_policy
    mailbox_id = mailbox_id_of(connection, mailbox)
    connection.execute(delete(p).where(p.c.mailbox_id == mailbox_id, p.c.name == name))


def find_id(connection: Connection, mailbox: Mailbox) -> int | None:
    """Return the row of `mailbox`, None if nothing was ever stored about it."""
    m = schema.mailbox
    found: int | None = connection.scalar(select(m.c.id).where(m.c.address == mailbox.key))
    return found


def mailbox_id_of(connection: Connection, mailbox: Mailbox) -> int:
    """Return the row of `mailbox`, making it if need be."""
    if (found := find_id(connection, mailbox)) is not None:
        return found
    # Nobody else can have done so since: there is one writer.
    connection.execute(insert(schema.mailbox).values(address=mailbox.key))
    mailbox_id = find_id(connection, mailbox)
    if mailbox_id is None:
        raise RuntimeError("a mailbox that was just inserted is gone")
    return mailbox_id


def _last_word(connection: Connection, mailbox_id: int) -> int:
    """Return when the owner or the operator last said anything about a certificate."""
    e, b = schema.evidence, schema.binding
    standing = [source.value for source in STANDING]
    times = (
        select(func.max(e.c.seen_at)).where(e.c.mailbox_id == mailbox_id, e.c.source.in_(standing)),
        select(func.max(b.c.retired_at)).where(b.c.mailbox_id == mailbox_id),
    )
    return max(connection.scalar(each) or 0 for each in times)
