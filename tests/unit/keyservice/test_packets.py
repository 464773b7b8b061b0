"""What happens to foreign octets before the engine sees them."""

import pysequoia
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certificates import gallery, joined, packet_groups
from keyservice import packets
from keyservice.certificate import RefusalReason, RejectedCertificate
from keyservice.packets import Packet, components, framed, merge, serialise, split


def refusal(octets: bytes) -> RefusalReason:
    """Return why `octets` are refused."""
    with pytest.raises(RejectedCertificate) as caught:
        packets.require_one_certificate(octets)
    return caught.value.refusal.reason


@given(st.lists(st.builds(Packet, st.sampled_from([2, 6, 13, 14]), st.binary(max_size=300))))
def test_packets_survive_framing(listed: list[Packet]) -> None:
    """Splitting is the inverse of framing."""
    assert listed == split(b"".join(map(framed, listed)))


@given(st.binary(max_size=400))
def test_garbage_is_refused_and_nothing_else(octets: bytes) -> None:
    """Any octets are a certificate or RejectedCertificate."""
    try:
        packets.require_one_certificate(octets)
    except RejectedCertificate:
        return


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (bytes([0x98, 3]), 3),
        (bytes([0x99, 0, 3]), 3),
        (bytes([0x9A, 0, 0, 0, 3]), 3),
        (bytes([0xC6, 3]), 3),
        (bytes([0xC6, 192, 8]), 200),
        (bytes([0xC6, 255, 0, 0, 0, 3]), 3),
    ],
)
def test_all_length_encodings_are_read(header: bytes, length: int) -> None:
    """Legacy and current packet format (RFC 9580 §4.2)."""
    assert [Packet(6, b"x" * length)] == split(header + b"x" * length)


@pytest.mark.parametrize(
    "octets",
    [
        bytes([0xC6, 224]) + b"xy",  # partial length
        bytes([0x9B]) + b"xyz",  # indeterminate length
        bytes([0xC6, 5]) + b"xyz",
        bytes([0xC6]),
        bytes([0xC6, 255, 0, 0]),
        bytes([0x46, 1, 1]),
    ],
)
def test_lengths_that_no_certificate_needs_are_refused(octets: bytes) -> None:
    """Partial, indeterminate, beyond the end."""
    with pytest.raises(RejectedCertificate):
        split(octets)


@pytest.mark.parametrize("tag", [5, 7])
def test_a_secret_key_is_named_even_when_cut_short(tag: int) -> None:
    """The tag is enough: the octets behind it may be missing."""
    assert RefusalReason.SECRET_KEY is refusal(bytes([0xC0 | tag, 200]) + b"abc")


def test_everything_that_is_too_much_is_refused() -> None:
    """Octets, packets, user IDs, subkeys, one signature."""
    alice = gallery()["alice"]
    signature = bytes([0xC2, 1, 4])

    assert RefusalReason.TOO_LARGE is refusal(b"\xc6" * 10_000_000)
    assert RefusalReason.TOO_LARGE is refusal(alice + framed(Packet(13, b"x" * 70_000)))
    assert RefusalReason.TOO_LARGE is refusal(alice + signature * 128)
    assert RefusalReason.TOO_LARGE is refusal(alice + framed(Packet(13, b"x")) * 20)
    assert RefusalReason.TOO_LARGE is refusal(alice + framed(Packet(14, b"x")) * 20)
    assert RefusalReason.TOO_LARGE is refusal(alice + framed(Packet(2, b"x" * 17_000)))


def test_foreign_packets_are_refused_and_useless_ones_dropped() -> None:
    """Compressed data hides what is inside; photos, trust and padding are just not kept."""
    alice = gallery()["alice"]
    useless = b"".join(framed(Packet(tag, b"xx")) for tag in (10, 12, 21, 17)) + bytes([0xC2, 1, 4])

    assert RefusalReason.MALFORMED is refusal(alice + framed(Packet(8, b"xx")))
    assert RefusalReason.MALFORMED is refusal(alice[60:])
    assert packets.require_one_certificate(alice) == packets.require_one_certificate(
        alice + useless
    )


def test_an_old_copy_never_undoes_a_revocation() -> None:
    """Merging adds, whichever copy comes first."""
    old = components(split(gallery()["alice"]))
    new = components(split(gallery()["revoked"]))

    assert serialise(merge(old, new)) == serialise(merge(merge(old, new), old))
    assert len(serialise(new)) == len(serialise(merge(new, old)))


def test_fingerprints_are_the_engines() -> None:
    """Version 4 and 6 as gpg and Sequoia compute them."""
    for name in ("alice", "alice_v6", "gnupg", "rsa2048"):
        octets = gallery()[name]
        expected = pysequoia.Cert.from_bytes(octets).fingerprint

        assert expected == packets.fingerprint(split(octets)[0])


def test_old_key_versions_are_not_supported() -> None:
    """Version 3 and LibrePGP's 5."""
    for version in (3, 5):
        with pytest.raises(RejectedCertificate) as caught:
            packets.fingerprint(Packet(6, bytes([version]) + b"x" * 40))

        assert RefusalReason.UNSUPPORTED is caught.value.refusal.reason


def test_serialising_orders_components() -> None:
    """Primary key, user IDs, subkeys (RFC 9580 §10.1), whatever order they came in."""
    groups = packet_groups(gallery()["alice"])
    shuffled = joined([groups[0], *reversed(groups[1:])])

    tags = [packet.tag for packet in split(serialise(components(split(shuffled))))]

    assert [6, 13, 14, 14] == [tag for tag in tags if tag != packets.SIGNATURE]
