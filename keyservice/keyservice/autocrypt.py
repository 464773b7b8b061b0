"""Autocrypt header fields as Autocrypt Level 1 has them. Pure.

What the certificate in one is worth, and whether it can be used at all, is not decided
here: the specification calls the user ID decorative, vetting does not.
"""

import base64
from collections.abc import Iterable, Sequence
from enum import Enum

import msgspec

from keyservice import packets
from keyservice.certificate import RefusalReason, RejectedCertificate
from keyservice.mailbox import InvalidMailbox, Mailbox

FIELD_OCTETS_MAX = 10 * 1024
"""Level 1, "The Autocrypt Header": field name, colon and folding included."""

AUTOCRYPT, GOSSIP = "Autocrypt", "Autocrypt-Gossip"

_KNOWN = frozenset({"addr", "prefer-encrypt", "keydata"})

_FIVE_PACKETS = [
    packets.PUBLIC_KEY,
    packets.USER_ID,
    packets.SIGNATURE,
    packets.PUBLIC_SUBKEY,
    packets.SIGNATURE,
]
"""Level 1, "OpenPGP Based key data"."""


class PreferEncrypt(Enum):
    """Whether the owner agrees to encryption by default."""

    NOPREFERENCE = "nopreference"
    MUTUAL = "mutual"


class Fault(Enum):
    """Why a header field does not count. Also the metric label."""

    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    CRITICAL_ATTRIBUTE = "critical_attribute"
    OTHER_MAILBOX = "other_mailbox"
    NOT_FIVE_PACKETS = "not_five_packets"
    SECRET_KEY = "secret_key"  # noqa: S105 (a reason, no password)
    SEVERAL = "several"


class InvalidField(ValueError):
    """The header field must be treated as if it were not there."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class Header(msgspec.Struct, frozen=True):
    """A header field that is valid by itself."""

    addr: str
    """`Mailbox.key` of the mailbox it speaks about."""

    keydata: bytes
    """The certificate, binary: exactly five packets."""

    prefer_encrypt: PreferEncrypt = PreferEncrypt.NOPREFERENCE


class Reading(msgspec.Struct, frozen=True):
    """What the header fields of one message come to."""

    header: Header | None
    faults: tuple[Fault, ...] = ()
    """One for each field that does not count; a secret key among them is worth an alarm."""


def sent_by(bodies: Sequence[bytes], sender: Mailbox) -> Reading:
    """Return the one valid header among the field bodies; `sender` is the From address.

    With two valid ones nobody can say which the sender meant: all are discarded.
    """
    headers, faults = _valid(bodies, AUTOCRYPT, frozenset({sender.key}))
    if len(headers) > 1:
        return Reading(None, (*faults, *(Fault.SEVERAL for _ in headers)))
    return Reading(headers[0] if headers else None, faults)


def gossiped_to(bodies: Sequence[bytes], addressees: Iterable[Mailbox]) -> tuple[Header, ...]:
    """Return the valid Autocrypt-Gossip headers; `addressees` are those in To, Cc and Reply-To.

    `bodies` must come from the root of the decrypted payload. Gossip outside it is anybody's
    to write, and never counts.
    """
    return _valid(bodies, GOSSIP, frozenset(mailbox.key for mailbox in addressees))[0]


def parse(body: bytes, name: str = AUTOCRYPT) -> Header:
    """Return what a field body says, folded as it came. Raises InvalidField."""
    if len(name) + 1 + len(body) > FIELD_OCTETS_MAX:
        raise InvalidField(Fault.TOO_LARGE)
    attributes = _attributes(body)
    if any(not each.startswith("_") and each not in _KNOWN for each in attributes):
        raise InvalidField(Fault.CRITICAL_ATTRIBUTE)
    if "addr" not in attributes or next(reversed(attributes)) != "keydata":
        raise InvalidField(Fault.MALFORMED)
    try:
        addr = Mailbox.parse(attributes["addr"]).key
    except InvalidMailbox:
        raise InvalidField(Fault.MALFORMED) from None
    is_mutual = attributes.get("prefer-encrypt") == PreferEncrypt.MUTUAL.value
    preference = PreferEncrypt.MUTUAL if is_mutual else PreferEncrypt.NOPREFERENCE
    return Header(addr, _keydata(attributes["keydata"]), preference)


def effective_date(date: int | None, received_at: int) -> int:
    """Return when the message counts as sent: its Date, unless that is missing or to come."""
    return received_at if date is None or date > received_at else date


def _valid(
    bodies: Sequence[bytes], name: str, mailboxes: frozenset[str]
) -> tuple[tuple[Header, ...], tuple[Fault, ...]]:
    headers, faults = [], []
    for body in bodies:
        try:
            header = parse(body, name)
        except InvalidField as invalid:
            faults.append(invalid.fault)
            continue
        if header.addr in mailboxes:
            headers.append(header)
        else:
            faults.append(Fault.OTHER_MAILBOX)
    return tuple(headers), tuple(faults)


def _attributes(body: bytes) -> dict[str, str]:
    attributes: dict[str, str] = {}
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise InvalidField(Fault.MALFORMED) from None
    for attribute in text.split(";"):
        name, equals, value = attribute.partition("=")
        # Of two values for one name different clients would take different ones.
        if not equals or not name.strip() or name.strip() in attributes:
            raise InvalidField(Fault.MALFORMED)
        attributes[name.strip()] = value.strip()
    return attributes


def _keydata(value: str) -> bytes:
    try:
        octets = base64.b64decode("".join(value.split()), validate=True)
        tags = [packet.tag for packet in packets.split(octets)]
    except RejectedCertificate as rejected:
        is_secret = rejected.refusal.reason is RefusalReason.SECRET_KEY
        raise InvalidField(Fault.SECRET_KEY if is_secret else Fault.MALFORMED) from None
    except ValueError:
        raise InvalidField(Fault.MALFORMED) from None
    if tags != _FIVE_PACKETS:
        raise InvalidField(Fault.NOT_FIVE_PACKETS)
    return octets
