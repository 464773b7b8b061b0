"""Bitmask's published validation scenarios, with certificates made for the purpose.

Their structure is that of its `test_validation.py`: what is put in with which level, what
was done with it, and whether the next one is taken. None of its key material is used.
"""

import functools
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from certificates import GnuPG, sequoia
from certifications import MAILBOX, Pair, by_gnupg
from keyservice.certificate import Certificate
from keyservice.certification_pgpy import second_opinion
from keyservice.evidence import Candidate, Registered
from keyservice.levels import Level, Source
from keyservice.packets import Component, components, merge, serialise, split
from keyservice.replacement import Mode, Outcome, Rules, judge
from keyservice.transition import Predecessor, Verdict, transition
from keyservice.vet import vet

# Bitmask takes whatever it sees first.
RULES = Rules(Mode.BITMASK, first_contact=Level.WEAK_CHAIN)
YEAR = 365 * 86_400


class Put(NamedTuple):
    """A certificate that is put in."""

    facts: Certificate
    components: tuple[Component, ...]


class KeyManager:
    """As much of a store as the scenarios need: the decision is the module's under test."""

    def __init__(self) -> None:
        self.registered: Registered | None = None
        self._held: tuple[Component, ...] = ()

    def put(self, put: Put, level: Level = Level.WEAK_CHAIN) -> bool:
        """Offer a certificate; return whether it is the registered one afterwards."""
        candidate = Candidate(
            put.facts.fingerprint,
            level,
            Source.HKP,
            signed_by_registered=self._certified(put),
        )
        decision = judge(self.registered, candidate, RULES, time.time())
        if decision.outcome is Outcome.UPDATE:
            self._held = merge(self._held, put.components)
        elif decision.outcome in (Outcome.ACCEPT_FIRST, Outcome.REPLACE):
            self._held = put.components
        else:
            return False
        assert decision.level is not None
        facts = vet(serialise(self._held), time.time())[0]
        self.registered = Registered(facts.fingerprint, decision.level, Source.HKP, facts.not_after)
        return True

    def use(self, *, encrypted_to: bool, possession_proved: bool) -> None:
        """Note what was done with the registered certificate."""
        old = self.registered
        assert old is not None
        self.registered = Registered(
            old.fingerprint,
            old.level,
            old.source,
            old.not_after,
            encrypted_to=encrypted_to,
            possession_proved=possession_proved,
        )

    def _certified(self, put: Put) -> bool:
        if not self._held:
            return False
        old = Predecessor(self._held[0].packet)
        found = transition(old, put.components, MAILBOX, time.time(), second_opinion)
        return found.verdict is Verdict.VERIFIED


@functools.cache
def cast() -> dict[str, Put]:
    """Return the certificates by the part they play."""
    alice = "Alice <alice@example.org>"
    with tempfile.TemporaryDirectory(prefix="ll-gpg-") as home:
        gnupg = GnuPG(Path(home))
        try:
            expired = gnupg.make(
                alice, "ed25519", at="20200101T000000", ends="1d", subkey="cv25519"
            )
            gnupg.run("--quick-set-expire", gnupg.newest(), "10y")
            extended = gnupg.export(gnupg.newest())
            ending = gnupg.make(alice, "ed25519", ends="1y", subkey="cv25519")
        finally:
            gnupg.stop()
    made = {
        "unrelated": sequoia(alice).certificate,
        "endless": sequoia(alice).certificate,
        "expired": expired,
        "extended": extended,
        "ending": ending,
    }
    return {name: _put(components(split(octets))) for name, octets in made.items()}


def _put(parts: tuple[Component, ...]) -> Put:
    return Put(vet(serialise(parts), time.time())[0], parts)


@pytest.fixture
def manager() -> KeyManager:
    """An empty one."""
    return KeyManager()


def test_none_old_key(manager: KeyManager) -> None:
    """1. The first one is taken, however weak."""
    assert manager.put(cast()["endless"])


def test_cant_upgrade(manager: KeyManager) -> None:
    """2. Provider trust is not given up for a weak chain."""
    assert manager.put(cast()["endless"], Level.PROVIDER_TRUST)
    assert not manager.put(cast()["unrelated"])


@pytest.mark.parametrize("level", list(Level))
def test_fingerprint_level(manager: KeyManager, level: Level) -> None:
    """3. A confirmed fingerprint replaces anything."""
    assert manager.put(cast()["endless"], level)
    assert manager.put(cast()["unrelated"], Level.FINGERPRINT)


def test_expired_key(manager: KeyManager) -> None:
    """4. An expired weak one is replaced by a weak one."""
    assert manager.put(cast()["expired"])
    assert manager.put(cast()["unrelated"])


def test_expired_fail_lower_level(manager: KeyManager) -> None:
    """5. But an expired endorsed one is not by what is only the provider's word."""
    assert manager.put(cast()["expired"], Level.THIRD_PARTY_ENDORSEMENT)
    assert not manager.put(cast()["unrelated"], Level.PROVIDER_TRUST)


def test_can_upgrade_key_and_signed_key(manager: KeyManager) -> None:
    """6. The new one is certified by the old one: level does not matter."""
    pair: Pair = by_gnupg()["ed25519"]

    assert manager.put(_put(pair.old), Level.PROVIDER_TRUST)
    assert manager.put(_put(pair.new))


def test_roll_back(manager: KeyManager) -> None:
    """7. An older copy does not take an extension back."""
    assert manager.put(cast()["extended"])
    registered = manager.registered
    assert registered is not None
    assert registered.not_after is not None
    assert registered.not_after > time.time() + 3 * YEAR

    assert manager.put(cast()["expired"])
    assert registered == manager.registered


def test_not_used(manager: KeyManager) -> None:
    """8. Never used, a better attested one replaces it."""
    assert manager.put(cast()["ending"], Level.PROVIDER_TRUST)
    assert manager.put(cast()["unrelated"], Level.PROVIDER_ENDORSEMENT)


def test_used(manager: KeyManager) -> None:
    """9. Encrypted to and verified (or decrypted and verified): now it does not."""
    assert manager.put(cast()["ending"])
    manager.use(encrypted_to=True, possession_proved=True)

    assert not manager.put(cast()["unrelated"], Level.PROVIDER_ENDORSEMENT)


def test_two_addresses_are_two_histories(manager: KeyManager) -> None:
    """Used for one address says nothing about another, though the certificate is the same."""
    other = KeyManager()
    assert manager.put(cast()["ending"])
    assert other.put(cast()["ending"])
    manager.use(encrypted_to=True, possession_proved=True)

    assert not manager.put(cast()["unrelated"], Level.PROVIDER_ENDORSEMENT)
    assert other.put(cast()["unrelated"], Level.PROVIDER_ENDORSEMENT)
