"""The Cryptographic Payload (RFC 9788): the complete original, marked for mail clients.

`hp="clear"` because the encryption is added in transit and the sender promised nothing
(RFC 9788 §2.1.1, §10.2); `protected-headers="v1"` because today's clients insist on it.

The payload's first field, `Letterlock-Original`, says how to get the original back: what
follows it *is* the original, save for the listed places (see docs/format.md). Sender-set
fields and parameters of these names stay restorable and never take effect.
"""

import base64
import re
from enum import Enum
from functools import lru_cache
from typing import NamedTuple, assert_never

from keyservice.client import HeaderPolicy
from letterlock.content_type import ContentType, base_name, rewritten, strict
from letterlock.message import CRLF, HeaderField, HeaderSection

CUT_OCTETS = 54_000
"""From this size on a field may have been cut.

Postfix does so at 60,000 octets, and at the end of the line before that where no more
than a tenth is lost (cleanup_out.c): what is left of a longer field has any size between.
"""

OUR_PARAMETERS = frozenset({b"hp", b"hp-legacy-display", b"protected-headers"})
"""Content-Type parameters that only we may set at the payload's root."""

_MARKS = b'protected-headers="v1"; hp="clear"'
_MIME_VERSION = b"MIME-Version: 1.0\r\n"
_NO_TYPE = b"Content-Type: text/plain; charset=us-ascii;\r\n " + _MARKS + CRLF
_RFC822_TYPE = b"Content-Type: message/rfc822;\r\n " + _MARKS + CRLF
_RFC822_HEAD = _MIME_VERSION + _RFC822_TYPE + b"Content-Transfer-Encoding: 8bit\r\n\r\n"

# Python's parser ends a line at a bare CR and a section at a blank before a colon,
# parsers in C end one at NUL.
_STRAY = re.compile(rb"\r(?!\n)|\0")
_BASE64_COLUMNS = 72


class Form(Enum):
    """How the original is put into the payload."""

    ROOT = "root"
    """The original's own MIME entity is the payload's root."""

    RFC822 = "rfc822"
    """The original is a message/rfc822 below repeated header fields: clients show the
    sender even where the outer From is not theirs."""

    HEADER = "header"
    """The header section alone, for mail whose body arrived encrypted."""

    @classmethod
    def of(cls, policy: HeaderPolicy) -> "Form":
        """Return the form for mail that is wrapped under `policy`."""
        return cls.RFC822 if policy is HeaderPolicy.HCP_ALL else cls.ROOT


class Recorded(NamedTuple):
    """What we know about a message and write into its payload."""

    field: HeaderField | None = None
    """Goes in front of the original's fields."""

    forged: frozenset[int] = frozenset()
    """Places of fields that claim to be such a field of ours; they are left out."""


NOTHING_RECORDED = Recorded()


class Inexact(Enum):
    """Why the restored original may differ from what the peer sent."""

    HEADER_CUT = "header-cut"
    """A field has the size at which Postfix cuts."""

    MBOX_LINE = "mbox-line"
    """Postfix turned a leading `From ` line into X-Mailbox-Line."""


def inexact(section: HeaderSection) -> Inexact | None:
    """Return what Postfix seems to have changed in a section that came through it."""
    if max(map(len, section.pieces), default=0) >= CUT_OCTETS:
        return Inexact.HEADER_CUT
    if section.keys[:1] == (b"x-mailbox-line",):
        return Inexact.MBOX_LINE
    return None


@lru_cache(maxsize=1024)
def is_structural(key: bytes) -> bool:
    """Whether `key` names a Structural Header Field (RFC 9787 §1.1.1)."""
    return key.startswith(b"content-") or key == b"mime-version"


def payload_head(
    section: HeaderSection, form: Form, why: Inexact | None, recorded: Recorded = NOTHING_RECORDED
) -> bytes:
    """Return everything of the payload before the body, which follows as it is.

    `why` is `inexact(section)`, or None for a file that never passed through an MTA.
    """
    edited = _Edited()
    match form:
        case Form.ROOT:
            _as_root(section, recorded, edited)
        case Form.RFC822:
            edited.put(_repeated(section, recorded) + _RFC822_HEAD, b"")
            _as_it_is(section, recorded, edited)
        case Form.HEADER:
            _as_it_is(section, recorded, edited)
            _end_section(section, edited)
        case _:
            assert_never(form)
    return _original_field(edited.places, why) + b"".join(edited.text)


class _Place(NamedTuple):
    """`length` octets of ours at `offset` behind our field, standing for `original`."""

    offset: int
    length: int
    original: bytes


class _Edited:
    """Text made of kept octets and of octets of ours, with the places of the latter."""

    def __init__(self) -> None:
        self.text: list[bytes] = []
        self.places: list[_Place] = []
        self._octets = 0

    def keep(self, octets: bytes) -> None:
        self.text.append(octets)
        self._octets += len(octets)

    def record(self, recorded: Recorded) -> None:
        if recorded.field is not None:
            self.put(recorded.field.octets, b"")

    def put(self, ours: bytes, original: bytes) -> None:
        self.places.append(_Place(self._octets, len(ours), original))
        self.keep(ours)


def _as_it_is(section: HeaderSection, recorded: Recorded, edited: _Edited) -> None:
    edited.record(recorded)
    if not recorded.forged:
        edited.keep(section.octets + section.end)
        return
    for at, piece in enumerate(section.pieces):
        if at in recorded.forged:
            edited.put(b"", piece)
        else:
            edited.keep(piece)
    edited.keep(section.end)


def _as_root(section: HeaderSection, recorded: Recorded, edited: _Edited) -> None:
    keys = section.keys
    edited.record(recorded)
    if b"content-type" not in keys:
        edited.put((b"" if b"mime-version" in keys else _MIME_VERSION) + _NO_TYPE, b"")
    typed = False
    has_stray = _STRAY.search(section.octets) is not None
    kept: list[bytes] = []
    for at, (field, key, piece) in enumerate(
        zip(section.fields, keys, section.pieces, strict=True)
    ):
        is_type = key == b"content-type"
        is_odd = len(key) != len(field.name) or (has_stray and _STRAY.search(field.value))
        is_forged = at in recorded.forged
        if is_type or is_odd or is_forged:
            edited.keep(b"".join(kept))
            kept = []
            if is_forged:
                edited.put(b"", piece)
            elif not is_type:
                edited.put(_clean(field) + field.line_end, piece)
            elif typed:
                # One only: which of several counts differs between clients.
                edited.put(b"", piece)
            else:
                _put_type(field, edited)
            typed = typed or is_type
        else:
            kept.append(piece)
    edited.keep(b"".join(kept) + section.end)
    _end_section(section, edited)


def _put_type(field: HeaderField, edited: _Edited) -> None:
    said = strict(field)
    if said is None or _sets_ours(said) or len(field.key) != len(field.name):
        edited.put(
            b"Content-Type:" + rewritten(field, OUR_PARAMETERS, _MARKS) + field.line_end,
            field.octets,
        )
        return
    # First of the parameters: nothing a sender wrote can hide them or count before them.
    edited.keep(field.name + b":" + field.value[: said.media_type_end])
    edited.put(b";\r\n " + _MARKS, b"")
    edited.keep(field.value[said.media_type_end :] + field.line_end)


def _sets_ours(said: ContentType) -> bool:
    return any(base_name(name) in OUR_PARAMETERS for name, _ in said.parameters)


def _clean(field: HeaderField) -> bytes:
    return field.name.rstrip(b" \t") + b":" + _STRAY.sub(b" ", field.value)


def _end_section(section: HeaderSection, edited: _Edited) -> None:
    """Put what a file lacks before a body can follow."""
    if not section.end:
        unended = bool(section.fields) and not section.fields[-1].line_end
        edited.put(CRLF + CRLF if unended else CRLF, b"")


def _repeated(section: HeaderSection, recorded: Recorded) -> bytes:
    ours = recorded.field.octets if recorded.field is not None else b""
    return ours + b"".join(
        # HP-Outer has no meaning without hp="cipher" (RFC 9788 §2.2, §4.2).
        _clean(field) + (field.line_end or CRLF)
        for at, field in enumerate(section.fields)
        if at not in recorded.forged and not is_structural(field.key) and field.key != b"hp-outer"
    )


def _original_field(places: list[_Place], why: Inexact | None) -> bytes:
    exact = b"exact=yes" if why is None else b"exact=no; why=" + why.value.encode()
    lines = [b"Letterlock-Original: v=1; " + exact]
    for offset, length, original in places:
        text = b"%d+%d=%b" % (offset, length, base64.b64encode(original))
        cut = [text[at : at + _BASE64_COLUMNS] for at in range(0, len(text), _BASE64_COLUMNS)]
        lines.append(b"\r\n ".join(cut))
    return b";\r\n ".join(lines) + CRLF
