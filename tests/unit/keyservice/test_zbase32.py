"""z-base-32 as others write it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyservice.zbase32 import encode


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"", ""),
        (b"\x00", "yy"),
        (b"\xff", "9h"),
        (b"hello", "pb1sa5dx"),
        (bytes([0xF0, 0xBF, 0xC7]), "6n9hq"),
        (bytes([0xD4, 0x7A, 0x04]), "4t7ye"),
    ],
)
def test_published_vectors(octets: bytes, text: str) -> None:
    """Those of the specification that are whole octets, and a few by hand."""
    assert text == encode(octets)


@given(st.binary(max_size=40))
def test_nothing_is_lost(octets: bytes) -> None:
    """The text is as long as it has to be, and gives the octets back."""
    text = encode(octets)

    assert -(-8 * len(octets) // 5) == len(text)
    bits = "".join(f"{'ybndrfg8ejkmcpqxot1uwisza345h769'.index(c):05b}" for c in text)
    assert octets == bytes(int(bits[i : i + 8], 2) for i in range(0, 8 * len(octets), 8))
