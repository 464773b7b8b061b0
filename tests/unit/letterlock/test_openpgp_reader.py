"""What is one encrypted message, and what only says so."""

import random
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from letterlock.openpgp import (
    Container,
    EncryptedMessage,
    NotEncrypted,
    PacketWalker,
    RecipientSubkey,
    SEIPDVersion,
)
from letterlock.openpgp.packets import PacketType, packet
from openpgp_subkeys import bodies
from openpgp_tools import encrypt

ALICE = RecipientSubkey.from_packet(bodies()["cv25519"])
BOB = RecipientSubkey.from_packet(bodies()["x25519-v6"])
ESK = b"\x12" + bytes(range(60))
PKESK = packet(PacketType.PKESK, b"\x03" + ALICE.key_id + ESK)
SEIPD = packet(PacketType.SEIPD, b"\x01" + bytes(60))
SEIPD_V2 = packet(PacketType.SEIPD, b"\x02\x09\x02\x0a" + bytes(80))
MARKER = packet(PacketType.MARKER, b"PGP")
PADDING = packet(PacketType.PADDING, bytes(70))


def read(octets: bytes, piece_octets: int = 1 << 20) -> EncryptedMessage:
    """Return what the walker says, given pieces of one size."""
    walker = PacketWalker()
    for start in range(0, len(octets), piece_octets):
        walker.write(octets[start : start + piece_octets])
    return walker.close()


def legacy(packet_type: int, body: bytes, length_type: int) -> bytes:
    """Return a packet in the Legacy format (RFC 9580 §4.2.2)."""
    length = len(body).to_bytes(1 << length_type, "big") if length_type < 3 else b""
    return bytes([0x80 | packet_type << 2 | length_type]) + length + body


@settings(deadline=None)
@given(
    octets=st.one_of(st.integers(0, 300), st.integers(0, 200_000)),
    version=st.sampled_from(SEIPDVersion),
    piece_octets=st.integers(1, 70_000),
)
def test_our_own_messages_are_recognised(
    octets: int, version: SEIPDVersion, piece_octets: int
) -> None:
    """Whatever their length and however they come, with whom they are for."""
    message = read(
        encrypt(bytes(octets), ALICE, BOB, version=version), max(piece_octets, octets // 500)
    )

    container = Container.SEIPD_V1 if version is SEIPDVersion.V1 else Container.SEIPD_V2
    assert container is message.container
    assert message.names(ALICE)
    assert message.names(BOB)
    assert not message.has_anonymous


@pytest.mark.parametrize("length_type", [0, 1, 2])
def test_the_legacy_format_is_read(length_type: int) -> None:
    """Old writers give PKESKs lengths of 1, 2 or 4 octets."""
    octets = legacy(1, b"\x03" + ALICE.key_id + ESK, length_type) + SEIPD

    assert read(octets, piece_octets=1).names(ALICE)


@pytest.mark.parametrize(
    "octets",
    [MARKER + PKESK + SEIPD, PKESK + PADDING + MARKER + SEIPD, PADDING + PKESK + SEIPD],
)
def test_marker_and_padding_are_passed_over(octets: bytes) -> None:
    """RFC 9580 §5.8, §5.14: they are to be ignored."""
    assert frozenset({ALICE.key_id}) == read(octets).recipients


@pytest.mark.parametrize(
    ("pkesk", "seipd"),
    [(b"\x03" + bytes(8) + ESK, SEIPD), (b"\x06\x00" + ESK, SEIPD_V2)],
)
def test_an_anonymous_recipient_is_told(pkesk: bytes, seipd: bytes) -> None:
    """A wildcard key ID or no fingerprint names nobody."""
    message = read(packet(PacketType.PKESK, pkesk) + seipd)

    assert message.has_anonymous
    assert frozenset() == message.recipients


def test_ocb_of_librepgp_is_encrypted() -> None:
    """gpg 2.4 writes packet type 20 for keys of its own."""
    ocb = packet(PacketType.LIBREPGP_OCB, b"\x01\x09\x02\x10" + bytes(80))

    assert Container.LIBREPGP_OCB is read(PKESK + ocb).container


def test_a_pkesk_of_the_other_version_does_not_count() -> None:
    """RFC 9580 §10.3.2.1: it is to be discarded."""
    other = packet(PacketType.PKESK, b"\x06\x21\x06" + BOB.fingerprint + ESK)

    assert not read(PKESK + other + SEIPD).names(BOB)
    assert not read(PKESK + other + SEIPD_V2).names(ALICE)


LIES = {
    "nothing": b"",
    "a label only": b"Dear Bob, this is not encrypted at all.\r\n" * 20,
    "PKESK alone": PKESK,
    "SEIPD alone": SEIPD,
    "PKESK after": SEIPD + PKESK,
    "SED": PKESK + bytes([0xC9, 60]) + bytes(60),
    "literal": PKESK + packet(PacketType.LITERAL_DATA, b"b\0\0\0\0\0text"),
    "literal before": packet(PacketType.LITERAL_DATA, b"b\0\0\0\0\0text") + PKESK + SEIPD,
    "password": bytes([0xC3, 4]) + b"\x04\x09\x00\x08" + PKESK + SEIPD,
    "unknown packet": PKESK + bytes([0xC0 | 60, 4]) + b"text" + SEIPD,
    "trailing octet": PKESK + SEIPD + b"\n",
    "trailing packet": PKESK + SEIPD + MARKER,
    "two messages": (PKESK + SEIPD) * 2,
    "cut off": PKESK + SEIPD[:-1],
    "cut off before the last length": encrypt(bytes(200_000), ALICE)[: 65_536 * 2],
    "only the other version": PKESK + SEIPD_V2,
    "marker with text": packet(PacketType.MARKER, b"Hi!") + PKESK + SEIPD,
    "PKESK of version 2": packet(PacketType.PKESK, b"\x02" + ALICE.key_id + ESK) + SEIPD,
    "PKESK without session key": packet(PacketType.PKESK, b"\x03" + ALICE.key_id + b"\1") + SEIPD,
    "PKESK cut off": packet(PacketType.PKESK, b"\x03abc") + SEIPD,
    "PKESK large": packet(PacketType.PKESK, b"\x03" + ALICE.key_id + bytes(5_000)) + SEIPD,
    "PKESK partial": bytes([0xC1, 0xE9]) + bytes(512) + b"\0" + SEIPD,
    "PKESK indeterminate": legacy(1, b"\x03" + ALICE.key_id + ESK, 3) + SEIPD,
    "v6 name odd": packet(PacketType.PKESK, b"\x06\x05\x06abcd" + ESK) + SEIPD_V2,
    "SEIPD empty": PKESK + packet(PacketType.SEIPD, b"\x01"),
    "SEIPD version 3": PKESK + packet(PacketType.SEIPD, b"\x03\x09\x02\x0a" + bytes(80)),
    "SEIPD with no AEAD": PKESK + packet(PacketType.SEIPD, b"\x02\x09\x00\x0a" + bytes(80)),
    "first part short": PKESK + bytes([0xD2, 0xE8]) + b"\x01" + bytes(255) + b"\0",
    "10,000 PKESKs": PKESK * 10_000 + SEIPD,
    "parts of one octet": PKESK
    + bytes([0xD2, 0xE9])
    + b"\1"
    + bytes(511)
    + b"\xe0x" * 9_999
    + b"\0",
}


@pytest.mark.parametrize("name", LIES)
@pytest.mark.parametrize("piece_octets", [1 << 20, 7])
def test_a_lie_is_not_believed(name: str, piece_octets: int) -> None:
    """What is not exactly PKESKs and one encrypted packet is not encrypted."""
    with pytest.raises(NotEncrypted, match=r"^[\w ]+$"):
        read(LIES[name], piece_octets)


def test_small_later_parts_are_read() -> None:
    """Some writers end with parts of any power of two; the RFC allows that."""
    tail = b"".join(bytes([0xE0 | power]) + bytes(1 << power) for power in range(8, -1, -1))

    assert read(PKESK + bytes([0xD2, 0xE9]) + b"\1" + bytes(511) + tail + b"\0").names(ALICE)


@given(st.binary(max_size=300), st.integers(1, 400))
def test_random_octets_only_ever_raise_not_encrypted(octets: bytes, piece_octets: int) -> None:
    """No other exception, and no belief in noise."""
    with pytest.raises(NotEncrypted):
        read(octets, piece_octets)


def test_mutations_only_ever_raise_not_encrypted() -> None:
    """Each octet of the headers changed at random: recognised or NotEncrypted, nothing else."""
    noise = random.Random(1)
    genuine = encrypt(bytes(300), ALICE, BOB)
    for _ in range(2_000):
        octets = bytearray(genuine)
        for _ in range(noise.randrange(1, 4)):
            octets[noise.randrange(250)] = noise.randrange(256)
        try:
            read(bytes(octets))
        except NotEncrypted:
            continue


def test_hostile_octets_cost_little() -> None:
    """25 MB of the worst lengths: bounded time, and no memory to speak of."""
    part = bytes([0xE8]) + bytes(256)
    piece = part * (65_536 // len(part))
    walker = PacketWalker()
    walker.write(PKESK + bytes([0xD2, 0xE9]) + b"\1" + bytes(511))
    tracemalloc.start()
    for _ in range(40):
        walker.write(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    started = time.process_time()
    for _ in range(360):
        walker.write(piece)

    assert time.process_time() - started < 2
    assert peak < 100_000
    walker.write(b"\0")
    assert walker.close().names(ALICE)
