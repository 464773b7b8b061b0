"""A revocation stops a key from then on or for all time, and nobody but its owner makes one."""

import itertools

import pysequoia
import pytest

from certificates import ALICE, gallery, sequoia
from certifications import Hand, subpacket
from keyservice.certification import revocation_holds
from keyservice.packets import SIGNATURE, Component, Packet, components, split
from keyservice.revocation import Revocation, Strength, governing, revocation_of

BORN = 1_700_000_000
MADE = BORN + 1000
SOFT = {1: "superseded", 3: "retired"}


def reason(code: int) -> bytes:
    """Return a Reason for Revocation subpacket (RFC 9580 §5.2.3.31)."""
    return subpacket(29, bytes([code]) + b"because")


def found(hand: Hand, *signatures: Packet) -> Revocation | None:
    """Return the revocation that governs a key with these signatures."""
    return revocation_of(
        Component(hand.primary, signatures), lambda s: revocation_holds(hand.primary, s)
    )


@pytest.mark.parametrize("code", range(256))
def test_only_superseded_and_retired_are_soft(code: int) -> None:
    """All other reasons are hard, even those that nobody has defined yet."""
    hand = Hand(BORN)
    revocation = found(hand, hand.revoke(MADE, reason(code)))

    assert revocation is not None
    assert (Strength.SOFT if code in SOFT else Strength.HARD) is revocation.strength
    assert MADE == revocation.at


def test_without_a_reason_it_is_hard() -> None:
    """An empty reason is none."""
    hand = Hand(BORN)
    for revocation in (hand.revoke(MADE), hand.revoke(MADE, subpacket(29, b""))):
        assert Revocation(Strength.HARD, MADE, "no reason given") == found(hand, revocation)


def test_nobody_can_soften_a_hard_revocation() -> None:
    """Neither by the unhashed area, nor with a second reason, nor with a second revocation."""
    hand = Hand(BORN)
    unhashed = hand.revoke(MADE, unhashed=reason(3))
    twice = hand.revoke(MADE, reason(2), reason(3))
    both = (hand.revoke(MADE, reason(3)), hand.revoke(MADE + 5, reason(2)))

    for signatures in ((unhashed,), (twice,), both):
        revocation = found(hand, *signatures)
        assert revocation is not None
        assert Strength.HARD is revocation.strength


def test_without_a_time_it_is_hard() -> None:
    """From then on means nothing when nobody says since when."""
    hand = Hand(BORN)

    assert Revocation(Strength.HARD, 0, "no reason given") == found(
        hand, hand.revoke(None, reason(3))
    )


def test_a_soft_one_counts_from_then_on_and_a_hard_one_always() -> None:
    """To the second."""
    soft, hard = Revocation(Strength.SOFT, MADE), Revocation(Strength.HARD, MADE)

    assert (False, True) == (soft.has_effect(MADE - 1), soft.has_effect(MADE))
    assert (True, True) == (hard.has_effect(0), hard.has_effect(MADE))


def test_of_several_a_hard_one_governs_or_the_earliest() -> None:
    """In whatever order they are."""
    soft = [Revocation(Strength.SOFT, MADE + n) for n in (2, 0, 1)]
    hard = Revocation(Strength.HARD, MADE + 9)

    assert governing([]) is None
    for order in itertools.permutations(soft):
        assert soft[1] == governing(order)
        assert hard == governing((*order, hard))


def test_revocations_of_others_count_for_nothing() -> None:
    """A stranger's, a certification, and rubbish."""
    hand, stranger = Hand(BORN), Hand(BORN)
    rubbish = (
        stranger.revoke(MADE),
        hand.certify(hand.primary, Packet(13, ALICE.encode()), MADE),
        Packet(SIGNATURE, b""),
        Packet(SIGNATURE, b"\x04\x20"),
    )

    assert found(hand, *rubbish) is None


def test_sha1_is_enough_to_take_something_away() -> None:
    """Otherwise an old revocation would be undone by a new policy."""
    hand = Hand(BORN)

    assert found(hand, hand.revoke(MADE, hash_id=2)) is not None


@pytest.mark.parametrize("version", [4, 6])
def test_sequoias_revocation_is_read(version: int) -> None:
    """And the same one grafted on to another certificate is not."""
    made, other = (sequoia(ALICE, version=version) for _ in range(2))
    revocation = pysequoia.Cert.from_bytes(made.certificate).revoke(
        certifier=pysequoia.Tsk.from_bytes(made.secret).certifier()
    )
    (packet,) = split(bytes(revocation))
    for certificate, holds in ((made.certificate, True), (other.certificate, False)):
        primary = components(split(certificate))[0].packet
        governs = revocation_of(
            Component(primary, (packet,)), lambda s, p=primary: revocation_holds(p, s)
        )

        assert holds == (governs is not None)


def test_the_gallery_agrees_with_sequoia() -> None:
    """Revoked there is revoked here, and nothing else is."""
    for name in ("alice", "alice_v6", "gnupg", "rsa2048", "revoked", "revoked_by_bob"):
        primary = components(split(gallery()[name]))[0]
        governs = revocation_of(primary, lambda s, p=primary.packet: revocation_holds(p, s))

        assert pysequoia.Cert.from_bytes(gallery()[name]).is_revoked == (governs is not None)
