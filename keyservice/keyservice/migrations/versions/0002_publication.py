"""What the public listener finds mailboxes and certificates by. Frozen."""

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_BATCH = 1_000
_ZBASE32 = "ybndrfg8ejkmcpqxot1uwisza345h769"


def upgrade() -> None:
    """Add the names and fill them in for what is stored already."""
    op.add_column("mailbox", sa.Column("wkd_name", sa.String(288)))
    op.add_column("certificate", sa.Column("key_id", sa.String(16)))
    _name_mailboxes(op.get_bind())
    # RFC 9580 §5.5.4.2. A v6 key ID is no way to ask for a certificate: fingerprints are.
    op.execute(
        "UPDATE certificate SET key_id = substr(fingerprint, 25) WHERE length(fingerprint) = 40"
    )
    op.create_index("ix_mailbox_wkd_name", "mailbox", ["wkd_name"])
    op.create_index("ix_certificate_key_id", "certificate", ["key_id"])


def _name_mailboxes(connection: sa.Connection) -> None:
    after = 0
    while rows := connection.execute(
        sa.text("SELECT id, address FROM mailbox WHERE id > :after ORDER BY id LIMIT :batch"),
        {"after": after, "batch": _BATCH},
    ).all():
        connection.execute(
            sa.text("UPDATE mailbox SET wkd_name = :name WHERE id = :id"),
            [{"id": row.id, "name": _wkd_name(row.address)} for row in rows],
        )
        after = rows[-1].id


def _wkd_name(address: str) -> str:
    local_part, _, domain = address.rpartition("@")
    digest = hashlib.sha1(local_part.encode().lower(), usedforsecurity=False).digest()
    number = int.from_bytes(digest, "big")
    hashed = "".join(_ZBASE32[(number >> 5 * at) & 31] for at in reversed(range(32)))
    return f"{hashed}@{domain}"
