"""The memory of certificates for when nobody can be asked."""

import msgspec
import pytest

from keyservice.mailbox import Mailbox
from keyservice.stale import StaleAnswers
from keyservice.wire import Answer, EncryptionSubkey, Outcome

ALICE = Mailbox.parse("alice@example.org")
NOW = 1_800_000_000.0
EARLY = EncryptionSubkey("ab" * 20, b"early", int(NOW) + 100)
LATE = EncryptionSubkey("cd" * 20, b"late", None)
FOUND = Answer(ALICE.key, Outcome.FOUND, subkeys=(EARLY, LATE))


def remembering(answer: Answer) -> StaleAnswers:
    """Return a memory of `answer`."""
    stale = StaleAnswers(3600, 10)
    stale.remember(ALICE, answer, NOW)
    return stale


def test_a_certificate_is_remembered_for_its_time() -> None:
    """And not a second longer, nor before it was seen."""
    stale = remembering(FOUND)

    assert FOUND == stale.recall(ALICE, NOW + 50)
    assert stale.recall(ALICE, NOW + 3600) is None
    assert stale.recall(ALICE, NOW - 1) is None


def test_dead_subkeys_are_left_out() -> None:
    """An answer without a living one is none."""
    only_early = msgspec.structs.replace(FOUND, subkeys=(EARLY,))

    recalled = remembering(FOUND).recall(ALICE, NOW + 100)

    assert recalled is not None
    assert (LATE,) == recalled.subkeys
    assert remembering(only_early).recall(ALICE, NOW + 100) is None


@pytest.mark.parametrize("outcome", [Outcome.NOT_FOUND, Outcome.REJECTED, Outcome.OUTSIDE])
def test_only_certificates_are_remembered(outcome: Outcome) -> None:
    """Consent to plaintext of an hour ago is no consent; and it wipes what was there."""
    stale = remembering(FOUND)
    stale.remember(ALICE, Answer(ALICE.key, outcome), NOW)

    assert stale.recall(ALICE, NOW) is None


def test_the_memory_is_bounded() -> None:
    """The one confirmed longest ago goes first."""
    stale = remembering(FOUND)
    for number in range(9):
        stale.remember(Mailbox.parse(f"m{number}@example.org"), FOUND, NOW)
    stale.remember(ALICE, FOUND, NOW)
    stale.remember(Mailbox.parse("one@example.org"), FOUND, NOW)

    assert stale.recall(ALICE, NOW) is not None
    assert stale.recall(Mailbox.parse("m0@example.org"), NOW) is None
