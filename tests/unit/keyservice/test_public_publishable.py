"""Of a certificate the world sees signatures that hold, and nothing that somebody added."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from certificates import ALICE, LONG_AGO, GnuPG, gallery
from keyservice import packets
from keyservice.armor import dearmor
from keyservice.packets import PUBLIC_KEY, PUBLIC_SUBKEY, SIGNATURE, USER_ID, Component, Packet
from keyservice.publishable import publishable
from keyservice.signature import read

CERTIFICATION, DIRECT, BINDING = 0x13, 0x1F, 0x18
KEY_REVOCATION, SUBKEY_REVOCATION = 0x20, 0x28


def components(octets: bytes) -> tuple[Component, ...]:
    """Return the components of a certificate."""
    return packets.components(packets.split(dearmor(octets)))


def shape(octets: bytes) -> list[tuple[int, list[int]]]:
    """Return what a certificate consists of: each packet and the kinds of its signatures."""
    return [
        (component.packet.tag, [read(packet).kind for packet in component.signatures])
        for component in components(octets)
    ]


def with_signature(octets: bytes, tag: int, added: Packet) -> bytes:
    """Return the certificate with one more signature at the first packet with `tag`."""
    changed = list(components(octets))
    at = next(i for i, component in enumerate(changed) if component.packet.tag == tag)
    changed[at] = Component(changed[at].packet, (added, *changed[at].signatures))
    return packets.serialise(tuple(changed))


@pytest.fixture(scope="module")
def extended() -> Iterator[tuple[bytes, bytes]]:
    """A certificate from long ago, and the copy of it that was extended today."""
    with tempfile.TemporaryDirectory(prefix="ll-gpg-") as home:
        gnupg = GnuPG(Path(home))
        old = gnupg.make(ALICE, "ed25519", at=LONG_AGO, ends="20y", subkey="cv25519")
        identity = gnupg.newest()
        gnupg.run("--quick-set-expire", identity, "10y")
        yield old, gnupg.export(identity)
        gnupg.stop()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gnupg", [(PUBLIC_KEY, []), (USER_ID, [CERTIFICATION]), (PUBLIC_SUBKEY, [BINDING])]),
        ("alice", [(PUBLIC_KEY, [DIRECT]), (USER_ID, [CERTIFICATION]), (PUBLIC_SUBKEY, [BINDING])]),
        (
            "alice_v6",
            [(PUBLIC_KEY, [DIRECT]), (USER_ID, [CERTIFICATION]), (PUBLIC_SUBKEY, [BINDING])],
        ),
        (
            "revoked",
            [
                (PUBLIC_KEY, [KEY_REVOCATION, DIRECT]),
                (USER_ID, [CERTIFICATION]),
                (PUBLIC_SUBKEY, [BINDING]),
            ],
        ),
        (
            "revoked_subkey",
            [
                (PUBLIC_KEY, []),
                (USER_ID, [CERTIFICATION]),
                (PUBLIC_SUBKEY, [SUBKEY_REVOCATION, BINDING]),
            ],
        ),
        ("unbound_user_id", [(PUBLIC_KEY, [DIRECT]), (PUBLIC_SUBKEY, [BINDING])]),
        ("unbound_subkey", [(PUBLIC_KEY, [DIRECT]), (USER_ID, [CERTIFICATION])]),
        ("sha1", [(PUBLIC_KEY, [])]),
    ],
)
def test_what_holds_stays(name: str, expected: list[tuple[int, list[int]]]) -> None:
    """Signing subkeys, what is not bound, and weak signatures go; revocations stay."""
    assert expected == shape(publishable(gallery()[name]))


@pytest.mark.parametrize("name", ["revoked_by_bob", "foreign_subkey", "foreign_user_id"])
def test_what_was_grafted_on_goes(name: str) -> None:
    """A stranger's revocation, subkey or user ID, each complete with its own signature."""
    assert shape(publishable(gallery()["alice"])) == shape(publishable(gallery()[name]))


@pytest.mark.parametrize("tag", [PUBLIC_KEY, USER_ID, PUBLIC_SUBKEY])
def test_a_forged_signature_goes(tag: int) -> None:
    """It claims to be the newest self-signature, and was never verified before."""
    alice = gallery()["alice"]
    genuine = next(c for c in components(publishable(alice)) if c.packet.tag == tag).signatures[0]
    forged = Packet(SIGNATURE, genuine.body[:-1] + bytes([genuine.body[-1] ^ 1]))

    assert publishable(alice) == publishable(with_signature(alice, tag, forged))


@pytest.mark.parametrize(
    ("number", "body"),
    [
        # A notation (RFC 9580 §5.2.3.24): flags, lengths, name, value.
        (20, bytes.fromhex("80000000 0001 0007") + b"xslander"),
        (16, b"_slander"),
        (33, b"\x04" + b"_slander".ljust(20)),
    ],
    ids=["notation", "issuer_key_id", "issuer_fingerprint"],
)
def test_what_nobody_signed_goes(number: int, body: bytes) -> None:
    """Anybody can write into the unhashed subpackets of a genuine signature."""
    alice = publishable(gallery()["gnupg"])
    genuine = next(c for c in components(alice) if c.packet.tag == USER_ID).signatures[0]
    signature = read(genuine)
    slander = bytes([1 + len(body), number]) + body
    at = len(signature.signed)
    length = int.from_bytes(genuine.body[at : at + 2], "big") + len(slander)
    changed = genuine.body[:at] + length.to_bytes(2, "big") + slander + genuine.body[at + 2 :]
    stuffed = alice.replace(packets.framed(genuine), packets.framed(Packet(SIGNATURE, changed)))

    assert b"slander" in stuffed
    assert alice == publishable(stuffed)


def test_only_the_newest_of_a_kind_stays(extended: tuple[bytes, bytes]) -> None:
    """Of two self-signatures that hold, the one that counts."""
    old, new = extended
    merged = packets.serialise(packets.merge(components(old), components(new)))
    (_, user_id, _) = components(publishable(merged))

    assert [2] == [len(c.signatures) for c in components(merged) if c.packet.tag == USER_ID]
    assert publishable(new) == publishable(merged)
    assert read(user_id.signatures[0]).made_at == max(
        read(s).made_at or 0 for c in components(merged) for s in c.signatures
    )


@pytest.mark.parametrize("name", ["gnupg", "alice", "alice_v6", "revoked", "two_user_ids"])
def test_it_is_a_fixed_point(name: str) -> None:
    """What was published and comes back is published as it was."""
    once = publishable(gallery()[name])

    assert once == publishable(once)
