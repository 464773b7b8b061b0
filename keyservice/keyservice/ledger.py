"""What happens to mailboxes is written here: bindings, evidence, events, settings.

Each public function runs in the transaction of the connection it is given, so that an
enrolment is one transaction, whatever it consists of. Nothing here judges: see `decide`.
"""

import json

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from keyservice import schema
from keyservice.certificate import Refusal
from keyservice.mailbox import Mailbox
from keyservice.schema import BindingState, EventKind, Source


def bind(connection: Connection, mailbox: Mailbox, fingerprint: str, now: int) -> str | None:
    """Use a stored certificate for `mailbox`; return the fingerprint of the one it replaces.

    The sighting is recorded as evidence.
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
