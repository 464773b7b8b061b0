"""What the key service tells its operator, as records; version 1 of the interface.

Beside `wire`: the milter decides on those records, people read these. JSON by msgspec.
"""

from enum import Enum

import msgspec

from keyservice.autocrypt import PreferEncrypt
from keyservice.levels import Level
from keyservice.peer_wire import AutocryptView
from keyservice.sender_wire import Outgoing, Sender, SenderPolicy
from keyservice.wire import (
    ArrivedEncrypted,
    HeaderPolicy,
    MailboxPolicy,
    Outcome,
    WithoutCertificate,
)

BODY_OCTETS_MAX = 131_072
"""Larger request bodies are refused unread."""


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Sent whole; a field that one side does not know is an error."""


class Problem(_Record, frozen=True):
    """Every reply that is not a success."""

    error: str
    """From a closed set, for programs."""

    reason: str
    """One sentence, for people."""


class Subkey(_Record, frozen=True):
    """An encryption subkey as its owner would name it."""

    fingerprint: str
    not_after: int | None = None
    refused: str | None = None
    """Why it is not encrypted to; None: it is."""


class Enrolment(_Record, frozen=True):
    """What a certificate was found to be when it was enrolled."""

    mailbox: str
    fingerprint: str
    version: int
    user_ids: tuple[str, ...]
    """Mailboxes that the certificate names in user IDs bound to it."""

    subkeys: tuple[Subkey, ...]
    not_after: int | None = None
    replaced: str | None = None
    """Fingerprint of the certificate that was in use until now."""

    waits_until: int | None = None
    """When it comes into use, unless something happens before; None: it is in use."""

    waits_for: str | None = None
    """Fingerprint of the certificate that stays in use until then."""

    effective_within: int = 0
    """Seconds until no milter can still see the old state; 0 unless Redis could not be told."""


class Withdrawal(_Record, frozen=True):
    """A certificate is no longer in use. Mail is deferred from now on, never sent in the clear."""

    mailbox: str
    fingerprint: str
    effective_within: int = 0


class EnrolledMailbox(_Record, frozen=True):
    """One line of the list."""

    mailbox: str
    outcome: Outcome
    fingerprint: str | None = None
    not_after: int | None = None
    reason: str | None = None
    waits_until: int | None = None
    """When another certificate takes over, if one waits."""


class MailboxPage(_Record, frozen=True):
    """Some mailboxes in the order of their addresses."""

    mailboxes: tuple[EnrolledMailbox, ...]
    next: str | None = None
    """Give it as `after` for the next page; None: this was the last."""


class Sighting(_Record, frozen=True):
    """Evidence: somebody showed this certificate for this mailbox."""

    fingerprint: str
    source: str
    level: int
    authenticated: bool
    at: int
    detail: str | None = None


class BoundCertificate(_Record, frozen=True):
    """A certificate that is or was in use for the mailbox."""

    fingerprint: str
    state: str
    since: int
    vetted_at: int
    not_after: int | None = None
    refused: str | None = None
    subkeys: tuple[Subkey, ...] = ()
    level: int = 0
    """What it was registered with, 1 to 8."""

    source: str = ""
    until: int | None = None
    """When it takes over, if it waits."""

    encrypted_to_at: int | None = None
    possession_proved_at: int | None = None


class Inquired(_Record, frozen=True):
    """Somebody was asked about the mailbox."""

    source: str
    result: str
    at: int
    detail: str
    refused: str | None = None
    """Why what was found is not used, if vetting refused it."""


class Event(_Record, frozen=True):
    """Something that happened to a mailbox."""

    kind: str
    at: int
    fingerprint: str | None = None
    reason: str | None = None
    detail: str | None = None


class PolicySource(Enum):
    """Who decided a setting."""

    DEFAULT = "default"
    DOMAIN = "domain"
    MAILBOX = "mailbox"


class PolicyView(_Record, frozen=True):
    """The policy of a mailbox and where each setting comes from."""

    mailbox: str
    policy: MailboxPolicy
    sender_policy: SenderPolicy
    sources: dict[str, PolicySource]
    """By the names of settings of both."""

    effective_within: int = 0
    """Seconds until no milter can still follow the old one."""


class PolicyChange(_Record, frozen=True, omit_defaults=True):
    """Settings of a mailbox's own. Those left out stay as they are."""

    without_certificate: WithoutCertificate | msgspec.UnsetType = msgspec.UNSET
    header_policy: HeaderPolicy | msgspec.UnsetType = msgspec.UNSET
    arrived_encrypted: ArrivedEncrypted | msgspec.UnsetType = msgspec.UNSET
    keep_outside: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    mailer: str | msgspec.UnsetType = msgspec.UNSET
    outgoing: Outgoing | msgspec.UnsetType = msgspec.UNSET
    outgoing_level: Level | msgspec.UnsetType = msgspec.UNSET
    copy_to_self: bool | msgspec.UnsetType = msgspec.UNSET
    autocrypt: bool | msgspec.UnsetType = msgspec.UNSET
    prefer_encrypt: PreferEncrypt | msgspec.UnsetType = msgspec.UNSET
    autocrypt_enrols: bool | msgspec.UnsetType = msgspec.UNSET

    @property
    def settings(self) -> dict[str, object]:
        """The settings that were given, as JSON has them."""
        given: dict[str, object] = msgspec.to_builtins(self)
        return given


class Explanation(_Record, frozen=True):
    """Everything that is known about a mailbox."""

    mailbox: str
    outcome: Outcome
    is_ours: bool
    had_certificate: bool
    reason: str | None
    policy: MailboxPolicy | None
    """None: not ours."""

    policy_sources: dict[str, PolicySource]
    sender: Sender | None
    """What the milter is told about mail from it; None: not ours."""

    decisions: tuple[str, ...]
    """In words: what is done with each certificate that somebody's word stands for now."""

    inquiries: tuple[Inquired, ...]
    autocrypt: AutocryptView | None
    bindings: tuple[BoundCertificate, ...]
    evidence: tuple[Sighting, ...]
    events: tuple[Event, ...]
