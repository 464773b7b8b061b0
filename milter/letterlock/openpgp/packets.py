"""Packet syntax (RFC 9580 §3, §4): lengths, MPIs, fields of a body, partial body lengths."""

from collections.abc import Iterator
from enum import IntEnum

PIECE_OCTETS = 1 << 16
"""Octets under one partial body length; also the most that is held back while streaming."""

_PARTIAL = bytes([0xE0 | 16])
"""RFC 9580 §4.2.1.4: 224 plus the exponent of two of `PIECE_OCTETS`."""

Octets = bytes | bytearray | memoryview


class PacketType(IntEnum):
    """Packet types we write or recognise (RFC 9580 §5)."""

    PKESK = 1
    MARKER = 10
    LITERAL_DATA = 11
    SEIPD = 18
    MDC = 19
    """RFC 4880 §5.14; inside SEIPD version 1 only."""

    LIBREPGP_OCB = 20
    """OCB Encrypted Data of LibrePGP; reserved by RFC 9580. gpg 2.4 writes it."""

    PADDING = 21


class MalformedPacket(ValueError):
    """The octets are not the packet they claim to be; the message says where, without octets."""


def packet(packet_type: PacketType, body: bytes) -> bytes:
    """Return one packet in OpenPGP format (RFC 9580 §4.2)."""
    return header_octet(packet_type) + body_length(len(body)) + body


def header_octet(packet_type: PacketType) -> bytes:
    """Return the first octet of a packet in OpenPGP format (RFC 9580 §4.2)."""
    return bytes([0xC0 | packet_type])


def body_length(octets: int) -> bytes:
    """Return the shortest encoding of a body length (RFC 9580 §4.2.1.1 to §4.2.1.3)."""
    if octets < 192:
        return bytes([octets])
    if octets < 8384:
        return (octets - 192 + 0xC000).to_bytes(2, "big")
    return b"\xff" + octets.to_bytes(4, "big")


def mpi(number: bytes) -> bytes:
    """Return a multiprecision integer (RFC 9580 §3.2); `number` is big-endian and not zero."""
    number = number.lstrip(b"\0")
    bits = 8 * len(number) - 8 + number[0].bit_length()
    return bits.to_bytes(2, "big") + number


class Fields:
    """The fields of a packet body, taken from its front. Raises MalformedPacket at its end."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def take(self, octets: int) -> bytes:
        """Return the next `octets` octets."""
        start, self._at = self._at, self._at + octets
        if self._at > len(self._body):
            raise MalformedPacket("packet body is cut off")
        return self._body[start : self._at]

    def number(self, octets: int) -> int:
        """Return the next big-endian number of `octets` octets (RFC 9580 §3.1)."""
        return int.from_bytes(self.take(octets), "big")

    def counted(self) -> bytes:
        """Return what the next octet counts."""
        return self.take(self.number(1))

    def mpi(self) -> bytes:
        """Return the next MPI without its bit count, which must be exact (RFC 9580 §3.2)."""
        bits = self.number(2)
        number = self.take((bits + 7) // 8)
        if int.from_bytes(number, "big").bit_length() != bits:
            raise MalformedPacket("bit count of an MPI is not exact")
        return number

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(len(self._body) - self._at)

    def require_end(self) -> None:
        """Raise MalformedPacket unless everything was taken."""
        if self._at != len(self._body):
            raise MalformedPacket("trailing octets in the packet body")


class PartialBody:
    """One packet whose body length is not known before its end (RFC 9580 §4.2.1.4)."""

    def __init__(self, packet_type: PacketType, body: bytes = b"") -> None:
        self._header = header_octet(packet_type)
        self._pending = bytearray(body)

    def write(self, octets: Octets) -> bytes:
        """Append to the body; return what of the packet is complete."""
        self._pending += octets
        # One octet at least stays behind, so that the last length is never zero.
        complete = (len(self._pending) - 1) // PIECE_OCTETS * PIECE_OCTETS
        if complete <= 0:
            return b""
        pieces = b"".join([self._take_header(), *self._pieces(complete)])
        del self._pending[:complete]
        return pieces

    def close(self) -> bytes:
        """Return the rest of the packet. Its last length is not a partial one."""
        return self._take_header() + body_length(len(self._pending)) + self._pending

    def _pieces(self, complete: int) -> Iterator[bytes | memoryview]:
        with memoryview(self._pending) as pending:
            for start in range(0, complete, PIECE_OCTETS):
                yield _PARTIAL
                yield pending[start : start + PIECE_OCTETS]

    def _take_header(self) -> bytes:
        header, self._header = self._header, b""
        return header
