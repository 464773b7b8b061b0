"""Through a store and through again, at a pace, until told to stop."""

import time
from collections.abc import Iterable

import pytest

from letterlock.policy import Treatment
from letterlock.reencryption.encryption import Encrypted, Left
from letterlock.reencryption.engine import PASSES_MAX, Audience, Engine, Fate, Pace
from letterlock.reencryption.store import Done, MessageFailed, Reference, Stored


class Shelf:
    """A store that replaces two at once, and sees new mail arrive."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.waiting: list[Stored] = []
        self.arriving: list[str] = []
        self.replaced: list[str] = []
        self.calls: list[str] = []

    def recover(self) -> int:
        self.calls.append("recover")
        return 0

    def folders(self) -> list[str]:
        return ["a"]

    def references(self, folder: str) -> list[Reference]:
        return [Reference(folder, name) for name in self.names]

    def read(self, reference: Reference) -> Stored | None:
        if reference.name == "gone":
            return None
        if reference.name == "broken":
            raise MessageFailed("cannot be read")
        return Stored(reference, reference.name.encode(), 0.0)

    def replace(self, message: Stored, octets: bytes) -> Done:
        self.waiting.append(message)
        return self.settle() if len(self.waiting) == 2 else Done()

    def settle(self) -> Done:
        done = tuple(message.reference for message in self.waiting)
        self.waiting = []
        for reference in done:
            self.names.remove(reference.name)
            self.names.append(f"{reference.name}!")
            self.replaced.append(reference.name)
        if self.arriving:
            self.names.append(self.arriving.pop())
        return Done(tuple(Reference(r.folder, f"{r.name}!") for r in done))

    def finish(self) -> Iterable[str]:
        return ()

    def close(self) -> None:
        """Nothing to let go of."""


class Scribe:
    """An encryption that says what it was asked."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def encrypt(self, stored: bytes, stored_at: float) -> Encrypted | Left:
        self.asked.append(stored)
        if stored.startswith(b"ours"):
            return Left.OURS
        return Left.PASSED if stored == b"passed" else Encrypted(stored + b"!", Treatment.WRAP)


def run(shelf: Shelf, pace: Pace = Pace(), *, is_dry: bool = False):  # noqa: B008
    told: list[tuple[Fate, int]] = []
    complaints: list[tuple[str, str]] = []
    scribe = Scribe()
    audience = Audience(
        lambda fate, messages: told.append((fate, messages)),
        lambda reference, why: complaints.append((reference.name, why)),
    )
    summary = Engine(shelf, scribe, audience, pace, is_dry=is_dry).run()
    assert sum(summary.fates.values()) == sum(messages for _, messages in told)
    return summary, scribe, complaints


def test_each_message_meets_its_fate() -> None:
    """Counted once, however many passes there are."""
    shelf = Shelf("x", "ours", "passed", "broken", "y", "z")
    summary, scribe, complaints = run(shelf)

    assert {Fate.ENCRYPTED: 3, Fate.OURS: 1, Fate.PASSED: 1, Fate.FAILED: 1} == summary.fates
    assert [("broken", "cannot be read")] == complaints
    assert [b"x", b"ours", b"passed", b"y", b"z"] == scribe.asked
    assert (3, 6) == (summary.octets_before, summary.octets_after)
    assert summary.is_complete


def test_mail_that_arrives_meanwhile_is_encrypted() -> None:
    """As long as it takes, if it comes to an end."""
    shelf = Shelf("x")
    shelf.arriving = ["b", "c"]
    run(shelf)

    assert ["x", "c", "b"] == shelf.replaced


def test_it_does_not_go_on_for_ever() -> None:
    """Somebody whose mail keeps going away."""
    shelf = Shelf("gone")
    summary, _, _ = run(shelf)

    assert {Fate.GONE: PASSES_MAX} == summary.fates


def test_a_dry_run_looks_once_and_replaces_nothing() -> None:
    """Nor does it finish what another has begun."""
    shelf = Shelf("x", "y", "ours")
    summary, _, _ = run(shelf, is_dry=True)

    assert {Fate.ENCRYPTED: 2, Fate.OURS: 1} == summary.fates
    assert [] == shelf.replaced == shelf.calls


def test_stopped_it_finishes_what_it_has_begun() -> None:
    """What was encrypted is put in its place, and the rest left."""
    shelf = Shelf("x", "y", "z")
    asked = iter([False, False, False, True, True])
    summary, scribe, _ = run(shelf, Pace(is_stopped=lambda: next(asked, True)))

    assert not summary.is_complete
    assert [b"x", b"y", b"z"] == scribe.asked
    assert ["x", "y", "z"] == shelf.replaced


@pytest.mark.parametrize(
    ("names", "per_second", "least", "most"),
    [(["x", "y", "z"], 20, 0.15, 60), (["ours1", "ours2"], 1 / 60, 0, 30)],
)
def test_the_pace_is_that_of_messages_encrypted(
    names: list[str], per_second: float, least: float, most: float
) -> None:
    """What is encrypted already costs no waiting."""
    began = time.monotonic()
    run(Shelf(*names), Pace(per_second=per_second))

    assert least <= time.monotonic() - began < most


def test_stopped_it_does_not_wait_for_its_turn() -> None:
    """One message in a minute: whoever ends it is not kept waiting."""
    began = time.monotonic()
    pace = Pace(per_second=1 / 60, is_stopped=lambda: time.monotonic() - began > 0.1)
    summary, _, _ = run(Shelf("x", "y"), pace)

    assert not summary.is_complete
    assert time.monotonic() - began < 30
