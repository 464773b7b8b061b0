"""The header fields that we write outside. Only printable ASCII, checked here.

Octets above 127 cannot be written through libmilter's Python binding.
"""

import base64
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from keyservice.client import Mailbox
from letterlock.header_policy import rfc5322_date
from letterlock.header_protection import CUT_OCTETS
from letterlock.mailbox_list import addr_specs
from letterlock.message import HeaderField

_PRINTABLE = re.compile(rb"[ -~]*+(?:\r\n [ -~]++)*")
_AUTHSERV_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253}[A-Za-z0-9])?")
_FINGERPRINT = re.compile(r"(?:[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})")
_LINE_OCTETS = 76
_BASE64_OCTETS = _LINE_OCTETS // 4 * 3

ENCRYPTED_HEADER_OCTETS_MAX = (CUT_OCTETS // (_LINE_OCTETS + 3) - 1) * _BASE64_OCTETS
"""Largest encrypted header section that `encrypted_header_field` can hold uncut."""


class UnprintableField(ValueError):
    """A value for a header field of ours is not printable ASCII of the expected form.

    It is not in the exception's text, which names only the field.
    """


def printable_field(name: bytes, value: bytes) -> HeaderField:
    """Return the field, folded; raises UnprintableField."""
    # Lists only; shorter values have no comma or no need.
    folded = value if len(value) <= _LINE_OCTETS else value.replace(b", ", b",\r\n ")
    if not _PRINTABLE.fullmatch(folded):
        raise UnprintableField(name.decode("ascii", "replace"))
    return HeaderField(name, b" " + folded)


@dataclass(frozen=True, slots=True)
class Marker:
    """Says who encrypted a copy, and to which certificate."""

    by: str
    """authserv-id (RFC 8601 §2.5) of this administrative domain."""

    fingerprint: str

    def __post_init__(self) -> None:
        """Raise UnprintableField unless both have their form."""
        if not _AUTHSERV_ID.fullmatch(self.by) or not _FINGERPRINT.fullmatch(self.fingerprint):
            raise UnprintableField("Letterlock")

    @property
    def field(self) -> HeaderField:
        """The marker field."""
        return printable_field(
            b"Letterlock", f"v=1; by={self.by};\r\n fpr={self.fingerprint}".encode()
        )


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the outer header may say about one copy."""

    mailbox: Mailbox
    marker: Marker | None
    """None: the message leaves, and who encrypted it is nobody's business outside."""

    now: datetime
    """Aware; only its day is shown, and only under `hcp_all`."""

    message_id: str
    """A new one with its angle brackets, shown only under `hcp_all`."""


def encrypted_header_field(encrypted: bytes) -> HeaderField:
    """Return the field that holds an encrypted header section (binary OpenPGP octets).

    Only for ENCRYPTED_HEADER_OCTETS_MAX octets and less; the caller wraps the message
    otherwise.
    """
    if len(encrypted) > ENCRYPTED_HEADER_OCTETS_MAX:
        raise ValueError("Postfix would cut the field")
    lines = [
        base64.b64encode(encrypted[at : at + _BASE64_OCTETS])
        for at in range(0, len(encrypted), _BASE64_OCTETS)
    ]
    return HeaderField(b"Letterlock-Header", b" " + b"\r\n ".join(lines))


def minimal_fields(mailer: str, delivery: Delivery) -> list[HeaderField]:
    """Return the fields of RFC 5322 §3.6 that say nothing about the message.

    `mailer` is the addr-spec in From; empty: postmaster of the mailbox's domain.
    """
    day = delivery.now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    mailer = mailer or f"postmaster@{delivery.mailbox.domain}"
    return [
        printable_field(b"Date", rfc5322_date(day)),
        printable_field(b"From", _one_addr_spec(mailer.encode())),
        printable_field(b"To", _to(delivery.mailbox)),
        printable_field(b"Message-ID", delivery.message_id.encode()),
    ]


def _one_addr_spec(text: bytes) -> bytes:
    found = addr_specs(text)
    if not found or len(found) != 1:
        raise UnprintableField("From")
    return found[0]


def _to(mailbox: Mailbox) -> bytes:
    for text in (str(mailbox), f'"{mailbox.local_part}"@{mailbox.domain}'):
        found = addr_specs(text.encode())
        if found and len(found) == 1:
            return found[0]
    # A local part beyond ASCII (RFC 6532); a group without members names nobody.
    return b"undisclosed-recipients:;"
