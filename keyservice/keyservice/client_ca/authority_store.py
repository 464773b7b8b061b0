"""What is stored of authorities, and which of them counts.

Each public function runs in the transaction of the connection it is given.
"""

from typing import NamedTuple

from sqlalchemy import Connection, func, insert, select, update

from keyservice import schema
from keyservice.client_ca.errors import NoAuthority


class StoredAuthority(NamedTuple):
    """A row of `client_ca`."""

    id: int
    name: str
    certificate: bytes
    """DER."""

    not_after: int
    created_at: int
    retired_at: int | None

    def is_trusted(self, now: float) -> bool:
        """Whether what it issued counts."""
        return self.retired_at is None and now < self.not_after


class NewAuthority(NamedTuple):
    """An authority that was just made."""

    name: str
    certificate: bytes
    """DER."""

    private_key: bytes
    """PKCS#8 in PEM, encrypted under the passphrase."""

    not_after: int


def authorities(connection: Connection) -> list[StoredAuthority]:
    """Return all authorities, the newest first."""
    a = schema.client_ca
    columns = [a.c[name] for name in StoredAuthority._fields]
    rows = connection.execute(select(*columns).order_by(a.c.id.desc()))
    return [StoredAuthority(*row) for row in rows]


def issuing(connection: Connection, now: float) -> StoredAuthority | None:
    """Return the authority that issues: the newest one that is trusted."""
    return next((each for each in authorities(connection) if each.is_trusted(now)), None)


def private_key(connection: Connection, authority_id: int) -> bytes | None:
    """Return an authority's private key, PKCS#8 in PEM, encrypted; None: it was retired."""
    a = schema.client_ca
    stored: bytes | None = connection.scalar(select(a.c.private_key).where(a.c.id == authority_id))
    return stored


def require_trusted(connection: Connection, authority_id: int, now: float) -> None:
    """Raise NoAuthority if an authority was retired since it was read."""
    if not any(a.id == authority_id and a.is_trusted(now) for a in authorities(connection)):
        raise NoAuthority("the authority was retired at the same time")


def add_authority(connection: Connection, new: NewAuthority, now: int) -> None:
    """Store an authority; it is the one that issues from now on."""
    connection.execute(insert(schema.client_ca).values(**new._asdict(), created_at=now))


def retire_authority(connection: Connection, name: str, now: int) -> bool:
    """Let nothing that an authority issued be in force any more, and forget its private key.

    Returns whether there was one of this name that was not retired.
    """
    a = schema.client_ca
    done = connection.execute(
        update(a)
        .where(a.c.name == name, a.c.retired_at.is_(None))
        .values(retired_at=now, private_key=None)
    )
    return done.rowcount == 1


def counted(connection: Connection, now: float) -> dict[int, int]:
    """Return how many certificates of each authority are neither revoked nor ended, by its row."""
    c = schema.client_certificate
    rows = connection.execute(
        select(c.c.ca_id, func.count())
        .where(c.c.revoked_at.is_(None), c.c.not_after > int(now))
        .group_by(c.c.ca_id)
    )
    return {row[0]: row[1] for row in rows}
