"""The PGP/MIME envelope (RFC 3156 §4): what stands around the encrypted part's armor.

Exactly two parts and nothing else; nothing of the message is outside of the armor. The
body made here is longer than the one it replaces, whose octets it holds in radix-64 and
uncompressed: Postfix overwrites the queue file in place, so a shorter one would leave
the end of the plaintext there.
"""

BOUNDARY_RANDOM_OCTETS_MIN = 16

CONTROL_TYPE = b"application/pgp-encrypted"


def boundary(random: bytes) -> bytes:
    """Return a boundary made of `random`, 16 octets or more that nobody could foresee.

    Neither radix-64 nor quoted-printable can contain `=_` (RFC 2045 §6.7, RFC 2046 §5.1.1).
    """
    if len(random) < BOUNDARY_RANDOM_OCTETS_MIN:
        raise ValueError("boundary needs at least 16 random octets")
    return b"=_" + random.hex().encode()


def content_type(boundary: bytes) -> bytes:
    """Return the body of the outer Content-Type field, leading blank included."""
    return b' multipart/encrypted; protocol="%b";\r\n boundary="%b"' % (CONTROL_TYPE, boundary)


def head(boundary: bytes) -> bytes:
    """Return the control part and the encrypted part's head; the armor follows."""
    return (
        b"--%b\r\n"
        b"Content-Type: %b\r\n"
        b"Content-Description: PGP/MIME version identification\r\n"
        b"\r\n"
        b"Version: 1\r\n"
        b"\r\n"
        b"--%b\r\n"
        b'Content-Type: application/octet-stream; name="encrypted.asc"\r\n'
        b"Content-Description: OpenPGP encrypted message\r\n"
        b'Content-Disposition: inline; filename="encrypted.asc"\r\n'
        b"\r\n" % (boundary, CONTROL_TYPE, boundary)
    )


def tail(boundary: bytes) -> bytes:
    """Return what follows the armor, which ends its last line."""
    return b"\r\n--%b--\r\n" % boundary
