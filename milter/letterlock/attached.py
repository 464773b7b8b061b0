"""Certificates attached to a message (RFC 3156 §7), taken out while its body streams by.

Looks into multiparts within multiparts, never into message/rfc822: a forwarded mail is
somebody else's. What parsers might read differently is passed over.

Memory, and time beside a search for the delimiters, do not depend on what is in the
message. Of ordinary mail nothing is looked at line by line.
"""

import re
from typing import NamedTuple

from keyservice.client import ATTACHED_MAX, ATTACHED_OCTETS_MAX
from letterlock.content_type import ContentType, base_name, strict
from letterlock.message import HeaderSection, split
from letterlock.transfer_encoding import IDENTITY, EncodedPart, encoding

_DEPTH_MAX = 8
"""Multiparts around a part. Lists and gateways add one each, people few."""

_CANDIDATES_MAX = 1_000
"""Lines that begin like a delimiter. From there on nothing more is looked for."""

_HEAD_OCTETS_MAX = 4_096
"""Of the header section of a part."""

_BOUNDARY_OCTETS_MAX = 70
"""RFC 2046 §5.1.1."""

_BLANKS_MAX = 100
_DELIMITER_OCTETS_MAX = len(b"\n--") + _BOUNDARY_OCTETS_MAX + len(b"--\r\n") + _BLANKS_MAX

# The line end is left where it is: the next delimiter may begin with it.
_DELIMITER_END = re.compile(rb"(--)?[ \t]{0,%d}+(?=\r?\n)" % _BLANKS_MAX)
_HEAD_END = re.compile(rb"\n\r?\n")

_PIECE_OCTETS = 65_536
"""What is searched at a time: as much as a milter is given."""


class _Delimiter(NamedTuple):
    level: int
    """Which of the open multiparts it belongs to; 0: the outermost."""

    start: int
    """Offset of the LF before it."""

    end: int
    is_closing: bool


class Attached:
    """Reads a body as it arrives. Nothing in a message makes it raise."""

    def __init__(self, section: HeaderSection) -> None:
        self._found: list[bytes] = []
        self._delimiters: list[bytes] = []
        """LF, dashes and boundary of each open multipart, outermost first."""

        self._candidates = _CANDIDATES_MAX
        self._part: EncodedPart | None = None
        """The part that is taken out at the moment."""

        self._in_head = False
        # A delimiter may be the first line.
        self._held = b"\n"
        self._is_over = not self._enter(section)

    def write(self, chunk: bytes) -> None:
        """Take the next octets of the body, however many."""
        if self._is_over:
            return
        for at in range(0, len(chunk), _PIECE_OCTETS):
            self._read(self._held + chunk[at : at + _PIECE_OCTETS])

    def close(self) -> tuple[bytes, ...]:
        """Return the first such parts, transfer encoding removed."""
        self.write(b"\r\n")
        if not self._is_over:
            self._take(self._held.removesuffix(b"\r\n"))
            self._leave_part()
            self._is_over = True
        return tuple(self._found)

    def _read(self, text: bytes) -> None:
        at = 0
        while not self._is_over:
            delimiter = self._next(text, at)
            end = delimiter.start if delimiter else len(text)
            body = self._body(text, at, end) if self._in_head else None
            if body is not None:
                # The head may have opened a multipart: search again from there.
                at = body
                continue
            if delimiter is None:
                break
            self._take(text[at : delimiter.start])
            self._leave_part()
            self._turn(delimiter)
            at = delimiter.end
        self._hold(text, at)

    def _hold(self, text: bytes, at: int) -> None:
        """Keep what may be the beginning of a delimiter, or of the end of a head."""
        keep = at if self._in_head else max(at, len(text) - _DELIMITER_OCTETS_MAX)
        self._take(text[at:keep])
        self._held = b"" if self._is_over else text[keep:]

    def _next(self, text: bytes, at: int) -> _Delimiter | None:
        """Return the first delimiter from `at` on; of two in one place, the outer one's."""
        found = None
        last = len(text)
        for level in reversed(range(len(self._delimiters))):
            if match := self._line(text, at, last, self._delimiters[level]):
                last = match.start() - len(self._delimiters[level])
                found = _Delimiter(level, last, match.end(), bool(match[1]))
        return None if self._is_over else found

    def _line(self, text: bytes, at: int, last: int, delimiter: bytes) -> re.Match[bytes] | None:
        """Return the end of the first line from `at` to `last` that is this delimiter."""
        start = at - 1
        while (start := text.find(delimiter, start + 1, last + len(delimiter))) >= 0:
            self._candidates -= 1
            if self._candidates < 0:
                self._is_over = True
                break
            # The line must end there. RFC 2046 §5.1.1 would let "a" end what "ab" delimits;
            # no parser does.
            if match := _DELIMITER_END.match(text, start + len(delimiter)):
                return match
        return None

    def _body(self, text: bytes, at: int, end: int) -> int | None:
        """Return the offset of the line end before the body of the part whose head is at `at`.

        None: the head does not end before `end`.
        """
        head_end = _HEAD_END.search(text, at, min(end + 1, at + _HEAD_OCTETS_MAX))
        if head_end is None and end - at < _HEAD_OCTETS_MAX:
            return None
        self._in_head = False
        if head_end is None:
            return at
        # It begins with the line end of the delimiter.
        begin = text.index(b"\n", at) + 1
        self._enter(split(text[begin : head_end.start() + 1])[0])
        return head_end.end() - 1

    def _enter(self, section: HeaderSection) -> bool:
        """Begin a part, or the message; return whether there may be something in it."""
        said, encoded = _content_type(section), encoding(section)
        if said is None or encoded is None:
            return False
        if said.media_type == b"application/pgp-keys":
            self._part = EncodedPart(encoded, ATTACHED_OCTETS_MAX)
            return True
        boundary = _boundary(said)
        # RFC 2045 §6.4: no other encoding may hide a multipart.
        if not boundary or encoded not in IDENTITY or len(self._delimiters) == _DEPTH_MAX:
            return False
        self._delimiters.append(b"\n--" + boundary)
        return True

    def _turn(self, delimiter: _Delimiter) -> None:
        """Go behind a delimiter: into the next part, or out of a multipart."""
        del self._delimiters[delimiter.level + (not delimiter.is_closing) :]
        self._in_head = not delimiter.is_closing
        if not self._delimiters or len(self._found) == ATTACHED_MAX:
            self._is_over = True

    def _take(self, octets: bytes) -> None:
        if self._part is not None:
            self._part.write(octets)

    def _leave_part(self) -> None:
        if self._part is not None and (octets := self._part.decoded()):
            self._found.append(octets)
        self._part = None


def _content_type(section: HeaderSection) -> ContentType | None:
    types = section.named(b"content-type")
    return strict(types[0]) if len(types) == 1 else None


def _boundary(said: ContentType) -> bytes:
    """Return the boundary of a multipart; nothing if there is none that may be one."""
    # Nothing of an encrypted one (RFC 1847 §2.2) is for us to see.
    if not said.media_type.startswith(b"multipart/") or said.media_type == b"multipart/encrypted":
        return b""
    named = [each for each in said.parameters if base_name(each[0]) == b"boundary"]
    if len(named) != 1 or named[0][0] != b"boundary":
        return b""
    boundary = named[0][1]
    is_one = len(boundary) <= _BOUNDARY_OCTETS_MAX and not boundary.endswith((b" ", b"\t"))
    return boundary if is_one else b""
