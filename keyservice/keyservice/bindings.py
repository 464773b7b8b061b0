"""Which certificate is in use for a mailbox, which one waits, and what was done with it.

Each public function runs in the transaction of the connection it is given. Nothing here
judges: see `settling`.
"""

from collections.abc import Mapping

from sqlalchemy import Connection, select, update

from keyservice import schema
from keyservice.ledger import find_id, mailbox_id_of, note
from keyservice.levels import Level, Source
from keyservice.mailbox import Mailbox
from keyservice.schema import BindingState, EventKind
from keyservice.upsert import upsert


def bind(
    connection: Connection,
    mailbox: Mailbox,
    fingerprint: str,
    now: int,
    *,
    level: Level = Level.KNOWN_KEY,
    source: Source = Source.OPERATOR,
    is_ours: bool = True,
) -> str | None:
    """Use a stored certificate for `mailbox`; return the fingerprint of the one it replaces."""
    mailbox_id = mailbox_id_of(connection, mailbox)
    m = schema.mailbox
    old = _in_state(connection, mailbox_id, BindingState.ACTIVE)
    if old is not None and old != fingerprint:
        _set_state(connection, mailbox_id, old, BindingState.REPLACED, now)
    registered = {"level": level.value, "source": source.value}
    if old == fingerprint:
        _update(connection, mailbox_id, fingerprint, **registered)
    else:
        _put(connection, mailbox_id, fingerprint, BindingState.ACTIVE, now, registered)
    if is_ours:
        connection.execute(
            update(m)
            .where(m.c.id == mailbox_id, m.c.first_certificate_at.is_(None))
            .values(first_certificate_at=now)
        )
    return old if old != fingerprint else None


def hold(
    connection: Connection,
    mailbox: Mailbox,
    fingerprint: str,
    until: int,
    now: int,
    *,
    level: Level = Level.KNOWN_KEY,
    source: Source = Source.OPERATOR,
) -> bool:
    """Let a stored certificate wait; return whether it did not do so already."""
    mailbox_id = mailbox_id_of(connection, mailbox)
    held: dict[str, int | str] = {"until": until, "level": level.value, "source": source.value}
    if _in_state(connection, mailbox_id, BindingState.WAITING) == fingerprint:
        _update(connection, mailbox_id, fingerprint, **held)
        return False
    drop_waiting(connection, mailbox, now)
    _put(connection, mailbox_id, fingerprint, BindingState.WAITING, now, held)
    return True


def drop_waiting(connection: Connection, mailbox: Mailbox, now: int) -> None:
    """Let nothing wait for `mailbox` any more."""
    mailbox_id = mailbox_id_of(connection, mailbox)
    waiting = _in_state(connection, mailbox_id, BindingState.WAITING)
    if waiting is not None:
        _set_state(connection, mailbox_id, waiting, BindingState.DROPPED, now)


def dropped_at(connection: Connection, mailbox: Mailbox, fingerprint: str) -> int | None:
    """Return when a certificate stopped waiting for `mailbox` in vain; None: it did not."""
    b, m = schema.binding, schema.mailbox
    found: int | None = connection.scalar(
        select(b.c.since)
        .join(m, m.c.id == b.c.mailbox_id)
        .where(
            m.c.address == mailbox.key,
            b.c.fingerprint == fingerprint,
            b.c.state == BindingState.DROPPED.value,
        )
    )
    return found


def unbind(connection: Connection, mailbox: Mailbox, now: int) -> str | None:
    """Stop using the certificate of `mailbox`, and the one that waits to replace it.

    Returns the fingerprint of the one in use, None if there was none.
    """
    mailbox_id = find_id(connection, mailbox)
    if mailbox_id is None:
        return None
    fingerprint = _in_state(connection, mailbox_id, BindingState.ACTIVE)
    waiting = _in_state(connection, mailbox_id, BindingState.WAITING)
    for each in (fingerprint, waiting):
        if each is not None:
            _set_state(connection, mailbox_id, each, BindingState.WITHDRAWN, now)
            note(connection, mailbox, EventKind.WITHDRAWN, now, each)
    return fingerprint


def used(
    connection: Connection,
    mailbox: Mailbox,
    fingerprint: str,
    now: int,
    *,
    encrypted_to: bool,
    possession_proved: bool,
) -> bool:
    """Note what was done with the certificate in use; False if another one, or none, is."""
    mailbox_id = find_id(connection, mailbox)
    if mailbox_id is None or _in_state(connection, mailbox_id, BindingState.ACTIVE) != fingerprint:
        return False
    done = {"encrypted_to_at": encrypted_to, "possession_proved_at": possession_proved}
    columns = {name: now for name, is_done in done.items() if is_done}
    if columns:
        _update(connection, mailbox_id, fingerprint, **columns)
    return True


def _in_state(connection: Connection, mailbox_id: int, state: BindingState) -> str | None:
    b = schema.binding
    found: str | None = connection.scalar(
        select(b.c.fingerprint).where(b.c.mailbox_id == mailbox_id, b.c.state == state.value)
    )
    return found


def _put(
    connection: Connection,
    mailbox_id: int,
    fingerprint: str,
    state: BindingState,
    now: int,
    registered: Mapping[str, int | str],
) -> None:
    # What was done with it before does not count for a certificate that comes back.
    columns = {
        "state": state.value,
        "since": now,
        "until": None,
        "encrypted_to_at": None,
        "possession_proved_at": None,
        **registered,
    }
    key = {"mailbox_id": mailbox_id, "fingerprint": fingerprint}
    upsert(connection, schema.binding, key, columns)


def _set_state(
    connection: Connection, mailbox_id: int, fingerprint: str, state: BindingState, now: int
) -> None:
    retired = {} if state is BindingState.DROPPED else {"retired_at": now}
    changed = {"state": state.value, "since": now, "until": None, **retired}
    _update(connection, mailbox_id, fingerprint, **changed)


def _update(
    connection: Connection, mailbox_id: int, fingerprint: str, **columns: int | str | None
) -> None:
    b = schema.binding
    connection.execute(
        update(b)
        .where(b.c.mailbox_id == mailbox_id, b.c.fingerprint == fingerprint)
        .values(**columns)
    )
