"""What rests in Redis is believed only if we wrote it, for this mailbox, and not long ago."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyservice.mailbox import Mailbox
from keyservice.record import LIFETIME_MAX, BadRecord, record_name, seal, unseal
from keyservice.wire import Answer, EncryptionSubkey, MailboxPolicy, Outcome

SECRET = b"s" * 32
ALICE, BOB = Mailbox.parse("alice@example.org"), Mailbox.parse("bob@example.org")
NOW = 1_800_000_000
ANSWER = Answer(
    ALICE.key,
    Outcome.FOUND,
    MailboxPolicy(keep_outside=("X-Spam-Flag",)),
    had_certificate=True,
    fingerprint="ab" * 20,
    subkeys=(EncryptionSubkey("cd" * 20, b"\x04packet"),),
    issued_at=NOW,
    expires_at=NOW + LIFETIME_MAX,
)
RECORD = seal(SECRET, ALICE, ANSWER)


def test_a_record_gives_the_answer_back() -> None:
    """All of it, the mailbox included, although the record does not name it."""
    assert ANSWER == unseal(SECRET, ALICE, RECORD, NOW)


def test_neither_record_nor_name_holds_the_address() -> None:
    """A dump of Redis does not tell who receives mail here."""
    for text in (RECORD, record_name(SECRET, ALICE).encode()):
        assert b"alice" not in text
        assert b"example.org" not in text


@given(st.integers(0, len(RECORD) * 8 - 1))
def test_every_flipped_bit_is_noticed(bit: int) -> None:
    """In the HMAC as in the answer."""
    forged = bytearray(RECORD)
    forged[bit // 8] ^= 1 << bit % 8

    with pytest.raises(BadRecord):
        unseal(SECRET, ALICE, bytes(forged), NOW)


@given(st.binary(max_size=200))
def test_garbage_is_noticed(record: bytes) -> None:
    """Whatever Redis returns."""
    with pytest.raises(BadRecord):
        unseal(SECRET, ALICE, record, NOW)


def test_records_cannot_be_swapped() -> None:
    """A genuine record of another mailbox, or under another secret, is a forgery."""
    with pytest.raises(BadRecord):
        unseal(SECRET, BOB, RECORD, NOW)
    with pytest.raises(BadRecord):
        unseal(b"t" * 32, ALICE, RECORD, NOW)
    assert record_name(SECRET, ALICE) != record_name(SECRET, BOB)


@pytest.mark.parametrize("now", [NOW + LIFETIME_MAX, NOW + 86_400, NOW - 60, 0])
def test_a_record_is_good_only_in_its_time(now: int) -> None:
    """A replay works until it expires; a clock that was set back does not lengthen that."""
    with pytest.raises(BadRecord):
        unseal(SECRET, ALICE, RECORD, now)


def test_no_record_lives_longer_than_the_bound() -> None:
    """Even if the key service signed it."""
    eternal = Answer(ALICE.key, Outcome.OUTSIDE, issued_at=NOW, expires_at=NOW + LIFETIME_MAX + 1)

    with pytest.raises(BadRecord):
        unseal(SECRET, ALICE, seal(SECRET, ALICE, eternal), NOW)
