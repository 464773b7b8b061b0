"""Content-Transfer-Encoding (RFC 2045 §6): read strictly, removed from one bounded part."""

import binascii

from letterlock.message import HeaderSection

IDENTITY = (b"7bit", b"8bit", b"binary")
_ENCODINGS = (*IDENTITY, b"base64", b"quoted-printable")
_BLANKS = b" \t\r\n"


def encoding(section: HeaderSection) -> bytes | None:
    """Return how a part is encoded, in lower case; None if parsers might not agree."""
    fields = section.named(b"content-transfer-encoding")
    if not fields:
        return b"7bit"  # RFC 2045 §6.1
    said = fields[0].unfolded.lower()
    return said if len(fields) == 1 and said in _ENCODINGS else None


class EncodedPart:
    """The body of a part, taken as it is transported."""

    def __init__(self, encoding: bytes, octets_max: int) -> None:
        """`octets_max`: of what comes out."""
        self._encoding = encoding
        self._octets_max = octets_max
        self._octets = bytearray()
        self._is_too_long = False

    def write(self, octets: bytes) -> None:
        """Take some more of it."""
        # Quoted-printable needs three octets for one, and line ends.
        if len(self._octets) + len(octets) > 4 * self._octets_max:
            self._is_too_long = True
            self._octets.clear()
        if not self._is_too_long:
            self._octets += octets

    def decoded(self) -> bytes:
        """Return what it says; nothing if that is too long, or not encoded as it claims.

        The line ends around it are not part of it (RFC 2046 §5.1.1).
        """
        if self._is_too_long:
            return b""
        octets = bytes(self._octets).removeprefix(b"\n").removesuffix(b"\r")
        decoded = _decoded(octets, self._encoding)
        return decoded if len(decoded) <= self._octets_max else b""


def _decoded(octets: bytes, encoding: bytes) -> bytes:
    match encoding:
        case b"base64":
            try:
                return binascii.a2b_base64(octets.translate(None, _BLANKS), strict_mode=True)
            except binascii.Error:
                return b""
        case b"quoted-printable":
            return binascii.a2b_qp(octets)
        case _:
            return octets
