"""X.509 client certificates and the authorities that issue them. Frozen."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "client_ca",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("certificate", sa.LargeBinary, nullable=False),
        sa.Column("private_key", sa.LargeBinary),
        sa.Column("not_after", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("retired_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_client_ca"),
        sa.UniqueConstraint("name", name="uq_client_ca_name"),
    )
    op.create_table(
        "client_certificate",
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("mailbox_id", sa.Integer, nullable=False),
        sa.Column("ca_id", sa.Integer, nullable=False),
        sa.Column("public_key", sa.String(64), nullable=False),
        sa.Column("certificate", sa.LargeBinary, nullable=False),
        sa.Column("not_before", sa.BigInteger, nullable=False),
        sa.Column("not_after", sa.BigInteger, nullable=False),
        sa.Column("issued_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("fingerprint", name="pk_client_certificate"),
        sa.ForeignKeyConstraint(
            ["mailbox_id"], ["mailbox.id"], name="fk_client_certificate_mailbox_id"
        ),
        sa.ForeignKeyConstraint(["ca_id"], ["client_ca.id"], name="fk_client_certificate_ca_id"),
    )
    op.create_index("ix_client_certificate_mailbox_id", "client_certificate", ["mailbox_id"])
    op.create_index("ix_client_certificate_public_key", "client_certificate", ["public_key"])
