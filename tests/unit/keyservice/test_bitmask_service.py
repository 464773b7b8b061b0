"""Bitmask's published scenarios through the whole service: evidence, database, decision.

As `test_bitmask_scenarios`, which has them for the decision alone.
"""

from collections.abc import Iterator
from pathlib import Path

import pysequoia
import pytest

from certificates import ALICE as USER_ID
from certificates import gallery, sequoia
from keyservice.levels import Level
from keyservice.packets import fingerprint, split
from keyservice.replacement import DAY, Mode
from peer_world import PeerWorld

YEAR = 366 * DAY


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PeerWorld]:
    """Takes whatever it sees first, as Bitmask does."""
    world = PeerWorld(
        tmp_path / "k.sqlite", mode=Mode.BITMASK, first_contact=Level.WEAK_CHAIN, methods=[]
    )
    yield world
    world.close()


def identity(octets: bytes) -> str:
    """Return a certificate's fingerprint."""
    return fingerprint(split(octets)[0])


def takes(world: PeerWorld, octets: bytes, level: Level) -> bool:
    """Show a certificate; return whether it is the registered one then."""
    world.show(octets, level)
    return identity(octets) == world.answer().fingerprint


def test_none_is_registered(world: PeerWorld) -> None:
    """The first one is taken."""
    assert takes(world, gallery()["gnupg"], Level.WEAK_CHAIN)


def test_a_weaker_one_is_not_taken(world: PeerWorld) -> None:
    """PROVIDER_TRUST, then WEAK_CHAIN."""
    assert takes(world, gallery()["ending"], Level.PROVIDER_TRUST)
    assert not takes(world, gallery()["gnupg"], Level.WEAK_CHAIN)


def test_a_checked_fingerprint_is_taken(world: PeerWorld) -> None:
    """Whatever was there."""
    assert takes(world, gallery()["ending"], Level.PROVIDER_TRUST)
    assert takes(world, gallery()["gnupg"], Level.FINGERPRINT)


def test_after_expiry_the_same_level_is_taken(world: PeerWorld) -> None:
    """And a lower one is not."""
    assert takes(world, gallery()["ending"], Level.THIRD_PARTY_ENDORSEMENT)
    world.pass_time(YEAR)
    assert not takes(world, gallery()["gnupg"], Level.PROVIDER_TRUST)
    assert takes(world, gallery()["nist_p256"], Level.THIRD_PARTY_ENDORSEMENT)


def test_a_certified_one_is_taken(world: PeerWorld) -> None:
    """By the registered one, for this mailbox."""
    old, new = sequoia(USER_ID), sequoia(USER_ID)
    assert takes(world, old.certificate, Level.PROVIDER_TRUST)
    certified = pysequoia.Cert.from_bytes(new.certificate).add_user_id(
        value="Alice A. <alice@example.org>",
        certifier=pysequoia.Tsk.from_bytes(old.secret).certifier(),
    )
    world.pass_time(10)
    assert takes(world, bytes(certified), Level.WEAK_CHAIN)


def test_an_older_copy_takes_nothing_back(world: PeerWorld) -> None:
    """Not a revocation, nor an expiry that was put off."""
    assert takes(world, gallery()["alice"], Level.PROVIDER_TRUST)
    world.show(gallery()["revoked"], Level.WEAK_CHAIN)
    world.show(gallery()["alice"], Level.FINGERPRINT)

    assert "revoked" in str(world.answer().reason)


def test_never_used_it_gives_way_to_a_higher_level(world: PeerWorld) -> None:
    """Encrypted to and proved, it does not."""
    assert takes(world, gallery()["ending"], Level.PROVIDER_TRUST)
    assert takes(world, gallery()["primary_ends_first"], Level.PROVIDER_ENDORSEMENT)
    number = identity(gallery()["primary_ends_first"])
    world.use(number, encrypted_to=True)
    world.use(number, possession_proved=True)
    assert not takes(world, gallery()["gnupg"], Level.THIRD_PARTY_ENDORSEMENT)


@pytest.mark.parametrize("done", ["encrypted_to", "possession_proved"])
def test_one_direction_is_not_used(world: PeerWorld, done: str) -> None:
    """LEAP wants both."""
    assert takes(world, gallery()["ending"], Level.PROVIDER_TRUST)
    world.use(identity(gallery()["ending"]), **{done: True})
    assert takes(world, gallery()["primary_ends_first"], Level.PROVIDER_ENDORSEMENT)
