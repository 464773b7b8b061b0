"""Redis, key service, disk or re-entry port fail: mail waits, or it is encrypted as ever."""

import os
import resource
import signal
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest
import redis

import canary
import milter_settings
from canary import Canaries
from fake_keyservice import FakeKeyService, MemoryOwner
from keyservice.client import Answer, EncryptionSubkey, Mailbox, Outcome
from keyservice.record import record_name
from milter_process import MilterProcess
from mta import Heard, attempt, numbers, persist
from ports import free_port
from reentry_proxy import ReentryProxy
from stack import Stack, wait_until
from stack.daemons import keyservice_socket, secret_file

DEADLINE_SECONDS = 3.0
SOON = 20
"""Seconds, on a machine on which others work as well. Whoever hangs here hangs for good, and
after thirty Postfix defers by itself."""

NEVER_SEEN = "dave@example.test"


@pytest.fixture(scope="module")
def owners() -> list[MemoryOwner]:
    return [MemoryOwner(f"{name}@example.test") for name in ("alice", "bob", "carol")]


@pytest.fixture(scope="module")
def dave() -> MemoryOwner:
    """Enrolled, but no milter has asked about it yet."""
    return MemoryOwner(NEVER_SEEN)


@pytest.fixture(scope="module")
def stack_and_proxy(
    owners: list[MemoryOwner], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stack, ReentryProxy]]:
    stack = Stack(tmp_path_factory.mktemp("stack"), workers=1, deadline_seconds=DEADLINE_SECONDS)
    proxy = ReentryProxy(stack.layout.address("reentry"), free_port())
    milter_settings.change(stack, "postfix", reentry=f"127.0.0.1:{proxy.port}")
    milter_settings.change(stack, "spill", threshold_octets=65_536)
    with proxy, stack:
        for owner in owners:
            stack.enrol(owner.address, bytes(owner.certificate))
        yield stack, proxy


@pytest.fixture
def proxy(stack_and_proxy: tuple[Stack, ReentryProxy]) -> ReentryProxy:
    return stack_and_proxy[1]


@pytest.fixture
def stack(stack_and_proxy: tuple[Stack, ReentryProxy], owners: list[MemoryOwner]) -> Stack:
    """Everything runs, and the worker has seen the certificates of all owners."""
    stack, _ = stack_and_proxy
    for owner in owners:
        persist(stack, b"Subject: warm\r\n\r\n", [owner.address])
    stack.wait_until_queue_is_empty()
    return stack


@pytest.fixture
def canaries(stack: Stack) -> Iterator[Canaries]:
    """Words of this test, which nothing stored may hold in the end."""
    canaries = Canaries()
    yield canaries
    stack.wait_until_queue_is_empty()
    wait_until(lambda: not stack.queue_files(), "no orphan")
    assert [] == canary.found(canary.stored_files(stack), canaries.words)


@contextmanager
def client(stack: Stack) -> Iterator[redis.Redis]:
    with closing(redis.Redis.from_url(stack.redis_url)) as connected:
        yield connected


def flush(stack: Stack) -> None:
    with client(stack) as connected:
        connected.flushall()


def worker(stack: Stack) -> int:
    """Return the process that serves."""
    return next(
        pid
        for pid in stack.pids("milter")
        if b"--worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )


def delivered_to(stack: Stack, owner: MemoryOwner, canaries: Canaries) -> dict[int, int]:
    """Return the numbers of this test's messages that `owner` can read, and how many of each."""
    stack.wait_until_queue_is_empty()
    readable = [m for m in stack.maildir(owner.address) if b"BEGIN PGP" in m]
    ours = [m for m in readable if canaries.subject.encode() in owner.decrypt(m)]
    return dict(numbers(owner, ours))


def assert_encrypts(stack: Stack, owner: MemoryOwner, canaries: Canaries) -> None:
    """Mail is accepted, soon, and arrives encrypted."""
    began = time.monotonic()
    assert Heard.ACCEPTED is attempt(stack, canaries.message(number=1), [owner.address])
    assert time.monotonic() - began < SOON
    assert {1: 1} == delivered_to(stack, owner, canaries)


# Redis


def test_without_redis_mail_is_encrypted(
    stack: Stack, canaries: Canaries, owners: list[MemoryOwner]
) -> None:
    """The cache only saves time."""
    stack.kill_daemon("redis")
    try:
        assert_encrypts(stack, owners[0], canaries)
        everybody = [owner.address for owner in owners]
        assert Heard.ACCEPTED is attempt(stack, canaries.message(number=2), everybody)
    finally:
        stack.start_daemon("redis")


def test_an_emptied_redis_is_filled_again(
    stack: Stack, canaries: Canaries, owners: list[MemoryOwner]
) -> None:
    """FLUSHALL costs one lookup."""
    flush(stack)
    assert_encrypts(stack, owners[0], canaries)


@pytest.mark.parametrize("kind", ["list", "garbage", "huge", "empty", "other mailbox's"])
def test_a_wrong_record_in_redis_is_not_believed(
    stack: Stack, canaries: Canaries, owners: list[MemoryOwner], kind: str
) -> None:
    """Whatever stands there, the certificate is the right one."""
    secret = Path(secret_file(stack.layout)).read_bytes().strip()
    names = [record_name(secret, Mailbox.parse(owner.address)) for owner in owners]
    with client(stack) as connected:
        other = connected.get(names[1]) or b"none"
        connected.delete(names[0])
        records: dict[str, bytes] = {
            "garbage": os.urandom(500),
            "huge": bytes(2_000_000),
            "empty": b"",
            "other mailbox's": other,
        }
        if kind == "list":
            connected.lpush(names[0], b"x")
        else:
            connected.set(names[0], records[kind])
    try:
        assert_encrypts(stack, owners[0], canaries)
    finally:
        flush(stack)


def test_a_redis_that_hangs_costs_seconds_at_most(
    stack: Stack, canaries: Canaries, owners: list[MemoryOwner]
) -> None:
    """SIGSTOP: connections are taken, nothing answers."""
    stack.signal_daemon("redis", signal.SIGSTOP)
    try:
        assert_encrypts(stack, owners[0], canaries)
    finally:
        stack.signal_daemon("redis", signal.SIGCONT)


# Key service


def assert_known_works_and_unknown_defers(
    stack: Stack, canaries: Canaries, owner: MemoryOwner
) -> None:
    """A certificate seen of late is used; a mailbox never asked about waits."""
    assert_encrypts(stack, owner, canaries)
    began = time.monotonic()
    assert Heard.DEFERRED is attempt(stack, canaries.message(number=2), [NEVER_SEEN])
    assert time.monotonic() - began < SOON
    assert [] == stack.maildir(NEVER_SEEN)


def test_without_a_key_service_redis_answers(
    stack: Stack, canaries: Canaries, owners: list[MemoryOwner]
) -> None:
    """What Redis holds is used; nobody can say anything about others."""
    stack.kill_daemon("keyservice")
    try:
        assert_known_works_and_unknown_defers(stack, canaries, owners[0])
    finally:
        stack.start_daemon("keyservice")


@pytest.mark.parametrize("how", ["empty", "stopped"])
def test_without_both_the_milters_memory_answers(
    stack: Stack, canaries: Canaries, owners: list[MemoryOwner], how: str
) -> None:
    """Certificates seen within `stale_seconds` still work, everything else defers."""
    stack.kill_daemon("keyservice")
    if how == "empty":
        flush(stack)
    else:
        stack.kill_daemon("redis")
    try:
        assert_known_works_and_unknown_defers(stack, canaries, owners[0])
    finally:
        if how == "stopped":
            stack.start_daemon("redis")
        stack.start_daemon("keyservice")


def test_a_key_service_that_hangs_defers_after_its_deadline(
    stack: Stack, canaries: Canaries, owners: list[MemoryOwner]
) -> None:
    """SIGSTOP: the deadline counts for the whole exchange."""
    flush(stack)
    stack.signal_daemon("keyservice", signal.SIGSTOP, children=True)
    try:
        assert_known_works_and_unknown_defers(stack, canaries, owners[0])
    finally:
        stack.signal_daemon("keyservice", signal.SIGCONT, children=True)


def test_certificates_are_not_remembered_for_longer_than_allowed(
    owners: list[MemoryOwner],
) -> None:
    """`stale_seconds` after the last answer, mail waits."""
    alice = owners[0]
    fields = [(b"Subject", b" x")]
    with MilterProcess(alice, stale_seconds=6) as milter, milter.client() as mta:
        assert 250 == mta.transact([f"<{alice.address}>"], fields, b"x").code
        milter.keyservice.status = 500
        assert 250 == mta.transact([f"<{alice.address}>"], fields, b"x").code
        wait_until(
            lambda: mta.transact([f"<{alice.address}>"], fields, b"x").code != 250, "forgotten"
        )
        assert 451 == mta.transact([f"<{alice.address}>"], fields, b"x").code
        milter.keyservice.status = 200
        assert 250 == mta.transact([f"<{alice.address}>"], fields, b"x").code


def _says(**changes: object) -> Callable[[Answer], bytes]:
    return lambda answer: msgspec.json.encode(msgspec.structs.replace(answer, **changes))


NONSENSE: dict[str, Callable[[Answer], bytes]] = {
    "nothing": lambda _: b"",
    "no JSON": lambda _: b"\xff\xfe<html>",
    "JSON of another kind": lambda _: b'{"mailbox": 7}',
    "an unknown field": lambda answer: msgspec.json.encode(answer)[:-1] + b',"plain":true}',
    "an unknown outcome": lambda answer: msgspec.json.encode(answer).replace(b"found", b"fine"),
    "another mailbox": _says(mailbox="eve@example.test"),
    "found, but no subkey": _says(subkeys=()),
    "a subkey of garbage": _says(subkeys=(EncryptionSubkey("00" * 20, os.urandom(40)),)),
    "an expired subkey": lambda answer: msgspec.json.encode(
        msgspec.structs.replace(
            answer, subkeys=(msgspec.structs.replace(answer.subkeys[0], not_after=1),)
        )
    ),
    "an answer of yesterday": _says(issued_at=1, expires_at=2),
    "an answer for ever": _says(expires_at=2**40),
    "rejected": _says(outcome=Outcome.REJECTED),
    "unavailable": _says(outcome=Outcome.UNAVAILABLE),
    "not found any more": _says(outcome=Outcome.NOT_FOUND),
    "two megabytes": lambda _: b" " * 2_000_000,
}


def test_nonsense_from_the_key_service_defers(
    stack: Stack, canaries: Canaries, dave: MemoryOwner
) -> None:
    """Whatever is not exactly an answer to the question is none; then sense is believed again."""
    flush(stack)
    stack.kill_daemon("keyservice")
    try:
        with FakeKeyService(Path(keyservice_socket(stack.layout)), dave) as fake:
            heard = {}
            for name, say in NONSENSE.items():
                fake.say = lambda _, say=say: say(dave.answer())  # type: ignore[misc]
                heard[name] = attempt(stack, canaries.message(), [dave.address])
            fake.say, fake.status = (lambda _: msgspec.json.encode(dave.answer())), 500
            heard["status 500"] = attempt(stack, canaries.message(), [dave.address])
            fake.status = 200
            assert dict.fromkeys([*NONSENSE, "status 500"], Heard.DEFERRED) == heard
            assert Heard.ACCEPTED is attempt(stack, canaries.message(number=5), [dave.address])
    finally:
        stack.start_daemon("keyservice")
    assert {5: 1} == delivered_to(stack, dave, canaries)


# Disk


@pytest.mark.parametrize("recipients", [1, 3])
@pytest.mark.parametrize("limit", [66_000, 200_000])
def test_a_full_disk_defers_and_is_recovered_from(
    stack: Stack, canaries: Canaries, owners: list[MemoryOwner], limit: int, recipients: int
) -> None:
    """The spill file takes no more: 451, nothing stored; with space again the same mail goes."""
    addresses = [owner.address for owner in owners[:recipients]]
    message = canaries.message(body_octets=260_000, number=3)
    spilling = worker(stack)
    failed = stack.counter("milter", "letterlock_failures_total", reason="spill_failed")
    resource.prlimit(spilling, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        assert Heard.DEFERRED is attempt(stack, message, addresses)
        assert Heard.ACCEPTED is attempt(stack, b"Subject: small\r\n\r\n", addresses)
        assert Heard.DEFERRED is attempt(stack, message, addresses)
    finally:
        infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(spilling, resource.RLIMIT_FSIZE, infinite)

    assert Heard.ACCEPTED is attempt(stack, message, addresses)
    failures = stack.counter("milter", "letterlock_failures_total", reason="spill_failed")
    assert 2 == failures - failed
    for owner in owners[:recipients]:
        assert {3: 1} == delivered_to(stack, owner, canaries)
    assert spilling == worker(stack)
    assert [] == canary.open_in(spilling, stack.layout.state / "spill")


# Re-entry port


def everybody(owners: list[MemoryOwner]) -> list[str]:
    return [owner.address for owner in owners]


def accepted_before(stack: Stack) -> float:
    """Return how often a marker has kept a copy from being sent again."""
    sample = "letterlock_reentered_copies_total"
    return stack.counter("milter", sample, result="accepted_before")


def assert_retry_delivers_once(
    stack: Stack, canaries: Canaries, owners: list[MemoryOwner], message: bytes
) -> None:
    heard = persist(stack, message, everybody(owners))
    assert Heard.NOTHING not in heard
    assert [{9: 1}] * 3 == [delivered_to(stack, owner, canaries) for owner in owners]


def test_a_re_entry_port_that_refuses_defers(
    stack: Stack, proxy: ReentryProxy, canaries: Canaries, owners: list[MemoryOwner]
) -> None:
    """Nobody gets anything; the retry gives each one copy."""
    message = canaries.message(number=9)
    proxy.close()
    try:
        assert Heard.DEFERRED is attempt(stack, message, everybody(owners))
        assert [{}] * 3 == [delivered_to(stack, owner, canaries) for owner in owners]
        # Those who need no copy are served.
        assert Heard.ACCEPTED is attempt(stack, b"Subject: one\r\n\r\n", [owners[0].address])
    finally:
        proxy.open()

    assert_retry_delivers_once(stack, canaries, owners, message)


class _Nth:
    """Says False at the `number`-th line that begins with `start`, once, after `then`."""

    def __init__(self, start: bytes, number: int, then: Callable[[], object] = bool) -> None:
        self._start, self._left, self._then = start, number, then
        self.is_over = threading.Event()

    def __call__(self, line: bytes) -> bool:
        if self.is_over.is_set() or not line.upper().startswith(self._start):
            return True
        self._left -= 1
        if self._left:
            return True
        self._then()
        self.is_over.set()
        return False


@pytest.mark.parametrize(
    ("start", "number"),
    [
        (b"EHLO", 1),
        (b"MAIL", 1),
        (b"RCPT", 1),
        (b"DATA", 1),
        (b"-----BEGIN PGP", 1),
        (b".\r\n", 1),
        (b"MAIL", 2),
        (b"RCPT", 2),
        (b"-----BEGIN PGP", 2),
        (b".\r\n", 2),
    ],
    ids=lambda value: value.decode().strip() if isinstance(value, bytes) else str(value),
)
def test_a_re_entry_that_breaks_off_defers_and_is_finished_later(
    stack: Stack,
    proxy: ReentryProxy,
    canaries: Canaries,
    owners: list[MemoryOwner],
    start: bytes,
    number: int,
) -> None:
    """In the first copy or the second: 451, and after the retry each has exactly one."""
    message = canaries.message(number=9)
    proxy.from_milter = _Nth(start, number)
    before = accepted_before(stack)

    assert Heard.DEFERRED is attempt(stack, message, everybody(owners))
    assert_retry_delivers_once(stack, canaries, owners, message)
    assert number - 1 == accepted_before(stack) - before


def test_a_crash_after_an_accepted_copy_delivers_once(
    stack: Stack, proxy: ReentryProxy, canaries: Canaries, owners: list[MemoryOwner]
) -> None:
    """SIGKILL between the first copy's acceptance and the reply to the sender."""
    message = canaries.message(number=9)
    victim = worker(stack)
    proxy.from_milter = _Nth(b"MAIL", 2, lambda: os.kill(victim, signal.SIGKILL))

    assert Heard.DEFERRED is attempt(stack, message, everybody(owners))
    assert {9: 1} == delivered_to(stack, owners[1], canaries)
    assert_retry_delivers_once(stack, canaries, owners, message)


def test_an_acceptance_that_gets_lost_loses_no_copy(
    stack: Stack, proxy: ReentryProxy, canaries: Canaries, owners: list[MemoryOwner]
) -> None:
    """Postfix took the copy, its 250 never arrived: once more is better than never."""
    message = canaries.message(number=9)
    proxy.from_postfix = _Nth(b"250 2.0.0 OK: QUEUED", 1)

    assert Heard.DEFERRED is attempt(stack, message, everybody(owners))
    persist(stack, message, everybody(owners))
    counts = [delivered_to(stack, owner, canaries)[9] for owner in owners]
    assert [1, 2, 1] == counts


@pytest.mark.parametrize("reply", [b"421 4.3.2 closing\r\n", b"550 5.7.1 no\r\n", b"\xff\xff\r\n"])
def test_a_re_entry_that_refuses_a_copy_defers_all(
    stack: Stack, proxy: ReentryProxy, canaries: Canaries, owners: list[MemoryOwner], reply: bytes
) -> None:
    """Also a final refusal there is no reason to bounce: it is our own port."""
    message = canaries.message(number=9)
    port = proxy.port
    proxy.close()
    with _Unwilling(port, reply):
        assert Heard.DEFERRED is attempt(stack, message, everybody(owners))
    proxy.open()

    assert_retry_delivers_once(stack, canaries, owners, message)


class _Unwilling:
    """A server that answers everything with one reply, after a friendly greeting."""

    def __init__(self, port: int, reply: bytes) -> None:
        class Conversation(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 hello\r\n")
                for line in self.rfile:
                    friendly = line.upper().startswith((b"EHLO", b"MAIL"))
                    self.wfile.write(b"250 ok\r\n" if friendly else reply)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", port), Conversation)

    def __enter__(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
