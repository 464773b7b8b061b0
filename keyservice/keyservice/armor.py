"""Reads radix-64 armor (RFC 9580 §6) around a certificate. Pure."""

import base64
import binascii
import re

from keyservice.certificate import RefusalReason, RejectedCertificate, secret_key_refused

_BEGIN, _END = b"-----BEGIN PGP ", b"-----END PGP "
_DASHES = b" KEY BLOCK-----"
_ARMOR_HEADER = re.compile(rb"[A-Za-z][A-Za-z-]*: [^\r\n]*")
_CHECKSUM = re.compile(rb"=[A-Za-z0-9+/]{4}")


def dearmor(octets: bytes) -> bytes:
    """Return the binary form of `octets`, armored (RFC 9580 §6.2) or binary already.

    The CRC is not checked (§6.1). Raises RejectedCertificate.
    """
    if octets[:1] and octets[0] & 0x80:
        return octets
    _, begin, rest = octets.partition(_BEGIN)
    label, _, rest = rest.partition(_DASHES)
    armored, end, behind = rest.partition(_END)
    if label == b"PRIVATE":
        raise secret_key_refused()
    if not begin or not end or label != b"PUBLIC":
        raise RejectedCertificate(RefusalReason.MALFORMED, "neither armored nor binary OpenPGP")
    if _BEGIN in behind:
        raise RejectedCertificate(RefusalReason.NOT_ONE_CERTIFICATE, "more than one armored block")
    return _radix64(armored)


def _radix64(armored: bytes) -> bytes:
    lines = [line.strip() for line in armored.splitlines()]
    kept = [
        line
        for line in lines
        if line and not _ARMOR_HEADER.fullmatch(line) and not _CHECKSUM.fullmatch(line)
    ]
    try:
        return base64.b64decode(b"".join(kept), validate=True)
    except binascii.Error:
        raise RejectedCertificate(RefusalReason.MALFORMED, "the armor is damaged") from None
