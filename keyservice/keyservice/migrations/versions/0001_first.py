"""The first schema. Frozen: later changes are later migrations."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "mailbox",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("address", sa.String(320), nullable=False),
        sa.Column("first_certificate_at", sa.Integer),
        sa.PrimaryKeyConstraint("id", name="pk_mailbox"),
        sa.UniqueConstraint("address", name="uq_mailbox_address"),
    )
    op.create_table(
        "certificate",
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("octets", sa.LargeBinary, nullable=False),
        sa.Column("facts", sa.LargeBinary, nullable=False),
        sa.Column("refusal", sa.String(32)),
        sa.Column("not_after", sa.Integer),
        sa.Column("vetted_at", sa.Integer, nullable=False),
        sa.Column("vet_at", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name="pk_certificate"),
    )
    op.create_index("ix_certificate_vet_at", "certificate", ["vet_at"])
    _create_bindings()
    _create_history()


def _create_bindings() -> None:
    op.create_table(
        "binding",
        sa.Column("mailbox_id", sa.Integer, nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("since", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("mailbox_id", "fingerprint", name="pk_binding"),
        _to_mailbox("binding"),
        _to_certificate("binding"),
    )
    op.create_index("ix_binding_fingerprint", "binding", ["fingerprint"])
    op.create_index(
        "uq_binding_active",
        "binding",
        ["mailbox_id"],
        unique=True,
        sqlite_where=sa.text("state = 'active'"),
        postgresql_where=sa.text("state = 'active'"),
    )
    op.create_table(
        "mailbox_policy",
        sa.Column("mailbox_id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("set_at", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("mailbox_id", "name", name="pk_mailbox_policy"),
        _to_mailbox("mailbox_policy"),
    )


def _create_history() -> None:
    op.create_table(
        "evidence",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("mailbox_id", sa.Integer, nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("source", sa.String(32), nullable=False),
        sa.Column("level", sa.Integer, nullable=False),
        sa.Column("authenticated", sa.Boolean, nullable=False),
        sa.Column("seen_at", sa.Integer, nullable=False),
        sa.Column("detail", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_evidence"),
        _to_mailbox("evidence"),
        _to_certificate("evidence"),
    )
    op.create_index("ix_evidence_mailbox_id", "evidence", ["mailbox_id"])
    op.create_table(
        "event",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("mailbox_id", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("at", sa.Integer, nullable=False),
        sa.Column("fingerprint", sa.String(64)),
        sa.Column("reason", sa.String(32)),
        sa.Column("detail", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_event"),
        _to_mailbox("event"),
    )
    op.create_index("ix_event_mailbox_id", "event", ["mailbox_id"])


def _to_mailbox(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["mailbox_id"], ["mailbox.id"], name=f"fk_{table}_mailbox_id")


def _to_certificate(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["fingerprint"], ["certificate.fingerprint"], name=f"fk_{table}_fingerprint"
    )
