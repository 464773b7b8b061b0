"""What is stored of client certificates, and which of them are in force.

Each public function runs in the transaction of the connection it is given.
"""

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, exists, func, insert, select, update

from keyservice import schema
from keyservice.client_ca.authority_store import StoredAuthority
from keyservice.client_certificate_wire import ClientCertificateState
from keyservice.ledger import find_id, mailbox_id_of
from keyservice.mailbox import Mailbox


class NewCertificate(NamedTuple):
    """A client certificate that was just signed."""

    fingerprint: str
    public_key: str
    certificate: bytes
    """DER."""

    not_before: int
    not_after: int


class StoredClientCertificate(NamedTuple):
    """A client certificate, with what its state depends on."""

    mailbox: Mailbox
    authority: StoredAuthority
    fingerprint: str
    public_key: str
    certificate: bytes
    not_before: int
    not_after: int
    issued_at: int
    revoked_at: int | None

    def state(self, now: float, domains: Collection[str]) -> ClientCertificateState:
        """Return whether mail can be submitted with it; `domains` are ours."""
        if self.revoked_at is not None:
            return ClientCertificateState.REVOKED
        if self.not_after <= now:
            return ClientCertificateState.ENDED
        if not self.authority.is_trusted(now):
            return ClientCertificateState.UNTRUSTED
        if self.mailbox.domain not in domains:
            return ClientCertificateState.OUTSIDE
        return ClientCertificateState.IN_FORCE


_OWN = StoredClientCertificate._fields[2:]
"""What comes from the row of a client certificate itself."""


def issuers_in_force(connection: Connection, mailbox: Mailbox, now: float) -> tuple[str, ...]:
    """Return the common names of authorities that issued what is in force for `mailbox`.

    Whether its domain is ours is for the caller to know. Each once, the newest first.
    """
    found = _stored(
        connection,
        _certificates().where(schema.mailbox.c.address == mailbox.key),
    )
    in_force = {
        each.authority.id: each.authority.name
        for each in found
        if each.state(now, (mailbox.domain,)) is ClientCertificateState.IN_FORCE
    }
    return tuple(in_force[number] for number in sorted(in_force, reverse=True))


def find(connection: Connection, fingerprint: str) -> StoredClientCertificate | None:
    """Return a client certificate, None if it is none of ours; the cost of one indexed read."""
    wanted = _certificates().where(schema.client_certificate.c.fingerprint == fingerprint)
    return next(_stored(connection, wanted), None)


def page(
    connection: Connection,
    after: str,
    limit: int,
    mailbox: Mailbox | None = None,
    ending_by: int | None = None,
) -> list[StoredClientCertificate]:
    """Return up to `limit` client certificates whose fingerprint comes after `after`.

    Only those of `mailbox`, or those that end at `ending_by` or before, if that is given.
    """
    c = schema.client_certificate
    wanted = _certificates().where(c.c.fingerprint > after).order_by(c.c.fingerprint).limit(limit)
    if mailbox is not None:
        wanted = wanted.where(schema.mailbox.c.address == mailbox.key)
    if ending_by is not None:
        wanted = wanted.where(c.c.not_after <= ending_by)
    return list(_stored(connection, wanted))


def add(
    connection: Connection, mailbox: Mailbox, authority_id: int, new: NewCertificate, now: int
) -> None:
    """Store a client certificate; it is in force from now on."""
    connection.execute(
        insert(schema.client_certificate).values(
            **new._asdict(),
            mailbox_id=mailbox_id_of(connection, mailbox),
            ca_id=authority_id,
            issued_at=now,
        )
    )


def of_key(connection: Connection, public_key: str) -> tuple[str, ...]:
    """Return the fingerprints of all certificates for a public key."""
    c = schema.client_certificate
    same = select(c.c.fingerprint).where(c.c.public_key == public_key).order_by(c.c.fingerprint)
    return tuple(connection.scalars(same))


def revoke_key(connection: Connection, public_key: str, now: int) -> tuple[str, ...]:
    """End all certificates for a public key; return those that were not revoked before."""
    c = schema.client_certificate
    is_next = (c.c.public_key == public_key) & c.c.revoked_at.is_(None)
    ended = tuple(connection.scalars(select(c.c.fingerprint).where(is_next)))
    connection.execute(update(c).where(is_next).values(revoked_at=now))
    return ended


def ending(connection: Connection, now: int, until: int) -> int:
    """Return how many keys of clients have a certificate in force, and none beyond `until`."""
    c, a = schema.client_certificate, schema.client_ca
    last = func.max(c.c.not_after)
    keys = (
        select(c.c.public_key)
        .join(a, a.c.id == c.c.ca_id)
        .where(c.c.revoked_at.is_(None), a.c.retired_at.is_(None), a.c.not_after > now)
        .group_by(c.c.mailbox_id, c.c.public_key)
        .having(last > now, last <= until)
    )
    return connection.scalar(select(func.count()).select_from(keys.subquery())) or 0


def has_other_owner(connection: Connection, public_key: str, mailbox: Mailbox) -> bool:
    """Return whether a public key was certified for another mailbox than `mailbox`."""
    c = schema.client_certificate
    return _is_any(
        connection,
        c.c.public_key == public_key,
        c.c.mailbox_id != (find_id(connection, mailbox) or 0),
    )


def is_revoked_key(connection: Connection, public_key: str) -> bool:
    """Return whether a certificate with this public key was revoked."""
    c = schema.client_certificate
    return _is_any(connection, c.c.public_key == public_key, c.c.revoked_at.is_not(None))


def _certificates() -> Select[Any]:
    m, c, a = schema.mailbox, schema.client_certificate, schema.client_ca
    return (
        select(
            m.c.address,
            *(c.c[name] for name in _OWN),
            *(a.c[name].label(f"ca_{name}") for name in StoredAuthority._fields),
        )
        .join(m, m.c.id == c.c.mailbox_id)
        .join(a, a.c.id == c.c.ca_id)
    )


def _stored(connection: Connection, query: Select[Any]) -> Iterator[StoredClientCertificate]:
    for row in connection.execute(query):
        yield StoredClientCertificate(
            Mailbox.parse(row.address),
            StoredAuthority(*(getattr(row, f"ca_{name}") for name in StoredAuthority._fields)),
            *(getattr(row, name) for name in _OWN),
        )


def _is_any(connection: Connection, *conditions: ColumnElement[bool]) -> bool:
    found = exists().where(*conditions)
    return bool(connection.scalar(select(found)))
