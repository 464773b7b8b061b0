"""What of a submission's header section leaves with it. Pure.

Fields are removed by the list here and for no other reason; what stays is not touched. Why
each is on the list is said in docs/submission-fields.md, which a test compares with it.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType

from keyservice.client import Mailbox
from letterlock.header_policy import rfc5322_date
from letterlock.message import HeaderField, HeaderSection

REMOVED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Hidden recipients": ("Bcc", "Resent-Bcc", "Apparently-To"),
        "The way so far": (
            "Received",
            "X-Received",
            "Return-Path",
            "Delivered-To",
            "Original-Recipient",
            "Envelope-To",
            "X-Original-To",
            "X-Envelope-From",
            "X-Envelope-To",
            "X-Mailbox-Line",
            "X-MIME-Autoconverted",
        ),
        "The sender's host and program": (
            "User-Agent",
            "X-User-Agent",
            "X-HTTP-UserAgent",
            "X-Mailer",
            "X-Newsreader",
            "X-Webmailer",
            "X-MimeOLE",
            "X-Enigmail-*",
            "X-Operating-System",
            "X-Originating-*",
            "X-Source",
            "X-Source-*",
            "X-Client-*",
            "X-Sender",
            "X-Sender-IP",
            "X-Remote-*",
            "X-PHP-*",
            "X-Authenticated-*",
            "X-Authentication-Warning",
            "X-AuthUser",
            "X-Get-Message-Sender-Via",
        ),
        "Drafts and mail stores": (
            "FCC",
            "X-FCC",
            "Autocrypt-Draft-State",
            "X-Mozilla-*",
            "X-Identity-Key",
            "X-Account-Key",
            "X-Draft-*",
            "X-Evolution-*",
            "X-KMail-*",
            "X-Apple-Auto-Saved",
            "X-Uniform-Type-Identifier",
            "X-Universally-Unique-Identifier",
            "Content-Length",
            "Lines",
            "Status",
            "X-Status",
            "X-Keywords",
            "X-UID",
            "X-UIDL",
            "X-IMAP",
            "X-IMAPBase",
        ),
        "Forged trust": (
            "Letterlock",
            "Letterlock-*",
            "Authentication-Results",
            "X-Authentication-Results",
            "ARC-*",
            "Received-SPF",
            "X-Received-SPF",
            "BIMI-Indicator",
            "BIMI-Location",
            "X-Leap-*",
            "X-Spam",
            "X-Spam-*",
            "X-Spamd-*",
            "X-Rspamd-*",
            "X-Ham-*",
            "X-Bogosity",
            "X-DSPAM-*",
            "X-Virus-*",
            "X-Antivirus",
            "X-Antivirus-*",
            "X-Amavis-*",
            "X-Quarantine-*",
            "X-Barracuda-*",
            "X-Proofpoint-*",
            "X-IronPort-*",
            "X-Forefront-*",
            "X-Microsoft-Antispam",
            "X-Microsoft-Antispam-*",
            "X-MS-Exchange-*",
        ),
    }
)
"""Names of fields by the reason why they go; `*` stands for any further characters."""

_PATTERNS = [pattern.lower().encode() for each in REMOVED.values() for pattern in each]
_NAMES = frozenset(pattern for pattern in _PATTERNS if not pattern.endswith(b"*"))
_PREFIXES = tuple(pattern[:-1] for pattern in _PATTERNS if pattern.endswith(b"*"))

_MESSAGE_ID_OCTETS = 16
_SIGNING_DOMAIN = re.compile(rb"(?:\A|;)\s*d\s*=\s*([^;\s]*)\s*(?=;|\Z)")
"""RFC 6376 §3.5, d=; names of tags are compared with case."""


@dataclass(frozen=True, slots=True)
class OwnFields:
    """What the fields that a submission lacks are made of."""

    author: Mailbox
    """`senders.Author.address`: Message-IDs are of its domain, which is also the one that signs."""

    now: datetime
    """Aware."""

    random: Callable[[int], bytes]
    """Returns so many octets."""

    autocrypt: HeaderField | None = None
    """The author's, if it is to be added where there is none."""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What becomes of each field of a section, and the fields that are new."""

    kept: tuple[HeaderField | None, ...]
    """For each field: itself, or None where it goes."""

    added: tuple[HeaderField, ...]
    """Behind all others, in this order."""

    section: HeaderSection
    """What results."""


def clean(section: HeaderSection, own: OwnFields) -> Cleaned:
    """Return what leaves of `section`."""
    domain = own.author.domain.encode("ascii")
    pairs = list(zip(section.fields, section.keys, strict=True))
    goes = [is_removed(key) or _is_our_signature(field, key, domain) for field, key in pairs]
    kept = tuple([None if gone else field for field, gone in zip(section, goes, strict=True)])
    added = tuple(_missing(own, frozenset(section.keys)))
    left = tuple([field for field in kept if field is not None])
    return Cleaned(kept, added, HeaderSection(left + added, section.end))


@lru_cache(maxsize=1024)
def is_removed(key: bytes) -> bool:
    """Whether the list has a field of this name (lower case)."""
    return key in _NAMES or key.startswith(_PREFIXES)


def _is_our_signature(field: HeaderField, key: bytes, domain: bytes) -> bool:
    """Whether it claims to be ours: then it is old or forged, and fails beside the one we make.

    Of others' signatures RFC 6376 §4.2 says that they stay, even broken.
    """
    if key != b"dkim-signature":
        return False
    return domain in [found.lower() for found in _SIGNING_DOMAIN.findall(field.unfolded)]


def _missing(own: OwnFields, there: frozenset[bytes]) -> Iterator[HeaderField]:
    # RFC 6409 §8.2, §8.3. In UTC, and a Message-ID of random digits: neither tells where or on
    # which of our hosts it was made.
    if b"date" not in there:
        yield HeaderField(b"Date", b" " + rfc5322_date(own.now.astimezone(UTC)))
    if b"message-id" not in there:
        random = own.random(_MESSAGE_ID_OCTETS).hex()
        yield HeaderField(b"Message-ID", f" <{random}@{own.author.domain}>".encode("ascii"))
    # A field that the client wrote stays, even one that does not count: it knows its owner.
    if own.autocrypt is not None and b"autocrypt" not in there:
        yield own.autocrypt
