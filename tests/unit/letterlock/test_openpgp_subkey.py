"""Subkeys that can be encrypted to, and the refusal of all others."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from letterlock.openpgp import RecipientSubkey, SEIPDVersion, SessionKey, UnusableSubkey
from letterlock.openpgp.ecdh import pad
from openpgp_content import packets
from openpgp_subkeys import (
    CURVE25519_OID,
    CURVES,
    bodies,
    body,
    curve_point,
    ecdh,
    mpi,
    rsa,
    rsa_modulus,
    x25519_point,
)

OCTETS = bytes(range(100, 132))
NAMES = sorted(bodies())
P256 = bytes.fromhex(CURVES["p256"][0])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("version", SEIPDVersion)
def test_a_pkesk_names_its_recipient(name: str, version: SEIPDVersion) -> None:
    """Version 3 by key ID, version 6 by fingerprint (RFC 9580 §5.1.1, §5.1.2)."""
    subkey = RecipientSubkey.from_packet(bodies()[name])
    ((packet_type, pkesk),) = packets(subkey.pkesk(SessionKey(OCTETS), version))

    named = {
        SEIPDVersion.V1: b"\x03" + subkey.key_id,
        SEIPDVersion.V2: b"\x06%c%c" % (len(subkey.fingerprint) + 1, subkey.version)
        + subkey.fingerprint,
    }[version]
    assert 1 == packet_type
    assert named + bytes([subkey.algorithm]) == pkesk[: len(named) + 1]
    assert OCTETS not in pkesk


@pytest.mark.parametrize("name", NAMES)
def test_no_two_pkesks_are_alike(name: str) -> None:
    """Padding or ephemeral points are new each time."""
    subkey = RecipientSubkey.from_packet(bodies()[name])
    session_key = SessionKey(OCTETS)

    assert 5 == len({subkey.pkesk(session_key, SEIPDVersion.V1) for _ in range(5)})


@pytest.mark.parametrize(("name", "octets"), [("x25519", 32), ("x448", 56)])
def test_the_cipher_stands_outside_the_wrapping_in_version_3_only(name: str, octets: int) -> None:
    """RFC 9580 §5.1.6, §5.1.7: AES-256's number before the wrapped key, not in version 6."""
    subkey = RecipientSubkey.from_packet(bodies()[name])
    ((_, v3),) = packets(subkey.pkesk(SessionKey(OCTETS), SEIPDVersion.V1))
    ((_, v6),) = packets(subkey.pkesk(SessionKey(OCTETS), SEIPDVersion.V2))

    assert (b"\x29\x09", 41) == (v3[10 + octets : 12 + octets], len(v3[11 + octets :]))
    assert (b"\x28", 40) == (v6[24 + octets : 25 + octets], len(v6[25 + octets :]))


def test_fingerprints_are_those_of_the_rfc() -> None:
    """The version 6 subkey of RFC 9580 §A.3 has the fingerprint printed there."""
    packet_body = bytes.fromhex(
        "0663877fe319000000208693248367f9e5015db922f8f48095dda784987f2d5985b12fbad16caf5e4435"
    )
    subkey = RecipientSubkey.from_packet(packet_body)

    assert "12c83f1e706f6308fe151a417743a1f033790e93e9978488d1db378da9930885" == (
        subkey.fingerprint.hex()
    )
    assert SEIPDVersion.V2 is subkey.seipd
    assert subkey.fingerprint[:8] == subkey.key_id


@given(st.binary(max_size=39))
def test_ecdh_padding_always_fills_40_octets(octets: bytes) -> None:
    """The last octet tells how much to take off again (RFC 9580 §11.5)."""
    padded = pad(octets)

    assert 40 == len(padded)
    assert octets == padded[: -padded[-1]]
    assert {padded[-1]} == set(padded[len(octets) :])


def off_curve() -> bytes:
    """Return a point beside P-256."""
    point = bytearray(curve_point("p256"))
    point[-1] ^= 1
    return bytes(point)


REFUSED = {
    "empty": b"",
    "version 3": b"\x03" + bodies()["cv25519"][1:],
    "version 5": b"\x05" + bodies()["cv25519"][1:],
    "cut off": bodies()["cv25519"][:-1],
    "trailing octet": bodies()["cv25519"] + b"\0",
    "v6 length wrong": bodies()["x25519-v6"][:9] + b"\x21" + bodies()["x25519-v6"][10:],
    "signing algorithm": body(27, bytes(32)),
    "elgamal": body(16, 3 * mpi(1 << 2047)),
    "rsa sign-only": rsa(rsa_modulus(2048), 65_537, algorithm=3),
    "rsa 1024": rsa(rsa_modulus(1024), 65_537),
    "rsa 2047": rsa((1 << 2046) + 1, 65_537),
    "rsa enormous": rsa((1 << 20_000) + 1, 65_537),
    "rsa even": rsa(1 << 2048, 65_537),
    "rsa exponent 1": rsa(rsa_modulus(2048), 1),
    "rsa exponent even": rsa(rsa_modulus(2048), 65_536),
    "rsa exponent long": rsa(rsa_modulus(2048), (1 << 70) + 1),
    "mpi not exact": body(1, b"\x08\x01" + bytes(255) + b"\xff\xff" + mpi(65_537)),
    "unknown curve": ecdh(bytes.fromhex("2b8104000a"), curve_point("p256")),
    "off the curve": ecdh(P256, off_curve()),
    "compressed": ecdh(P256, b"\x02" + curve_point("p256")[1:33]),
    "infinity": ecdh(P256, b"\x04" + bytes(64)),
    "other curve": ecdh(P256, curve_point("brainpool256")),
    "cv25519 without prefix": ecdh(CURVE25519_OID, b"\x7f" + x25519_point()[1:]),
    "cv25519 short": ecdh(CURVE25519_OID, b"\x40" + x25519_point()[1:]),
    "cv25519 small order": ecdh(CURVE25519_OID, b"\x40" + bytes(32)),
    "cv25519 in version 6": ecdh(CURVE25519_OID, b"\x40" + x25519_point(), version=6),
    "x25519 small order": body(25, b"\1" + bytes(31)),
    "x448 small order": body(26, bytes(56)),
    "kdf with SHA-1": ecdh(P256, curve_point("p256"), kdf=bytes([3, 1, 2, 7])),
    "kdf with 3DES": ecdh(P256, curve_point("p256"), kdf=bytes([3, 1, 8, 2])),
    "kdf of another curve in a version 6 key": ecdh(
        P256, curve_point("p256"), kdf=bytes([3, 1, 10, 9]), version=6
    ),
    "kdf reserved": ecdh(P256, curve_point("p256"), kdf=bytes([3, 2, 8, 7])),
    "kdf longer": ecdh(P256, curve_point("p256"), kdf=bytes([4, 1, 8, 7, 0])),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_encrypted_to_is_refused(name: str) -> None:
    """Each with a reason that says nothing of the octets."""
    with pytest.raises(UnusableSubkey, match=r"^[\w 0-9()-]+$"):
        RecipientSubkey.from_packet(REFUSED[name])


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    changes=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=4),
    cut=st.integers(-3, 600),
)
def test_mutated_packets_raise_nothing_but_unusable(
    name: str, changes: list[tuple[int, int]], cut: int
) -> None:
    """Whatever is accepted can be encrypted to in both versions."""
    mutated = bytearray(bodies()[name])
    for at, octet in changes:
        mutated[at % len(mutated)] = octet
    with suppress(UnusableSubkey):
        subkey = RecipientSubkey.from_packet(bytes(mutated[:cut] if cut > 0 else mutated))
        for version in SEIPDVersion:
            subkey.pkesk(SessionKey(OCTETS), version)


@given(st.binary(max_size=80))
def test_random_octets_raise_nothing_but_unusable(octets: bytes) -> None:
    """No other exception comes out of a packet."""
    with suppress(UnusableSubkey):
        RecipientSubkey.from_packet(octets)
