"""The client for mailboxes of others: what it holds, what it believes, and many at once."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fake_keyservice import FakeKeyService
from keyservice.client import EncryptionSubkey, Mailbox, PeerAnswer, PeerClient, PeerOutcome

ALICE = Mailbox.parse("alice@example.net")
SUBKEY = EncryptionSubkey("ab" * 20, b"\x04")


def answer(key: str, outcome: PeerOutcome = PeerOutcome.FOUND, lifetime: int = 300) -> bytes:
    """Return what a key service says."""
    is_found = outcome is PeerOutcome.FOUND
    return msgspec.json.encode(
        PeerAnswer(
            mailbox=key,
            outcome=outcome,
            subkeys=(SUBKEY,) if is_found else (),
            issued_at=1_800_000_000,  # its clock is its own
            expires_at=1_800_000_000 + lifetime,
        )
    )


class Asked(FakeKeyService):
    """Remembers who was asked about."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked: list[str] = []
        self.say = self.remember
        self.outcome, self.lifetime = PeerOutcome.FOUND, 300

    def remember(self, key: str) -> bytes:
        """Answer."""
        self.asked.append(key)
        return answer(key, self.outcome, self.lifetime)


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Asked]:
    """A key service of a few lines."""
    with Asked(tmp_path / "k.sock") as fake:
        yield fake


class Moment:
    """A clock that a test sets."""

    now = 1_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.mark.parametrize(
    ("outcome", "lifetime", "seconds", "questions"),
    [
        (PeerOutcome.FOUND, 300, 29.9, 1),
        (PeerOutcome.FOUND, 300, 30.0, 2),
        (PeerOutcome.FOUND, 10, 9.9, 1),
        (PeerOutcome.FOUND, 10, 10.0, 2),
        (PeerOutcome.NOT_FOUND, 300, 0.0, 2),
        (PeerOutcome.REJECTED, 300, 0.0, 2),
        (PeerOutcome.UNAVAILABLE, 300, 0.0, 2),
    ],
)
def test_only_a_certificate_is_held(
    fake: Asked, outcome: PeerOutcome, lifetime: int, seconds: float, questions: int
) -> None:
    """For half a minute, and never for longer than the answer lives."""
    fake.outcome, fake.lifetime = outcome, lifetime
    moment = Moment()
    client = PeerClient(f"unix:{fake.path}", clock=moment)
    first = client.lookup(ALICE)
    moment.now += seconds
    second = client.lookup(ALICE)

    assert outcome is first.outcome is second.outcome
    assert questions == len(fake.asked)


def test_what_is_held_follows_what_is_heard(fake: Asked) -> None:
    """A certificate that was found no more is not used for half a minute longer."""
    client = PeerClient(f"unix:{fake.path}", clock=(moment := Moment()))
    client.lookup(ALICE)
    fake.outcome = PeerOutcome.REJECTED
    moment.now += 31
    client.lookup(ALICE)
    moment.now -= 31

    assert PeerOutcome.REJECTED is client.lookup(ALICE).outcome


@pytest.mark.parametrize(
    "body",
    [
        b"yes",
        b"{}",
        answer("bob@example.net"),
        answer(ALICE.key, PeerOutcome.UNREACHABLE),
        answer(ALICE.key).replace(b"found", b"kept"),
        msgspec.json.encode(PeerAnswer(mailbox=ALICE.key, outcome=PeerOutcome.FOUND)),
    ],
)
def test_nonsense_is_unreachable(fake: Asked, body: bytes) -> None:
    """Mail waits; nothing follows from what a broken service says."""
    fake.say = lambda _: body
    client = PeerClient(f"unix:{fake.path}")

    assert PeerOutcome.UNREACHABLE is client.lookup(ALICE).outcome
    fake.say, fake.status = fake.remember, 503
    assert PeerOutcome.UNREACHABLE is client.lookup(ALICE).outcome
    fake.status = 200
    assert PeerOutcome.FOUND is client.lookup(ALICE).outcome


def test_many_are_asked_at_once(fake: Asked) -> None:
    """Eight together, each once, and what is held not at all."""
    mailboxes = [Mailbox.parse(f"p{number}@example.net") for number in range(12)]
    at_once, peak, lock, are_eight = 0, 0, threading.Lock(), threading.Event()

    def together(key: str) -> bytes:
        nonlocal at_once, peak
        with lock:
            at_once, peak = at_once + 1, max(peak, at_once + 1)
            if at_once == 8:
                are_eight.set()
        # Whoever is asked alone waits for longer than its client does.
        are_eight.wait(60)
        time.sleep(0.2)
        with lock:
            at_once -= 1
        return fake.remember(key)

    client = PeerClient(f"unix:{fake.path}")
    client.lookup(mailboxes[0])
    fake.say = together
    answers = client.lookup_all([*mailboxes, *mailboxes], 30)

    assert mailboxes == list(answers)
    assert {PeerOutcome.FOUND} == {found.outcome for found in answers.values()}
    assert [mailbox.key for mailbox in answers] == [found.mailbox for found in answers.values()]
    assert sorted(mailbox.key for mailbox in mailboxes) == sorted(fake.asked)
    assert 8 == peak
    assert {} == client.lookup_all([], 10)


def test_one_deadline_for_all(fake: Asked) -> None:
    """Who answered in time is used; about the others the key service did not speak."""
    mailboxes = [Mailbox.parse(f"p{number}@example.net") for number in range(20)]
    hangs = threading.Event()

    def some(key: str) -> bytes:
        if key != mailboxes[0].key:
            hangs.wait(60)
        return answer(key)

    fake.say = some
    started = time.monotonic()
    answers = PeerClient(f"unix:{fake.path}").lookup_all(mailboxes, 4)
    took = time.monotonic() - started
    hangs.set()

    # Three rounds of eight would be twelve seconds.
    assert took < 10
    assert [PeerOutcome.FOUND] + 19 * [PeerOutcome.UNREACHABLE] == [
        answers[mailbox].outcome for mailbox in mailboxes
    ]


def test_nobody_there(tmp_path: Path) -> None:
    """All of them are unreachable, at once."""
    client = PeerClient(f"unix:{tmp_path}/none.sock")
    answers = client.lookup_all([ALICE, Mailbox.parse("bob@example.net")], 5)

    assert [PeerOutcome.UNREACHABLE] * 2 == [found.outcome for found in answers.values()]
    assert all("key service" in str(found.reason) for found in answers.values())
