"""What the milter saw of a message that may be evidence for a certificate, as records.

Beside `wire`; version 1 of the interface. The milter reports facts it established itself
and judges nothing: what they are worth is said by `sightings`. JSON by msgspec; octets are
base64, times are whole seconds since 1970 (UTC).
"""

from enum import Enum
from typing import Annotated

import msgspec

from keyservice.autocrypt import Fault
from keyservice.levels import Level, Source

REPORT_OCTETS_MAX = 1_048_576
"""As JSON; what the limits below come to. More is refused unread."""

FIELDS_MAX = 8
"""Of each kind. A message with more is not reported: it is no evidence of anything."""

FIELD_OCTETS_MAX = 16_384
ATTACHED_MAX = 2
ATTACHED_OCTETS_MAX = 131_072

_Fields = Annotated[
    tuple[Annotated[bytes, msgspec.Meta(max_length=FIELD_OCTETS_MAX)], ...],
    msgspec.Meta(max_length=FIELDS_MAX),
]
_Attached = Annotated[
    tuple[Annotated[bytes, msgspec.Meta(max_length=ATTACHED_OCTETS_MAX)], ...],
    msgspec.Meta(max_length=ATTACHED_MAX),
]


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Sent whole; a field that one side does not know is an error."""


class VerifiedSignature(_Record, frozen=True):
    """A DKIM signature that verified (RFC 6376 §6.1), by the milter or the trusted MTA.

    One that failed, or that nobody checked, is not reported.
    """

    domain: str
    """`d=`."""

    signed_fields: tuple[str, ...]
    """`h=`, names in lower case; a name is there as often as the tag lists it."""

    has_body_length: bool
    """Whether there is an `l=` tag: then anybody may have added to the body."""


class Report(_Record, frozen=True):
    """One message that came in from outside."""

    from_fields: int
    """How many From fields the header section has."""

    from_addresses: Annotated[tuple[str, ...], msgspec.Meta(max_length=FIELDS_MAX)]
    """The addr-specs in them."""

    received_at: int
    date: int | None = None
    """The Date field; None when it is missing or cannot be read."""

    signatures: Annotated[tuple[VerifiedSignature, ...], msgspec.Meta(max_length=FIELDS_MAX)] = ()
    is_spam: bool | None = None
    """What the spam filter says; None: there is none, or it said nothing."""

    is_automatic: bool = False
    """`Auto-Submitted: auto-replied` (RFC 3834 §5) or a multipart/report (RFC 6522)."""

    autocrypt_fields: _Fields = ()
    """Bodies of all Autocrypt fields of the outer header section, folded as they came.

    One that is too long is cut, never left out: how many there are decides which of them a
    signature covers.
    """

    openpgp_fields: _Fields = ()
    """Bodies of all OpenPGP fields, likewise."""

    attached: _Attached = ()
    """The first application/pgp-keys parts (RFC 3156 §7), transfer encoding removed; one that
    is too long is left out."""


class Refused(Enum):
    """Why a report counts for nothing. Also the metric label."""

    LOCAL_MAILBOX = "local_mailbox"
    NOT_ONE_SENDER = "not_one_sender"
    SPAM = "spam"
    AUTOMATIC = "automatic"


class Noted(_Record, frozen=True):
    """One certificate that was noted as evidence."""

    source: Source
    level: Level


class Reported(_Record, frozen=True):
    """The reply to a report: what became of it. Nothing in it is for the peer."""

    noted: tuple[Noted, ...] = ()
    refused: Refused | None = None
    """Why none of it counts."""

    faults: tuple[Fault, ...] = ()
    """Why single Autocrypt fields do not."""
