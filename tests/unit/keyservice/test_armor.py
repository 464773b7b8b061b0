"""Armor is read as it comes, with or without header fields and CRC."""

import base64

import pytest

from keyservice.armor import dearmor
from keyservice.certificate import RefusalReason, RejectedCertificate

OCTETS = bytes([0xC6]) + bytes(range(200))
RADIX64 = base64.encodebytes(OCTETS)
BEGIN = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n"
END = b"-----END PGP PUBLIC KEY BLOCK-----\n"


@pytest.mark.parametrize(
    "armored",
    [
        OCTETS,
        BEGIN + b"\n" + RADIX64 + END,
        BEGIN + b"Comment: hello\nVersion: 1\n\n" + RADIX64 + b"=AbCd\n" + END,
        b"Text before.\r\n" + (BEGIN + b"\n" + RADIX64 + END).replace(b"\n", b"\r\n") + b"After.",
        BEGIN + RADIX64 + END,
    ],
)
def test_every_form_gives_the_octets(armored: bytes) -> None:
    """Binary, armored, with header fields, CRC, CRLF or text around it."""
    assert dearmor(armored) == OCTETS


@pytest.mark.parametrize(
    ("armored", "reason"),
    [
        (b"hello", RefusalReason.MALFORMED),
        (b"", RefusalReason.MALFORMED),
        (BEGIN + b"\n" + RADIX64, RefusalReason.MALFORMED),
        (BEGIN + b"\n****\n" + END, RefusalReason.MALFORMED),
        (BEGIN + b"\n" + RADIX64 + END + BEGIN + END, RefusalReason.NOT_ONE_CERTIFICATE),
        (b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nxx", RefusalReason.SECRET_KEY),
        (BEGIN.replace(b"PUBLIC KEY BLOCK", b"MESSAGE") + END, RefusalReason.MALFORMED),
    ],
)
def test_what_is_no_armored_certificate_is_refused(armored: bytes, reason: RefusalReason) -> None:
    """With the reason; a secret key is named even if the armor is damaged."""
    with pytest.raises(RejectedCertificate) as caught:
        dearmor(armored)

    assert reason is caught.value.refusal.reason
