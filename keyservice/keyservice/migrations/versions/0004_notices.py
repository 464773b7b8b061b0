"""What owners are told by mail, and what that is found by. Frozen."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table and the indexes."""
    op.create_table(
        "notice",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("mailbox_id", sa.Integer, nullable=False),
        sa.Column("event_id", sa.Integer),
        sa.Column("fingerprint", sa.String(64)),
        sa.Column("not_after", sa.Integer),
        sa.Column("days", sa.Integer),
        sa.Column("made_at", sa.Integer, nullable=False),
        sa.Column("try_at", sa.Integer),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("result", sa.String(16)),
        sa.PrimaryKeyConstraint("id", name="pk_notice"),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailbox.id"], name="fk_notice_mailbox_id"),
        sa.ForeignKeyConstraint(["event_id"], ["event.id"], name="fk_notice_event_id"),
        sa.ForeignKeyConstraint(
            ["fingerprint"], ["certificate.fingerprint"], name="fk_notice_fingerprint"
        ),
        sa.UniqueConstraint("event_id", name="uq_notice_event_id"),
        sa.UniqueConstraint(
            "mailbox_id",
            "fingerprint",
            "not_after",
            "days",
            name="uq_notice_mailbox_id_fingerprint_not_after_days",
        ),
    )
    op.create_index("ix_notice_try_at", "notice", ["try_at"])
    op.create_index("ix_event_at", "event", ["at"])
    op.create_index("ix_certificate_not_after", "certificate", ["not_after"])
