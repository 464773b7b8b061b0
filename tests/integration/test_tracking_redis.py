"""Answers in memory, and a real Redis that tells of changes until it is stopped or hangs."""

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from certificates import gallery
from keyservice.client import ClientConfig, KeyServiceClient, Layer, Mailbox, Outcome
from keyservice.record import record_name, seal
from keyservice.tracking import STALENESS_MAX
from keyservice.wire import Answer
from keyservice_process import SECRET, KeyServiceProcess, RedisProcess, wait_until

ALICE = Mailbox.parse("alice@example.org")
BOB = Mailbox.parse("bob@example.org")
ELSEWHERE = Mailbox.parse("alice@elsewhere.example")
NAME = record_name(SECRET, ALICE)

SLACK = 4.0
"""Seconds that a busy machine may add to STALENESS_MAX."""


class Stack:
    """Key service, Redis, and a client that holds answers and tells who gave them."""

    def __init__(self, directory: Path) -> None:
        self.redis = RedisProcess(directory / "redis").start()
        self.service = KeyServiceProcess(directory / "keyservice", redis_url=self.redis.url)
        self.service.start()
        self.service.operator.enrol(ALICE, gallery()["alice"])
        self.layers: list[Layer] = []
        self.now = 0.0
        self.client: KeyServiceClient | None = self.new_client()

    def new_client(self, options: str = "") -> KeyServiceClient:
        """Return a client with nothing in memory; `options` belong to the URL of Redis."""
        config = ClientConfig(
            service=self.service.url, redis_url=self.redis.url + options, secret=SECRET, hold=True
        )
        layers = self.layers
        return KeyServiceClient(
            config,
            clock=lambda: time.time() + self.now,
            observe=lambda layer, _outcome, _seconds: layers.append(layer),
        )

    def look_up(self, mailbox: Mailbox = ALICE) -> tuple[Layer, Outcome]:
        """Return who answered, and what."""
        assert self.client is not None
        outcome = self.client.lookup(mailbox).outcome
        return self.layers[-1], outcome

    def wait_for(
        self, expected: tuple[Layer, Outcome], mailbox: Mailbox = ALICE, deadline: float = 90
    ) -> float:
        """Look up until the result is `expected`; return after how many seconds it was."""
        began = time.monotonic()
        wait_until(lambda: expected == self.look_up(mailbox), f"{expected}", deadline)
        return time.monotonic() - began

    def wait_until_not_in_memory(self) -> float:
        """Return after how many seconds Alice's answer was no longer used."""
        began = time.monotonic()
        wait_until(lambda: self.look_up()[0] is not Layer.MEMORY, "not in memory")
        return time.monotonic() - began

    def close(self) -> None:
        """Stop both."""
        self.client = None
        gc.collect()
        self.service.stop()
        self.redis.stop()


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Alice is enrolled, and her answer is in memory."""
    stack = Stack(tmp_path)
    stack.wait_for((Layer.MEMORY, Outcome.FOUND))
    yield stack
    stack.close()


@pytest.mark.parametrize(
    ("mailbox", "outcome"), [(BOB, Outcome.NOT_FOUND), (ELSEWHERE, Outcome.OUTSIDE)]
)
def test_every_outcome_is_held(stack: Stack, mailbox: Mailbox, outcome: Outcome) -> None:
    """The service answers, then Redis, then memory."""
    stack.wait_for((Layer.MEMORY, outcome), mailbox)

    assert Layer.SERVICE in stack.layers
    assert Layer.REDIS in stack.layers


def test_memory_answers_what_redis_did(stack: Stack) -> None:
    """All of it."""
    assert stack.client is not None

    assert stack.service.client().lookup(ALICE) == stack.client.lookup(ALICE)
    assert Layer.MEMORY is stack.layers[-1]


def test_a_withdrawal_is_heard(stack: Stack) -> None:
    """Long before anything expires."""
    stack.service.operator.withdraw(ALICE)

    assert stack.wait_until_not_in_memory() < STALENESS_MAX + SLACK
    stack.wait_for((Layer.MEMORY, Outcome.NOT_FOUND))


def test_a_policy_is_heard(stack: Stack) -> None:
    """The certificate stays the same."""
    client = stack.client
    assert client is not None
    stack.service.operator.set_policy(ALICE, {"header_policy": "hcp_all"})

    wait_until(
        lambda: "hcp_all" == client.lookup(ALICE).policy.header_policy.value,
        "policy seen",
        STALENESS_MAX + SLACK,
    )


def test_a_first_enrolment_is_heard(stack: Stack) -> None:
    """Whoever was without a certificate a moment ago gets encrypted mail."""
    stack.wait_for((Layer.MEMORY, Outcome.NOT_FOUND), BOB)
    stack.service.operator.enrol(BOB, gallery()["bob"])

    stack.wait_for((Layer.MEMORY, Outcome.FOUND), BOB, STALENESS_MAX + SLACK)


@pytest.mark.parametrize(
    "change",
    [
        lambda client: client.flushall(),
        lambda client: client.delete(NAME),
        lambda client: client.set(NAME, b"garbage"),
        lambda client: client.rename(NAME, "elsewhere"),
        lambda client: client.pexpire(NAME, 1),
        lambda client: client.client_kill_filter(_type="normal", skipme=True),
    ],
    ids=["flush", "delete", "overwrite", "rename", "expire", "cut"],
)
def test_whatever_happens_to_redis_is_heard(
    stack: Stack, change: Callable[[redis.Redis], object]
) -> None:
    """And then it is asked again."""
    with stack.redis.client() as client:
        change(client)

    assert stack.wait_until_not_in_memory() < STALENESS_MAX + SLACK
    stack.wait_for((Layer.MEMORY, Outcome.FOUND))


def test_a_killed_redis_ends_it_at_once(stack: Stack) -> None:
    """The service answers until Redis is back, then memory does."""
    stack.redis.kill()

    assert stack.wait_until_not_in_memory() < STALENESS_MAX + SLACK
    assert (Layer.SERVICE, Outcome.FOUND) == stack.look_up()
    stack.redis.start()
    stack.wait_for((Layer.MEMORY, Outcome.FOUND))


def test_a_hanging_redis_ends_it_within_the_bound(stack: Stack) -> None:
    """Nothing breaks, only the reply to the heartbeat is missing."""
    stack.redis.pause()
    try:
        assert stack.wait_until_not_in_memory() < STALENESS_MAX + SLACK
        assert (Layer.SERVICE, Outcome.FOUND) == stack.look_up()
    finally:
        stack.redis.resume()

    stack.wait_for((Layer.MEMORY, Outcome.FOUND))


def test_an_answer_expires_in_memory(stack: Stack) -> None:
    """Also if Redis never says so."""
    stack.now = 300.0

    assert stack.look_up()[0] is not Layer.MEMORY


def test_memory_counts_as_having_been_confirmed(stack: Stack) -> None:
    """A certificate that memory gave is used while nobody can be asked."""
    stack.service.stop()
    assert (Layer.MEMORY, Outcome.FOUND) == stack.look_up()
    stack.redis.kill()
    stack.wait_until_not_in_memory()

    assert (Layer.STALE, Outcome.FOUND) == stack.look_up()


@pytest.mark.parametrize(
    ("denied", "options"),
    [("-client|tracking", ""), ("-ping", ""), ("+ping", "?protocol=2")],
    ids=["tracking denied", "heartbeat denied", "RESP2"],
)
def test_a_redis_that_does_not_tell_is_asked_each_time(
    stack: Stack, caplog: pytest.LogCaptureFixture, denied: str, options: str
) -> None:
    """Without another word than one line in the log."""
    caplog.set_level(logging.INFO)
    stack.client = None
    with stack.redis.client() as client:
        client.acl_setuser("default", enabled=True, nopass=True, commands=[denied])
    stack.client = stack.new_client(options)

    def complaints() -> int:
        layer, outcome = stack.look_up()
        assert Outcome.FOUND is outcome
        assert Layer.MEMORY is not layer
        return len([record for record in caplog.records if record.message == "tracking_lost"])

    wait_until(lambda: complaints() > 0, "complained")
    until = time.monotonic() + 1
    while time.monotonic() < until:
        assert 1 == complaints()
    assert Layer.REDIS in stack.layers


def sealed(version: int) -> bytes:
    """Return a genuine record with `version` in it."""
    now = int(time.time())
    answer = Answer(
        ALICE.key, Outcome.REJECTED, reason=str(version), issued_at=now, expires_at=now + 60
    )
    return seal(SECRET, ALICE, answer)


def test_many_threads_never_leave_an_old_answer(stack: Stack) -> None:
    """Four of them look up without a pause while the record changes."""
    client = stack.client
    assert client is not None
    over = threading.Event()

    def look_up() -> None:
        while not over.is_set():
            client.lookup(ALICE)

    threads = [threading.Thread(target=look_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        with stack.redis.client() as meddler:
            for version in range(100):
                meddler.set(NAME, sealed(version), ex=60)
                wait_until(
                    lambda: str(version) == client.lookup(ALICE).reason,  # noqa: B023 (used at once)
                    f"version {version} seen",
                    STALENESS_MAX + SLACK,
                )
    finally:
        over.set()
        for thread in threads:
            thread.join()


def listeners() -> list[threading.Thread]:
    """Return the threads that listen to Redis."""
    return [thread for thread in threading.enumerate() if thread.name == "tracking"]


def test_the_thread_lives_from_the_first_lookup_to_the_end_of_the_client(stack: Stack) -> None:
    """A worker that forks or sets its signal mask first gets no thread too early."""
    before = listeners()
    other = stack.new_client()
    assert before == listeners()
    other.lookup(ALICE)
    (mine,) = set(listeners()) - set(before)

    del other
    gc.collect()

    wait_until(lambda: not mine.is_alive(), "thread ended")


def test_other_names_in_the_same_redis_disturb_nothing(stack: Stack) -> None:
    """The milter's own markers, for example."""
    with stack.redis.client() as client:
        (followed,) = [c for c in client.client_list() if "B" in c["flags"]]
        client.set("letterlock:marker:1:x", b"y")
        (still,) = [c for c in client.client_list() if "B" in c["flags"]]

    assert followed["id"] == still["id"]
    assert (Layer.MEMORY, Outcome.FOUND) == stack.look_up()
