"""Times that PostgreSQL's INTEGER cannot hold: it ends in 2038. Frozen.

SQLite's INTEGER holds them as it is.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_TIMES = {
    "mailbox": ("first_certificate_at", "ask_again_at"),
    "certificate": ("not_after", "vetted_at", "vet_at"),
    "evidence": ("seen_at",),
    "inquiry": ("at",),
    "binding": ("since", "until", "retired_at", "encrypted_to_at", "possession_proved_at"),
    "autocrypt_peer": ("last_seen", "autocrypt_timestamp", "gossip_timestamp"),
    "event": ("at",),
    "mailbox_policy": ("set_at",),
    "notice": ("not_after", "made_at", "try_at"),
}


def upgrade() -> None:
    """Widen them."""
    if op.get_bind().dialect.name != "postgresql":
        return
    for table, columns in _TIMES.items():
        for column in columns:
            op.alter_column(table, column, type_=sa.BigInteger)
