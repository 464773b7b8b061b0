"""ASCII Armor of messages (RFC 9580 §6), both ways, as it comes."""

import binascii
import re
from enum import Enum, auto
from functools import lru_cache
from struct import Struct

from letterlock.openpgp.packets import Octets, PacketType, packet

_LINE_COLUMNS = 64
_LINE_OCTETS = _LINE_COLUMNS // 4 * 3

# Small enough that all that is made of a block fits what the allocator keeps: larger ones
# go back to the system each time, and their page faults double the cost.
_BLOCK_LINES = 128
_BLOCK_OCTETS = _BLOCK_LINES * _LINE_OCTETS

_BEGIN = b"-----BEGIN PGP MESSAGE-----"
_END = b"-----END PGP MESSAGE-----"

_MARKER = packet(PacketType.MARKER, b"PGP")

_HEAD = re.compile(
    rb"[ \t\r\n]*"
    rb"-----BEGIN PGP MESSAGE-----[ \t]*\r?\n"
    rb"(?:[A-Za-z-]+:[^\r\n]*\r?\n)*"
    rb"[ \t]*\r?\n"
)
"""Header line, Armor Headers, blank line (RFC 9580 §6.2.1, §6.2.2)."""

_TAIL = re.compile(
    rb"(?P<last>[A-Za-z0-9+/]{0,3}={0,2})[ \t\r]*"
    rb"(?:\n=[A-Za-z0-9+/]{4}[ \t\r]*)?"
    rb"[ \t\r\n]*\n-----END PGP MESSAGE-----[ \t\r\n]*"
)
"""Last radix-64 characters, CRC24, tail line (RFC 9580 §6.1, §6.2.3)."""

_HEAD_OCTETS_MAX = 2048
_TAIL_OCTETS_MAX = 512


class Armor:
    """Armors a message: CRLF, no Armor Headers, no CRC24 (RFC 9580 §6.1: SHOULD NOT)."""

    def __init__(self, octets: int) -> None:
        """`octets` is how many there will be in all, which has to be known beforehand.

        gpg 2.2 takes the tail line for radix-64 unless a CRC24 or "=" goes before it (GnuPG
        T7071), and refuses the message. So that there is a "=", the length must not be a
        multiple of 3. A Marker packet in front, which every reader ignores (RFC 9580 §5.8),
        sees to that.
        """
        self._begin = _BEGIN + b"\r\n\r\n"
        self._pending = _MARKER if octets % 3 == 0 else b""
        self._missing = octets

    def write(self, octets: Octets) -> bytes:
        """Return the lines that these octets complete; 64 KB at a time is fastest."""
        self._missing -= len(octets)
        octets = self._pending + octets if self._pending else bytes(octets)
        whole = len(octets) - len(octets) % _LINE_OCTETS
        self._pending = octets[whole:]
        return self._take_begin() + _lines(memoryview(octets)[:whole])

    def close(self) -> bytes:
        """Return the last line and the tail; raises ValueError if the length was not true."""
        if self._missing:
            raise ValueError("armored octets are not as many as announced")
        last = binascii.b2a_base64(self._pending, newline=False)
        return self._take_begin() + (last + b"\r\n" if last else b"") + _END + b"\r\n"

    def _take_begin(self) -> bytes:
        begin, self._begin = self._begin, b""
        return begin


def _lines(octets: memoryview) -> bytes:
    """Return `octets`, a whole number of lines, in radix-64 (RFC 9580 §6)."""
    starts = range(0, len(octets), _BLOCK_OCTETS)
    blocks = [_block(octets[start : start + _BLOCK_OCTETS]) for start in starts]
    return b"\r\n".join([*blocks, b""])


def _block(octets: memoryview) -> bytes:
    text = binascii.b2a_base64(octets, newline=False)
    # One call cuts many lines: several times as fast as a loop over slices.
    return b"\r\n".join(_cutter(len(text) // _LINE_COLUMNS).unpack(text))


@lru_cache(maxsize=_BLOCK_LINES)
def _cutter(lines: int) -> Struct:
    return Struct(f"{_LINE_COLUMNS}s" * lines)


class MalformedArmor(ValueError):
    """The text is not one armored message and nothing else; the reason is in the message."""


class _State(Enum):
    HEAD = auto()
    BODY = auto()
    TAIL = auto()


class Dearmor:
    """Takes the armor off one message.

    Stricter than clients about what surrounds the message, because that would stay readable:
    blank lines may, text may not. As lenient as they are inside: LF or CRLF, blanks at line
    ends, any line length, with or without a CRC24, which RFC 9580 §6.1 forbids to rely on.
    """

    def __init__(self) -> None:
        self._state = _State.HEAD
        self._pending = b""
        self._at_line_start = True

    def write(self, text: Octets) -> bytes:
        """Return the octets that these characters complete; raises MalformedArmor."""
        text = self._pending + text
        if self._state is _State.HEAD:
            head = _HEAD.match(text, 0, _HEAD_OCTETS_MAX)
            if not head:
                return self._keep(text, _HEAD_OCTETS_MAX)
            self._state = _State.BODY
            text = text[head.end() :]
        if self._state is _State.BODY:
            return self._body(text)
        return self._keep(text, _TAIL_OCTETS_MAX)

    def close(self) -> bytes:
        """Return the last octets; raises MalformedArmor unless the tail was seen."""
        tail = _TAIL.fullmatch(self._pending) if self._state is _State.TAIL else None
        if not tail:
            raise MalformedArmor("armor has no proper beginning or end")
        return _decode(tail["last"])

    def _body(self, text: bytes) -> bytes:
        marks = [at for at in (text.find(b"="), text.find(b"-")) if at >= 0]
        radix64, rest = (text[: min(marks)], text[min(marks) :]) if marks else (text, b"")
        if line := radix64.rstrip(b" \t\r"):
            self._at_line_start = line.endswith(b"\n")
        radix64 = radix64.translate(None, b" \t\r\n")
        whole = len(radix64) - len(radix64) % 4
        self._pending = radix64[whole:]
        if marks:
            self._state = _State.TAIL
            self._pending += b"\n" * self._at_line_start
            self._keep(self._pending + rest, _TAIL_OCTETS_MAX)
        return _decode(radix64[:whole])

    def _keep(self, text: bytes, octets_max: int) -> bytes:
        if len(text) > octets_max:
            raise MalformedArmor("text around the armor")
        self._pending = text
        return b""


def _decode(radix64: bytes) -> bytes:
    try:
        return binascii.a2b_base64(radix64, strict_mode=True)
    except binascii.Error:
        raise MalformedArmor("text inside the armor is not radix-64") from None
