"""What is held in memory is never older than what Redis has told of."""

import time
from collections import deque

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyservice.cache import AnswerCache
from keyservice.held import HeldAnswers
from keyservice.mailbox import Mailbox
from keyservice.record import RECORD_PREFIX, record_name, seal
from keyservice.tracking import HEARTBEAT, PATIENCE, STALENESS_MAX, Tracking
from keyservice.wire import Answer, Outcome

SECRET = b"s" * 32
ALICE = Mailbox.parse("alice@example.org")
KEY = ALICE.key
NAME = record_name(SECRET, ALICE)
NOW = 1_800_000_000
OLD = Answer(KEY, Outcome.OUTSIDE, issued_at=NOW, expires_at=NOW + 30)
NEW = Answer(KEY, Outcome.NOT_FOUND, issued_at=NOW, expires_at=NOW + 30)
FOREVER = float("inf")


@pytest.fixture
def held() -> HeldAnswers:
    """Changes are heard, nothing is held."""
    held = HeldAnswers()
    held.renew(FOREVER)
    return held


def recall(held: HeldAnswers) -> Answer | None:
    """Return what is held about Alice."""
    return held.get(KEY, time.monotonic(), NOW)


def hold(held: HeldAnswers, answer: Answer = OLD) -> None:
    """Read `answer` with nothing in between."""
    held.keep(held.ask(NAME, KEY), answer)


def test_what_was_read_is_held(held: HeldAnswers) -> None:
    """The very same answer, until its record changes."""
    hold(held)
    assert OLD is recall(held)

    held.forget([b"of somebody else"])
    assert OLD is recall(held)
    held.forget([NAME.encode()])
    assert recall(held) is None
    assert 0 == len(held)


@pytest.mark.parametrize("now", [NOW + 30, NOW + 86_400, NOW - 6])
def test_an_answer_is_held_for_its_time_only(held: HeldAnswers, now: int) -> None:
    """Whatever Redis says; and a clock that was set back does not lengthen it."""
    hold(held)

    assert held.get(KEY, time.monotonic(), now) is None


def test_nothing_is_used_after_the_lease() -> None:
    """Even if the thread that listens has died without a word."""
    held = HeldAnswers()
    moment = time.monotonic()
    held.renew(moment + 100)
    hold(held)

    assert OLD is held.get(KEY, moment + 99, NOW)
    assert held.get(KEY, moment + 100, NOW) is None


@pytest.mark.parametrize("until", [None, 0.0])
def test_nothing_is_held_while_changes_are_not_heard(until: float | None) -> None:
    """Never heard, or no longer."""
    held = HeldAnswers()
    if until is not None:
        held.renew(until)
    hold(held)
    held.renew(FOREVER)

    assert recall(held) is None


@pytest.mark.parametrize(
    "happens",
    [
        lambda held: held.forget([NAME.encode()]),
        lambda held: held.forget(None),
        lambda held: (held.lose(), held.renew(FOREVER)),
    ],
    ids=["changed", "flushed", "reconnected"],
)
def test_news_between_reading_and_holding_wins(held: HeldAnswers, happens: object) -> None:
    """The record was read, its change is heard, and only then would it be held."""
    question = held.ask(NAME, KEY)
    assert callable(happens)
    happens(held)
    held.keep(question, OLD)

    assert recall(held) is None


def test_a_slow_reader_does_not_overwrite_a_later_one(held: HeldAnswers) -> None:
    """He read before the change, the other one after it."""
    slow = held.ask(NAME, KEY)
    held.forget([NAME.encode()])
    hold(held, NEW)

    held.keep(slow, OLD)

    assert NEW is recall(held)


def test_a_miss_ends_what_was_held(held: HeldAnswers) -> None:
    """And leaves nothing behind."""
    hold(held)
    held.keep(held.ask(NAME, KEY), None)

    assert recall(held) is None
    assert 0 == len(held)


def test_no_more_than_the_bound_is_held() -> None:
    """The oldest goes, and what is told of it later does no harm."""
    held = HeldAnswers(entries_max=2)
    held.renew(FOREVER)
    for key in "abc":
        held.keep(held.ask(f"name of {key}", key), OLD)

    moment = time.monotonic()
    assert [None, OLD, OLD] == [held.get(key, moment, NOW) for key in "abc"]
    held.forget([b"name of a", b"name of b"])
    assert [None, None, OLD] == [held.get(key, moment, NOW) for key in "abc"]


STEPS = st.lists(
    st.tuples(st.sampled_from(["change", "hear", "ask", "read", "keep", "lose"]), st.integers(0, 2))
)


@given(STEPS)
def test_no_order_of_events_leaves_an_old_answer(steps: list[tuple[str, int]]) -> None:
    """Three readers, a Redis that changes, news that are late: as soon as all is heard, it holds
    what Redis has, or nothing.
    """
    held = HeldAnswers()
    held.renew(FOREVER)
    state = msgspec.structs.replace(OLD, reason="0")
    news: deque[bytes] = deque()
    asked: dict[int, object] = {}
    read: dict[int, Answer] = {}
    for number, (step, reader) in enumerate(steps):
        match step:
            case "change":
                state = msgspec.structs.replace(OLD, reason=f"{number + 1}")
                news.append(NAME.encode())
            case "hear" if news:
                held.forget([news.popleft()])
            case "ask" if reader not in asked:
                asked[reader] = held.ask(NAME, KEY)
            case "read" if reader in asked and reader not in read:
                read[reader] = state
            case "keep" if reader in read:
                held.keep(asked.pop(reader), read.pop(reader))  # type: ignore[arg-type]
            case "lose":
                held.lose()
                news.clear()
                held.renew(FOREVER)
            case _:
                pass
        if not news:
            assert recall(held) in (None, state)


class ChangingRedis:
    """A Redis whose removal of the record is heard while its reply is on the way."""

    def __init__(self, held: HeldAnswers, record: bytes) -> None:
        self.held, self.record = held, record
        self.changes = True

    def getrange(self, name: str, *_: int) -> bytes:
        """Return the record."""
        if self.changes:
            self.held.forget([name.encode()])
        return self.record


def test_the_cache_announces_before_it_reads(held: HeldAnswers) -> None:
    """So a removal that is heard before the reply is not overlooked."""
    changing = ChangingRedis(held, seal(SECRET, ALICE, OLD))
    cache = AnswerCache(changing, SECRET, lambda: NOW, held=held)  # type: ignore[arg-type]

    assert OLD == cache.get(ALICE)
    assert recall(held) is None
    changing.changes = False
    assert OLD == cache.get(ALICE)
    assert OLD == recall(held)


def test_only_what_is_credible_is_held(held: HeldAnswers) -> None:
    """A forgery is a miss, here as everywhere."""
    changing = ChangingRedis(held, seal(b"t" * 32, ALICE, OLD))
    changing.changes = False
    cache = AnswerCache(changing, SECRET, lambda: NOW, held=held)  # type: ignore[arg-type]

    assert cache.get(ALICE) is None
    assert 0 == len(held)


def test_all_records_are_listened_for() -> None:
    """And the bound that is documented is the one in force."""
    assert NAME.startswith(RECORD_PREFIX)
    assert STALENESS_MAX == HEARTBEAT + PATIENCE == 2


def test_a_url_that_is_none_is_refused() -> None:
    """When the client is made, not in a thread."""
    with pytest.raises(ValueError, match="expected redis:"):
        Tracking("ftp://example.org", HeldAnswers())
