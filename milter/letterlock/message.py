"""An RFC 5322 message as the octets that arrived: header section, header fields, body.

Nothing here re-serialises: a section is a list of slices whose concatenation is the
original, line ends included.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import msgspec

CRLF = b"\r\n"

_FIELD = re.compile(rb"([!-9;-~]++[ \t]*+):([^\n]*+(?:\n[ \t][^\n]*+)*)(?:\n|\Z)")
"""RFC 5322 §2.2, with the blanks before the colon that §4.5.8 still allows.

A field of any size costs linear time. Single characters may be repeated possessively, groups not:
Python before 3.11.5 matches those wrongly (gh-106052).
"""

_FOLD = re.compile(rb"\r?\n(?=[ \t])")


class HeaderField(msgspec.Struct, frozen=True, gc=False):
    """A header field as it arrived."""

    name: bytes
    value: bytes
    """What followed the colon: leading blanks and folds included, the last line end not."""

    line_end: bytes = CRLF
    """LF or nothing in files that are no proper messages."""

    @property
    def octets(self) -> bytes:
        """The complete field."""
        return b"%b:%b%b" % (self.name, self.value, self.line_end)

    @property
    def key(self) -> bytes:
        """The name as it is compared: lower case (RFC 5322 §1.2.2), no blanks after it."""
        return self.name.rstrip(b" \t").lower()

    @property
    def unfolded(self) -> bytes:
        """The field body without folds (RFC 5322 §2.2.3) and outer blanks."""
        value = _FOLD.sub(b"", self.value) if b"\n" in self.value else self.value
        return value.strip(b" \t\r\n")


@dataclass(frozen=True)
class HeaderSection:
    """The header fields of a message, in order, and the blank line that ends them."""

    fields: tuple[HeaderField, ...]
    end: bytes = CRLF
    """LF or nothing in files that are no proper messages."""

    @classmethod
    def from_milter(cls, pairs: Iterable[tuple[str, bytes]]) -> Self:
        """Return the section of the fields that libmilter reported, which writes folds as LF."""
        return cls(
            tuple([HeaderField(n.encode("ascii"), v.replace(b"\n", CRLF)) for n, v in pairs])
        )

    # Spelled out below instead of asking each field: a message has dozens of them, and
    # these run for every message.

    @cached_property
    def pieces(self) -> tuple[bytes, ...]:
        """The `octets` of each field."""
        return tuple([b"%b:%b%b" % (f.name, f.value, f.line_end) for f in self.fields])

    @cached_property
    def octets(self) -> bytes:
        """All fields, without the blank line."""
        return b"".join(self.pieces)

    @cached_property
    def keys(self) -> tuple[bytes, ...]:
        """The `key` of each field."""
        return tuple([f.name.rstrip(b" \t").lower() for f in self.fields])

    def named(self, key: bytes) -> tuple[HeaderField, ...]:
        """Return the fields whose `key` it is, in order."""
        pairs = zip(self.fields, self.keys, strict=True)
        return tuple([field for field, its in pairs if its == key])

    def __iter__(self) -> Iterator[HeaderField]:
        """Yield the fields in order."""
        return iter(self.fields)


def split(octets: bytes) -> tuple[HeaderSection, bytes]:
    """Return header section and body of any octets: `section.octets + section.end + body`.

    The section ends at a blank line, or before the first line that is no header field;
    then `end` is empty.
    """
    fields = []
    at = 0
    while match := _FIELD.match(octets, at):
        fields.append(_field(match))
        at = match.end()
    rest = octets[at : at + 2]
    end = CRLF if rest == CRLF else rest[:1] if rest[:1] == b"\n" else b""
    # A field that no line end closes is the last thing there is.
    return HeaderSection(tuple(fields), end), octets[at + len(end) :]


def _field(match: re.Match[bytes]) -> HeaderField:
    name, value = match.groups()
    if not match[0].endswith(b"\n"):
        return HeaderField(name, value, b"")
    if value.endswith(b"\r"):
        return HeaderField(name, value[:-1], CRLF)
    return HeaderField(name, value, b"\n")
