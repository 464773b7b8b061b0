"""The key service, its client and a real Redis that is stopped, emptied, and lied into."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import redis

from certificates import gallery
from keyservice.client import ClientConfig, KeyServiceClient, Layer, Mailbox, Outcome
from keyservice.record import record_name, seal
from keyservice.wire import Answer, MailboxPolicy, WithoutCertificate
from keyservice_process import SECRET, KeyServiceProcess, RedisProcess

ALICE = Mailbox.parse("alice@example.org")
BOB = Mailbox.parse("bob@example.org")
NAME = record_name(SECRET, ALICE)


PATIENT = "?socket_timeout=30&socket_connect_timeout=30"
"""For a machine on which Redis may take longer than it usually is waited for."""


class Stack:
    """Key service, Redis, and a client that tells who answered."""

    def __init__(self, directory: Path, options: str = PATIENT) -> None:
        """`options` belong to the URL of Redis."""
        self.redis = RedisProcess(directory / "redis").start()
        self.redis_url = self.redis.url + options
        self.service = KeyServiceProcess(directory / "keyservice", redis_url=self.redis_url)
        self.service.start()
        self.service.operator.enrol(ALICE, gallery()["alice"])
        self.layers: list[Layer] = []
        self.now = 0.0
        self.client = self.new_client()

    def new_client(self) -> KeyServiceClient:
        """Return a client without a memory."""
        config = ClientConfig(
            service=self.service.url, redis_url=self.redis_url, secret=SECRET, deadline=60
        )
        return KeyServiceClient(
            config,
            clock=lambda: time.time() + self.now,
            observe=lambda layer, _outcome, _seconds: self.layers.append(layer),
        )

    def look_up(self, mailbox: Mailbox = ALICE) -> tuple[Layer, Outcome]:
        """Return who answered, and what."""
        outcome = self.client.lookup(mailbox).outcome
        return self.layers[-1], outcome

    def meddle(self, change: Callable[[redis.Redis], object]) -> None:
        """Do something to what Redis holds."""
        with self.redis.client() as client:
            change(client)

    def close(self) -> None:
        """Stop both."""
        # It knows of our clock, as we know of it: if only the garbage collector found both, its
        # connection could be found first.
        del self.client
        self.service.stop()
        self.redis.stop()


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Alice is enrolled, and Redis has the answer."""
    stack = Stack(tmp_path)
    assert (Layer.SERVICE, Outcome.FOUND) == stack.look_up()
    assert (Layer.REDIS, Outcome.FOUND) == stack.look_up()
    yield stack
    stack.close()


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Stack]:
    """Alice is enrolled, and Redis is waited for no longer than it is by default."""
    stack = Stack(tmp_path, "")
    assert Outcome.FOUND is stack.look_up()[1]
    yield stack
    stack.close()


def test_a_stopped_redis_only_slows_lookups(stack: Stack) -> None:
    """The service answers, and Redis is used again when it is back."""
    stack.redis.kill()

    assert (Layer.SERVICE, Outcome.FOUND) == stack.look_up()
    stack.redis.start()
    stack.client = stack.new_client()
    assert stack.look_up()[1] is Outcome.FOUND


def test_a_hanging_redis_is_paid_for_once(hasty: Stack) -> None:
    """Not with every recipient."""
    hasty.redis.pause()
    try:
        hasty.look_up()
        started = time.monotonic()
        for _ in range(20):
            assert (Layer.SERVICE, Outcome.FOUND) == hasty.look_up()
        elapsed = time.monotonic() - started
    finally:
        hasty.redis.resume()

    # With each of them it would be ten seconds, here and in the service.
    assert elapsed < 5


def test_an_emptied_redis_is_filled_again(stack: Stack) -> None:
    """By the next lookup."""
    stack.meddle(lambda client: client.flushall())

    assert (Layer.SERVICE, Outcome.FOUND) == stack.look_up()
    assert (Layer.REDIS, Outcome.FOUND) == stack.look_up()


def forged(secret: bytes) -> bytes:
    """Return a record that consents to plaintext, signed with `secret`."""
    now = int(time.time())
    policy = MailboxPolicy(without_certificate=WithoutCertificate.ACCEPT)
    answer = Answer(ALICE.key, Outcome.NOT_FOUND, policy, issued_at=now, expires_at=now + 60)
    return seal(secret, ALICE, answer)


def expired() -> bytes:
    """Return a genuine record from an hour ago."""
    then = int(time.time()) - 3600
    answer = Answer(ALICE.key, Outcome.OUTSIDE, issued_at=then, expires_at=then + 300)
    return seal(SECRET, ALICE, answer)


def of_bob() -> bytes:
    """Return a genuine record about somebody else."""
    now = int(time.time())
    return seal(SECRET, BOB, Answer(BOB.key, Outcome.OUTSIDE, issued_at=now, expires_at=now + 60))


@pytest.mark.parametrize(
    "meddle",
    [
        lambda client: (client.delete(NAME), client.rpush(NAME, "x")),
        lambda client: (client.delete(NAME), client.hset(NAME, "a", "b")),
        lambda client: client.set(NAME, b""),
        lambda client: client.set(NAME, b"garbage"),
        lambda client: client.set(NAME, b"x" * 20_000_000),
        lambda client: client.append(NAME, b"x"),
        lambda client: client.setrange(NAME, 100, b"x"),
        lambda client: client.set(NAME, forged(b"not the secret, but as long as it")),
        lambda client: client.set(NAME, expired()),
        lambda client: client.set(NAME, of_bob()),
    ],
)
def test_a_lying_redis_is_not_believed(
    stack: Stack, meddle: Callable[[redis.Redis], object]
) -> None:
    """Wrong type, garbage, forgery, replay, somebody else's: each is a miss."""
    stack.meddle(meddle)

    assert (Layer.SERVICE, Outcome.FOUND) == stack.look_up()


def test_a_change_is_seen_at_once(stack: Stack) -> None:
    """Withdrawal and policy do not wait for the copy to expire."""
    assert 0 == stack.service.operator.withdraw(ALICE).effective_within
    assert (Layer.SERVICE, Outcome.NOT_FOUND) == stack.look_up()

    stack.service.operator.set_policy(ALICE, {"header_policy": "hcp_all"})

    assert "hcp_all" == stack.client.lookup(ALICE).policy.header_policy.value


def test_the_operator_hears_that_redis_could_not_be_told(hasty: Stack) -> None:
    """The change is durable; for how long a copy may be seen is told."""
    hasty.redis.pause()
    try:
        withdrawal = hasty.service.operator.withdraw(ALICE)
    finally:
        hasty.redis.resume()

    assert 300 == withdrawal.effective_within


def test_a_rolled_back_redis_replays_for_minutes_at_most(stack: Stack) -> None:
    """What was withdrawn comes back with the snapshot, and is gone when its signature says so."""
    with stack.redis.client() as client:
        snapshot = client.get(NAME)
    stack.service.operator.withdraw(ALICE)
    stack.meddle(lambda client: client.set(NAME, snapshot))
    assert (Layer.REDIS, Outcome.FOUND) == stack.look_up()

    stack.now = 300.0

    assert stack.look_up()[0] is not Layer.REDIS


def test_redis_alone_is_enough_for_a_while(stack: Stack) -> None:
    """With the service stopped, its last answer is still good."""
    stack.service.stop()

    assert (Layer.REDIS, Outcome.FOUND) == stack.look_up()
    stack.redis.stop()
    assert (Layer.STALE, Outcome.FOUND) == stack.look_up()
    assert (Layer.NONE, Outcome.UNAVAILABLE) == stack.look_up(BOB)


def test_a_dump_of_redis_names_nobody(stack: Stack) -> None:
    """No address, no domain; and no record without an end."""
    stack.look_up(BOB)
    with stack.redis.client() as client:
        client.save()
        lifetimes = [client.ttl(name) for name in client.keys("*")]
    dump = stack.redis.dump.read_bytes()

    assert lifetimes
    assert all(0 < lifetime <= 300 for lifetime in lifetimes)
    for name in (b"alice", b"bob", b"example.org", SECRET):
        assert name not in dump


def test_accesses_are_counted(stack: Stack) -> None:
    """By result."""
    before = stack.service.metric('keyservice_cache_total{result="forgotten"}')
    stack.service.operator.withdraw(ALICE)

    assert before + 1 == stack.service.metric('keyservice_cache_total{result="forgotten"}')
    assert stack.service.metric('keyservice_cache_total{result="written"}') >= 1


def test_a_copy_of_the_database_answers_alike(stack: Stack, tmp_path: Path) -> None:
    """A backup taken after a stop is all there is to restore."""
    before = stack.client.lookup(ALICE)
    stack.service.stop()
    other = KeyServiceProcess(tmp_path / "other")
    shutil.copy(stack.service.database, other.database)

    with other:
        after = other.client().lookup(ALICE)
    times = {"issued_at": 0, "expires_at": 0}
    assert msgspec.structs.replace(before, **times) == msgspec.structs.replace(after, **times)
