"""Whom is encrypted for, asked and asked again."""

import pytest

from fake_keyservice import MemoryOwner
from keyservice.client import Answer, EncryptionSubkey, Mailbox, Outcome
from letterlock.reencryption.addressee import ASKED_ANEW_SECONDS, Addressee, NoCertificate

ALICE = Mailbox.parse("alice@example.test")
NOW = 1_795_000_000.0


@pytest.fixture(scope="module")
def owner() -> MemoryOwner:
    return MemoryOwner("alice@example.test")


@pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.FOUND])
def test_without_a_usable_certificate_there_is_none(outcome: Outcome) -> None:
    """The reason is said, and what kind it is."""
    answer = Answer("alice@example.test", outcome, reason="as the key service has it")
    with pytest.raises(NoCertificate) as error:
        Addressee(ALICE, lambda _: answer).recipient()

    assert outcome is error.value.outcome
    assert str(error.value)


def test_a_certificate_that_ends_is_none(owner: MemoryOwner) -> None:
    """A subkey past its time, or of an algorithm that nobody here writes."""
    answer = owner.answer()
    (subkey,) = answer.subkeys
    for useless in (
        EncryptionSubkey(subkey.fingerprint, subkey.packet, not_after=int(NOW)),
        EncryptionSubkey(subkey.fingerprint, b"x"),
    ):
        found = Answer("alice@example.test", Outcome.FOUND, subkeys=(useless,))
        with pytest.raises(NoCertificate, match="no subkey"):
            Addressee(ALICE, lambda _, a=found: a, lambda: NOW).recipient()


def test_a_withdrawal_is_noticed_within_a_minute(owner: MemoryOwner) -> None:
    """The key service is asked anew, and not for each message."""
    now = [NOW]
    answers = [owner.answer(), Answer("alice@example.test", Outcome.NOT_FOUND)]
    addressee = Addressee(ALICE, lambda _: answers.pop(0), lambda: now[0])

    addressee.recipient()
    now[0] += ASKED_ANEW_SECONDS - 1
    addressee.recipient()
    assert 1 == len(answers)

    now[0] += 1
    with pytest.raises(NoCertificate):
        addressee.recipient()
