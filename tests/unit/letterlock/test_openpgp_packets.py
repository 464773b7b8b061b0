"""Packet syntax: every length is found again, and nothing is read that is not there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterlock.openpgp.packets import (
    PIECE_OCTETS,
    Fields,
    MalformedPacket,
    PacketType,
    PartialBody,
    mpi,
    packet,
)
from openpgp_content import packets

LENGTHS = st.one_of(
    st.integers(0, 300), st.integers(8_300, 8_500), st.integers(0, 3 * PIECE_OCTETS + 2)
)


@given(LENGTHS)
def test_a_packet_holds_its_body(octets: int) -> None:
    """Whatever the length, a reader finds type and body again."""
    body = b"x" * octets

    assert [(1, body)] == packets(packet(PacketType.PKESK, body))


@pytest.mark.parametrize(
    ("octets", "header"),
    [
        (0, "c100"),
        (191, "c1bf"),
        (192, "c1c000"),
        (8_383, "c1dfff"),
        (8_384, "c1ff000020c0"),
    ],
)
def test_lengths_are_the_shortest(octets: int, header: str) -> None:
    """The examples of RFC 9580 §4.2.1 and their neighbours."""
    assert bytes.fromhex(header) == packet(PacketType.PKESK, bytes(octets))[: -octets or None]


@given(st.lists(LENGTHS, max_size=6))
def test_a_partial_body_holds_all_that_was_written(lengths: list[int]) -> None:
    """However the body comes, it is one packet with the same body."""
    parts = [bytes([65 + number]) * length for number, length in enumerate(lengths)]
    stream = PartialBody(PacketType.LITERAL_DATA, b"start")
    written = b"".join(map(stream.write, parts)) + stream.close()

    assert [(11, b"start" + b"".join(parts))] == packets(written)


def test_a_partial_body_keeps_little_back() -> None:
    """After each write no more than one piece is waiting."""
    stream = PartialBody(PacketType.LITERAL_DATA)
    written = sum(len(stream.write(bytes(70_000))) for _ in range(20))

    assert 20 * 70_000 - PIECE_OCTETS <= written


@given(st.integers(1, 1 << 600), st.binary(max_size=3))
def test_an_mpi_is_found_again(number: int, rest: bytes) -> None:
    """Leading zeros or not, the number and what follows are intact."""
    octets = number.to_bytes(80, "big")
    fields = Fields(mpi(octets) + rest)

    assert octets.lstrip(b"\0") == fields.mpi()
    assert rest == fields.rest()


@pytest.mark.parametrize("octets", ["", "00", "0001", "0009ff", "000901ff00", "000901", "00080f"])
def test_an_mpi_with_a_wrong_bit_count_is_refused(octets: str) -> None:
    """Too few octets, bits beyond the count, or leading zero bits (RFC 9580 §3.2)."""
    fields = Fields(bytes.fromhex(octets))

    with pytest.raises(MalformedPacket):
        fields.mpi(), fields.require_end()


def test_fields_do_not_reach_beyond_the_end() -> None:
    """Taking more than there is raises, and so does leaving something."""
    with pytest.raises(MalformedPacket, match="cut off"):
        Fields(b"\x05abcd").counted()
    with pytest.raises(MalformedPacket, match="trailing"):
        Fields(b"a").require_end()
