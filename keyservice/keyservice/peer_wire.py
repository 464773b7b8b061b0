"""What the key service says about mailboxes of others, as records; version 1 of the interface.

Beside `wire`: those answers are about mail that comes in, these about mail that goes out. JSON
by msgspec: octets are base64, times are whole seconds since 1970 (UTC).
"""

from enum import Enum

import msgspec

from keyservice.autocrypt import PreferEncrypt
from keyservice.autocrypt_peer import UIRecommendation
from keyservice.levels import Level, Source
from keyservice.wire import EncryptionSubkey


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Sent whole; a field that one side does not know is an error."""


class PeerOutcome(Enum):
    """What can be said about a mailbox of somebody else."""

    FOUND = "found"
    """Mail may be encrypted to `subkeys`."""

    NOT_FOUND = "not_found"
    """Whoever was asked knows of none that is attested well enough."""

    REJECTED = "rejected"
    """There is one and it must not be used; `reason` says why."""

    UNAVAILABLE = "unavailable"
    """Nobody knows, and not all could be asked: trying again may help."""

    UNREACHABLE = "unreachable"
    """The key service did not say before the deadline. Made by the client, never sent: defer."""


class AutocryptView(_Record, frozen=True):
    """What Autocrypt Level 1 recommends for mail to this one peer, by its own rules."""

    recommendation: UIRecommendation
    prefer_encrypt: PreferEncrypt
    fingerprint: str | None = None
    """Of the certificate it would take; ours may be another one."""


class PeerAnswer(_Record, frozen=True):
    """Which certificate mail to a mailbox may be encrypted to, why, and since when."""

    mailbox: str
    outcome: PeerOutcome
    fingerprint: str | None = None
    subkeys: tuple[EncryptionSubkey, ...] = ()
    level: Level | None = None
    source: Source | None = None
    since: int | None = None
    is_used: bool = False
    """LEAP's "successfully used": encrypted to, and its owner proved that he has it."""

    reason: str | None = None
    """One sentence, for people."""

    conflicts: tuple[str, ...] = ()
    """In words: what else was seen, and why it is not used."""

    autocrypt: AutocryptView | None = None
    issued_at: int = 0
    expires_at: int = 0
    """From this second on it must be asked for anew."""


class Use(_Record, frozen=True):
    """What was done with the certificate of a peer. What is False here is not taken back."""

    fingerprint: str
    encrypted_to: bool = False
    possession_proved: bool = False
    """A signature by it verified, or its owner decrypted something that only he could."""
