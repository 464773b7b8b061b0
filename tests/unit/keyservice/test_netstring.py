"""Netstrings: what was put in comes out, however it was cut; nothing else does."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyservice.netstring import Decoder, NotNetstring, encode


def cut(octets: bytes, at: list[int]) -> list[bytes]:
    """Return `octets` in pieces."""
    places = sorted({0, len(octets), *(each % (len(octets) + 1) for each in at)})
    return [octets[a:b] for a, b in pairwise(places)]


@given(st.lists(st.binary(max_size=200)), st.lists(st.integers(0, 5_000)))
def test_what_goes_in_comes_out(sent: list[bytes], at: list[int]) -> None:
    """Several in one piece, one in several pieces, empty ones."""
    decoder = Decoder(200)

    received = [
        each for piece in cut(b"".join(map(encode, sent)), at) for each in decoder.feed(piece)
    ]

    assert sent == received


@given(st.binary(max_size=60), st.lists(st.integers(0, 60)))
def test_rubbish_is_refused_or_waits(rubbish: bytes, at: list[int]) -> None:
    """However it is cut, the same comes out, and each is what `encode` would have made."""

    def fed(pieces: list[bytes]) -> tuple[bytes, bool]:
        decoder = Decoder(20)
        complete = b""
        try:
            for piece in pieces:
                complete += b"".join(map(encode, decoder.feed(piece)))
        except NotNetstring:
            return complete, False
        return complete, True

    one_by_one = fed([rubbish[at : at + 1] for at in range(len(rubbish))])
    in_pieces = fed(cut(rubbish, at))

    assert one_by_one[1] == in_pieces[1]
    assert rubbish.startswith(one_by_one[0])
    assert one_by_one[0].startswith(in_pieces[0])


@pytest.mark.parametrize(
    "octets",
    [
        b":a,",
        b"01:a,",
        b"00:,",
        b"-1:a,",
        b"+1:a,",
        b" 1:a,",
        b"1 :a,",
        b"1_0:aaaaaaaaaa,",
        b"\xd9\xa1:a,",  # a digit to str.isdigit
        b"1:ab",
        b"1:a;",
        b"21:",
        b"99999999999",
        b"9999999999:",
        b"GET / HTTP/1.1\r\n",
    ],
)
def test_what_is_none_is_refused_at_once(octets: bytes) -> None:
    """As soon as it shows: before memory is filled with it."""
    with pytest.raises(NotNetstring):
        Decoder(20).feed(octets)


def test_the_longest_is_taken_and_one_more_is_not() -> None:
    """The limit is of the content."""
    assert [b"x" * 20] == Decoder(20).feed(encode(b"x" * 20))
    with pytest.raises(NotNetstring):
        Decoder(20).feed(b"21:")
