"""The tables. Times are whole seconds since 1970; migrations are in `migrations/versions`.

Evidence is stored, verdicts are derived: each sighting of a certificate for a mailbox is a
row that is never changed, and a binding is a decision over such rows. An account with
several mailboxes and devices fits above `mailbox` and beside `certificate`.
"""

from enum import Enum

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine.default import DefaultExecutionContext

from keyservice.levels import Level, Source
from keyservice.wkd_name import wkd_name


class BindingState(Enum):
    """What a certificate is to a mailbox."""

    ACTIVE = "active"
    WAITING = "waiting"
    """It takes over at `until`, unless something happens before."""

    DROPPED = "dropped"
    """It waited, and did not take over."""

    REPLACED = "replaced"
    WITHDRAWN = "withdrawn"


class EventKind(Enum):
    """What can happen to a mailbox."""

    ENROLLED = "enrolled"
    UPDATED = "updated"
    REPLACED = "replaced"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    REVETTED = "revetted"
    POLICY_SET = "policy_set"
    POLICY_UNSET = "policy_unset"
    WAITING = "waiting"
    CONFLICT = "conflict"
    CLIENT_ISSUED = "client_issued"
    CLIENT_RENEWED = "client_renewed"
    CLIENT_REVOKED = "client_revoked"


def _wkd_name(context: DefaultExecutionContext) -> str:
    return wkd_name(_inserted(context, "address"))


def _key_id(context: DefaultExecutionContext) -> str | None:
    fingerprint = _inserted(context, "fingerprint")
    # RFC 9580 §5.5.4.2. A v6 key ID is no way to ask for a certificate: fingerprints are.
    return fingerprint[-16:] if len(fingerprint) == 40 else None


def _inserted(context: DefaultExecutionContext, column: str) -> str:
    values: dict[str, str] = context.get_current_parameters()  # type: ignore[no-untyped-call]
    return values[column]


class Prose(TypeDecorator[str]):
    """Text that others had a part in; PostgreSQL takes no NUL."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, _dialect: Dialect) -> str | None:
        """Return what can be stored."""
        return None if value is None else value.replace("\0", "\ufffd")


Seconds = Integer().with_variant(BigInteger(), "postgresql")
"""SQLite's INTEGER lasts; PostgreSQL's ends in 2038."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

mailbox = Table(
    "mailbox",
    metadata,
    Column("id", Integer, primary_key=True),
    # `Mailbox.key`; unique, and thereby the index of every lookup.
    Column("address", String(320), nullable=False),
    # Of ours only. Once set, it stays: such a mailbox never gets plaintext again.
    Column("first_certificate_at", Seconds),
    # From when on others are asked again which certificate it has.
    Column("ask_again_at", Seconds),
    # What the last OpenPGP field named: chooses among equals, never adds one.
    Column("hint", String(64)),
    # HASH@DOMAIN, by which a Web Key Directory is asked; follows from the address.
    Column("wkd_name", String(288), default=_wkd_name, index=True),
    UniqueConstraint("address"),
)

certificate = Table(
    "certificate",
    metadata,
    Column("fingerprint", String(64), primary_key=True),
    Column("octets", LargeBinary, nullable=False),
    # `certificate.Certificate` as JSON: what vetting found, refusal included.
    Column("facts", LargeBinary, nullable=False),
    Column("refusal", String(32)),
    # The end of what can be encrypted to: the last subkey's, if earlier than the primary's.
    Column("not_after", Seconds, index=True),
    Column("vetted_at", Seconds, nullable=False),
    Column("vet_at", Seconds, nullable=False, index=True),
    # Of version 4 only; follows from the fingerprint.
    Column("key_id", String(16), default=_key_id, index=True),
)

evidence = Table(
    "evidence",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("mailbox_id", ForeignKey("mailbox.id"), nullable=False, index=True),
    Column("fingerprint", ForeignKey("certificate.fingerprint"), nullable=False),
    Column("source", String(32), nullable=False),
    Column("level", Integer, nullable=False),
    Column("authenticated", Boolean, nullable=False),
    Column("seen_at", Seconds, nullable=False),
    Column("detail", Prose),
    # The certificate in use then, if it had certified this one for the mailbox.
    Column("certified_by", String(64)),
)

inquiry = Table(
    "inquiry",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("mailbox_id", ForeignKey("mailbox.id"), nullable=False, index=True),
    Column("source", String(32), nullable=False),
    Column("result", String(16), nullable=False),
    Column("at", Seconds, nullable=False),
    Column("detail", Prose, nullable=False),
    # Why what was found is not used, if vetting refused it.
    Column("refused", Prose),
)

binding = Table(
    "binding",
    metadata,
    Column("mailbox_id", ForeignKey("mailbox.id"), nullable=False),
    Column("fingerprint", ForeignKey("certificate.fingerprint"), nullable=False, index=True),
    Column("state", String(16), nullable=False),
    Column("since", Seconds, nullable=False),
    # What it was registered with; both are defaults of what was enrolled before levels were kept.
    Column("level", Integer, nullable=False, default=Level.KNOWN_KEY.value),
    Column("source", String(32), nullable=False, default=Source.OPERATOR.value),
    Column("until", Seconds, index=True),
    # When it was last replaced or withdrawn; stays when it comes back.
    Column("retired_at", Seconds),
    # LEAP's "successfully used" is both of these.
    Column("encrypted_to_at", Seconds),
    Column("possession_proved_at", Seconds),
    PrimaryKeyConstraint("mailbox_id", "fingerprint"),
    # At most one certificate is in use for a mailbox.
    Index(
        "uq_binding_active",
        "mailbox_id",
        unique=True,
        sqlite_where=text("state = 'active'"),
        postgresql_where=text("state = 'active'"),
    ),
)

# Autocrypt Level 1, "Communication Peers"; its own opinion, beside ours.
autocrypt_peer = Table(
    "autocrypt_peer",
    metadata,
    Column("mailbox_id", ForeignKey("mailbox.id"), primary_key=True),
    Column("last_seen", Seconds),
    Column("autocrypt_timestamp", Seconds),
    Column("public_key", LargeBinary),
    Column("prefer_encrypt", String(16), nullable=False),
    Column("gossip_timestamp", Seconds),
    Column("gossip_key", LargeBinary),
)

event = Table(
    "event",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("mailbox_id", ForeignKey("mailbox.id"), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("at", Seconds, nullable=False, index=True),
    Column("fingerprint", String(64)),
    Column("reason", String(32)),
    Column("detail", Prose),
)

mailbox_policy = Table(
    "mailbox_policy",
    metadata,
    Column("mailbox_id", ForeignKey("mailbox.id"), nullable=False),
    Column("name", String(32), nullable=False),
    # JSON, so that a new kind of setting needs no migration.
    Column("value", Text, nullable=False),
    Column("set_at", Seconds, nullable=False),
    PrimaryKeyConstraint("mailbox_id", "name"),
)

notice = Table(
    "notice",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("mailbox_id", ForeignKey("mailbox.id"), nullable=False),
    # About an event, or else about a certificate that ends within so many days.
    Column("event_id", ForeignKey("event.id")),
    Column("fingerprint", ForeignKey("certificate.fingerprint")),
    Column("not_after", Seconds),
    Column("days", Integer),
    Column("made_at", Seconds, nullable=False),
    # When it is tried next; null: never again, `result` says why.
    Column("try_at", Seconds, index=True),
    Column("attempts", Integer, nullable=False),
    Column("result", String(16)),
    # Each is sent once. Nulls differ from each other, in SQLite and in PostgreSQL.
    UniqueConstraint("event_id"),
    UniqueConstraint("mailbox_id", "fingerprint", "not_after", "days"),
)

# The certification authorities for X.509 client certificates; the newest one issues.
client_ca = Table(
    "client_ca",
    metadata,
    Column("id", Integer, primary_key=True),
    # The common name of its subject, by which Postfix tells a milter who issued.
    Column("name", String(64), nullable=False),
    Column("certificate", LargeBinary, nullable=False),
    # PKCS#8, encrypted. Gone when the authority is retired.
    Column("private_key", LargeBinary),
    Column("not_after", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("retired_at", BigInteger),
    UniqueConstraint("name"),
)

client_certificate = Table(
    "client_certificate",
    metadata,
    # SHA-256 over the DER form, as Postfix asks for it, in lower case without colons.
    Column("fingerprint", String(64), primary_key=True),
    Column("mailbox_id", ForeignKey("mailbox.id"), nullable=False, index=True),
    Column("ca_id", ForeignKey("client_ca.id"), nullable=False),
    # SHA-256 over the SubjectPublicKeyInfo: a key that was revoked must not come back.
    Column("public_key", String(64), nullable=False, index=True),
    Column("certificate", LargeBinary, nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("issued_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)
