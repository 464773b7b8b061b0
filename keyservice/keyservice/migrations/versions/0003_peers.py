"""Mailboxes of others: who was asked, what is registered with which level, what waits. Frozen."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add it; what was enrolled so far was pinned by the operator."""
    op.add_column("mailbox", sa.Column("ask_again_at", sa.Integer))
    op.add_column("mailbox", sa.Column("hint", sa.String(64)))
    op.add_column("evidence", sa.Column("certified_by", sa.String(64)))
    _extend_bindings()
    op.create_table(
        "inquiry",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("mailbox_id", sa.Integer, nullable=False),
        sa.Column("source", sa.String(32), nullable=False),
        sa.Column("result", sa.String(16), nullable=False),
        sa.Column("at", sa.Integer, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("refused", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_inquiry"),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailbox.id"], name="fk_inquiry_mailbox_id"),
    )
    op.create_index("ix_inquiry_mailbox_id", "inquiry", ["mailbox_id"])
    op.create_table(
        "autocrypt_peer",
        sa.Column("mailbox_id", sa.Integer, nullable=False),
        sa.Column("last_seen", sa.Integer),
        sa.Column("autocrypt_timestamp", sa.Integer),
        sa.Column("public_key", sa.LargeBinary),
        sa.Column("prefer_encrypt", sa.String(16), nullable=False),
        sa.Column("gossip_timestamp", sa.Integer),
        sa.Column("gossip_key", sa.LargeBinary),
        sa.PrimaryKeyConstraint("mailbox_id", name="pk_autocrypt_peer"),
        sa.ForeignKeyConstraint(
            ["mailbox_id"], ["mailbox.id"], name="fk_autocrypt_peer_mailbox_id"
        ),
    )


def _extend_bindings() -> None:
    for column in (
        sa.Column("level", sa.Integer, nullable=False, server_default="7"),
        sa.Column("source", sa.String(32), nullable=False, server_default="operator"),
        sa.Column("until", sa.Integer),
        sa.Column("retired_at", sa.Integer),
        sa.Column("encrypted_to_at", sa.Integer),
        sa.Column("possession_proved_at", sa.Integer),
    ):
        op.add_column("binding", column)
    op.create_index("ix_binding_until", "binding", ["until"])
    op.execute("UPDATE binding SET retired_at = since WHERE state IN ('replaced', 'withdrawn')")
