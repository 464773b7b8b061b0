"""What the key service says about a mailbox of ours that sends, as records; version 1.

Beside `wire`: those answers are about mail for a mailbox, these about mail from it. JSON by
msgspec: octets are base64, times are whole seconds since 1970 (UTC).
"""

from enum import Enum
from typing import Annotated

import msgspec

from keyservice.autocrypt import Fault, PreferEncrypt
from keyservice.levels import Level
from keyservice.report_wire import FIELD_OCTETS_MAX, FIELDS_MAX
from keyservice.wire import EncryptionSubkey

SENDER_HELD_MAX = 5
"""Seconds for which a milter may hold a `Sender`: what was revoked lives no longer than that."""


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Sent whole; a field that one side does not know is an error."""


class Outgoing(Enum):
    """What happens to mail for a mailbox of somebody else."""

    NEVER = "never"
    """It is sent as it was submitted."""

    WHEN_KNOWN = "when-known"
    """It is encrypted where a usable certificate is known that is attested well enough."""

    REQUIRED = "required"
    """It is encrypted, or the whole message is refused."""


class SenderPolicy(_Record, frozen=True):
    """What the operator decided for mail from a domain, or from one mailbox of it."""

    outgoing: Outgoing = Outgoing.WHEN_KNOWN
    outgoing_level: Level = Level.PROVIDER_TRUST
    """Certificates that are attested less well count as not known."""

    copy_to_self: bool = False
    """Whether what is encrypted for others can be read by the sender, too."""

    autocrypt: bool = True
    """Whether an Autocrypt field is added where the client wrote none."""

    prefer_encrypt: PreferEncrypt = PreferEncrypt.NOPREFERENCE
    """What the added field says; the owner's wish."""

    autocrypt_enrols: bool = False
    """Whether an Autocrypt field that the owner's own client wrote enrols its certificate."""


class Sender(_Record, frozen=True):
    """All that the milter needs of a mailbox that sends. Holds no verdict about a message."""

    mailbox: str
    """`Mailbox.key` of the mailbox that was asked for."""

    is_ours: bool
    """Whether its domain is served here; nobody submits mail for others."""

    policy: SenderPolicy = SenderPolicy()
    issuers: tuple[str, ...] = ()
    """Common names of our CAs that issued a client certificate for this mailbox that is in force
    now. Empty: it has none, and who shows one is refused."""

    fingerprint: str | None = None
    """Of its own OpenPGP certificate in use, if that is usable."""

    subkeys: tuple[EncryptionSubkey, ...] = ()
    """To encrypt to for `copy_to_self`."""

    keydata: bytes | None = None
    """Its certificate for an Autocrypt field: five packets, binary; None: there is none, or it
    cannot be made small enough."""

    issued_at: int = 0


class Submitted(_Record, frozen=True):
    """What a message says of its sender's own certificate. He was authenticated as its owner.

    Facts that the milter established itself, as in `report_wire.Report`.
    """

    from_fields: int
    """How many From fields the header section has, as its client wrote it."""

    from_addresses: Annotated[tuple[str, ...], msgspec.Meta(max_length=FIELDS_MAX)]
    """The addr-specs in them."""

    received_at: int
    date: int | None = None
    """The Date field; None when it is missing or cannot be read."""

    autocrypt_fields: Annotated[
        tuple[Annotated[bytes, msgspec.Meta(max_length=FIELD_OCTETS_MAX)], ...],
        msgspec.Meta(max_length=FIELDS_MAX),
    ] = ()
    """Bodies of all Autocrypt fields that the client wrote, folded as they came."""


class Taking(Enum):
    """What became of the certificate in a submitted message. Also the metric label."""

    DISABLED = "disabled"
    """The policy of the mailbox does not let its client enrol anything."""

    INVALID = "invalid"
    """There is no valid Autocrypt field, or not one that counts."""

    UNCHANGED = "unchanged"
    """It is in use, or waits, and nothing about it is new."""

    UPDATED = "updated"
    """It is in use, or waits, and what is new about it was merged."""

    ENROLLED = "enrolled"
    """It is in use from now on."""

    WAITS = "waits"
    """It replaces the one in use at `waits_until`, unless something happens before."""

    OUTWEIGHED = "outweighed"
    """Something else that was said of this mailbox counts for more."""

    REFUSED = "refused"
    """It must not be used."""


class Taken(_Record, frozen=True):
    """The reply to `Submitted`. Nothing in it is for the client."""

    taking: Taking
    fingerprint: str | None = None
    waits_until: int | None = None
    reason: str | None = None
    """One sentence, for people."""

    faults: tuple[Fault, ...] = ()
    """Why single Autocrypt fields do not count."""
