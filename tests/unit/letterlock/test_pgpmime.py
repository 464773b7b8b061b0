"""RFC 3156 §4 around an armored message."""

import base64
import email

import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterlock import pgpmime


def _armor(encrypted: bytes) -> bytes:
    """Return `encrypted` in the shortest armor there is: one line, no CRC24."""
    text = base64.b64encode(encrypted)
    return b"-----BEGIN PGP MESSAGE-----\r\n\r\n" + text + b"\r\n-----END PGP MESSAGE-----\r\n"


def _body(boundary: bytes, encrypted: bytes) -> bytes:
    return pgpmime.head(boundary) + _armor(encrypted) + pgpmime.tail(boundary)


@given(st.binary(min_size=16, max_size=32), st.binary(max_size=300))
def test_it_has_exactly_two_parts(random: bytes, encrypted: bytes) -> None:
    """Control part and encrypted part, no preamble, no epilogue."""
    boundary = pgpmime.boundary(random)
    content_type = b"Content-Type:" + pgpmime.content_type(boundary) + b"\r\n\r\n"

    message = email.message_from_bytes(content_type + _body(boundary, encrypted))

    control, part = message.get_payload()
    assert [] == [*message.defects, *control.defects, *part.defects]
    assert (None, "") == (message.preamble, message.epilogue)
    assert "application/pgp-encrypted" == message.get_param("protocol")
    assert ("application/pgp-encrypted", "Version: 1\r\n") == (
        control.get_content_type(),
        control.get_payload(),
    )
    radix_64 = part.get_payload().partition("\r\n\r\n")[2].partition("-----END")[0]
    assert encrypted == base64.b64decode(radix_64)


@given(st.binary(min_size=16, max_size=16), st.binary(max_size=500))
def test_no_armor_contains_a_boundary(random: bytes, encrypted: bytes) -> None:
    """Radix-64 has no underscore, so `=_` cannot occur."""
    assert pgpmime.boundary(random)[:2] not in _armor(encrypted)


def test_a_boundary_is_as_random_as_it_was_made() -> None:
    """128 bits; fewer are refused. 70 characters at most (RFC 2046 §5.1.1)."""
    assert b"=_" + b"ab" * 16 == pgpmime.boundary(b"\xab" * 16)
    assert 70 >= len(pgpmime.boundary(bytes(32)))
    with pytest.raises(ValueError, match="16"):
        pgpmime.boundary(bytes(15))


@pytest.mark.parametrize("octets", [0, 1, 100, 10_000, 1_000_000])
def test_the_new_body_is_never_shorter(octets: int) -> None:
    """Postfix overwrites in place: what a shorter body leaves of the old one is plaintext."""
    body = _body(pgpmime.boundary(bytes(16)), bytes(octets))

    assert len(body) > octets * 4 / 3 + 400
