"""Get the original message back out of a decrypted Cryptographic Payload."""

import base64
import re
from typing import NamedTuple

from letterlock.message import CRLF, HeaderField, HeaderSection

STORED_WITH_LF = HeaderField(b"Letterlock-Stored", b" line-ends=lf")
"""In front of the original's fields: it was taken from a mail store, where its lines ended in
LF, and no CR was in it."""

_BASE64 = rb"[A-Za-z0-9+/=]*+(?:\r\n [A-Za-z0-9+/=]*+)*"
_PLACE = rb";\r\n [0-9]{1,9}\+[0-9]{1,9}=" + _BASE64
_OURS = re.compile(
    rb"Letterlock-Original: v=1; exact=(?P<exact>yes|no; why=(?P<why>[a-z-]{1,40}))"
    rb"(?P<places>(?:%b)*)\r\n(?![ \t])" % _PLACE
)
_EACH_PLACE = re.compile(rb";\r\n ([0-9]+)\+([0-9]+)=(%b)" % _BASE64)


class NotOurs(ValueError):
    """The octets do not begin with an intact Letterlock-Original field."""


class Restored(NamedTuple):
    """An original message."""

    octets: bytes
    exact: bool
    """Whether these are, as far as we can know, the octets that the peer sent."""

    why_not: str | None


def restore(payload: bytes) -> Restored:
    """Return the original that `payload`, as decrypted, was made from.

    For `Form.HEADER` the payload is the decrypted `encrypted_header` and then the body, with
    CRLF. Raises NotOurs. Line ends must be as they were encrypted: CRLF in our field.
    """
    match = _OURS.match(payload)
    if match is None:
        raise NotOurs("no Letterlock-Original field of a known form at the start")
    pieces = []
    at = match.end()
    had_lf = False
    for offset, length, original in _EACH_PLACE.findall(match["places"]):
        start = match.end() + int(offset)
        end = start + int(length)
        if not at <= start <= end <= len(payload):
            raise NotOurs("a place of the Letterlock-Original field lies outside of the message")
        pieces += [payload[at:start], _decoded(b"".join(original.split()))]
        # A place of its own, which stands for nothing: what a sender wrote never has that.
        had_lf |= not original and payload[start:end] == STORED_WITH_LF.octets
        at = end
    pieces.append(payload[at:])
    octets = b"".join(pieces)
    why_not = match["why"].decode() if match["why"] else None
    return Restored(octets.replace(CRLF, b"\n") if had_lf else octets, why_not is None, why_not)


def encrypted_header(section: HeaderSection) -> bytes | None:
    """Return what `Letterlock-Header` of a stored message holds, binary OpenPGP, if it is there.

    Raises NotOurs.
    """
    fields = section.named(b"letterlock-header")
    if not fields:
        return None
    return _decoded(b"".join(fields[0].unfolded.split()))


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise NotOurs("not base64") from None
