"""Key service, Redis, re-entry port or signing keys fail: what users hand in waits.

It is never sent unsigned, and never in the clear to whom it could be encrypted.
"""

import json
import re
import resource
import shutil
import smtplib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest

import keyservice_proxy
from canary import Canaries
from fault_host import (
    ACCEPTED,
    DEFERRED,
    EVERYBODY,
    LOCAL,
    PEERS,
    UNKNOWN,
    Host,
    Writer,
    reply,
    within,
)
from keyservice.client import PeerAnswer, Sender
from letterlock.dkim.domain_keys import DomainKeys
from letterlock.dkim.key_files import LISTING
from letterlock.dkim.key_record import PUBLISHED
from signed_mail import rsa_key
from stack import PASSWORD

KEYSERVICE = ("killed", "hung", "gone")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with ExitStack() as resources:
        yield Host(tmp_path_factory.mktemp("faults"), resources)


@pytest.fixture
def writer(host: Host) -> Writer:
    """A user of whom the milter has not heard."""
    return host.writer()


@pytest.fixture
def canaries(host: Host, writer: Writer) -> Iterator[Canaries]:
    """Words of this test, which nothing may betray in the end."""
    canaries = writer.new_canaries()
    yield canaries
    host.require_nothing_betrayed(canaries)


# Key service and Redis


@pytest.mark.parametrize("how", KEYSERVICE)
def test_without_a_key_service_a_sender_is_unknown(
    host: Host, writer: Writer, canaries: Canaries, how: str
) -> None:
    """451 within the deadline; afterwards the same mail reaches everybody once."""
    message = canaries.message(number=1)
    with host.without("keyservice", how):
        began = time.monotonic()
        assert DEFERRED == writer.hears(message, EVERYBODY)
        assert within(20, began)
        host.settle()
        assert [] == host.sink.messages

    assert ACCEPTED == writer.hears(message, EVERYBODY)
    host.require_each_got_one(canaries, 1)


def test_also_who_encrypts_never_is_asked_for(host: Host) -> None:
    """Whether a policy says `never` is what nobody knows then."""
    writer = host.writer("never.test")
    message = writer.new_canaries().message()
    with host.without("keyservice", "killed"):
        assert DEFERRED == writer.hears(message, [UNKNOWN])
    host.settle()
    assert [] == host.sink.messages


def test_a_key_service_restarted_in_the_middle_of_a_message(
    host: Host, writer: Writer, canaries: Canaries
) -> None:
    """Nothing is lost: it is asked about the sender when the header section is complete."""
    with begun(host, writer, EVERYBODY) as server:
        with host.without("keyservice", "killed"):
            pass
        assert ACCEPTED == ended(server, canaries.message(number=2))

    host.require_each_got_one(canaries, 2)


def test_a_key_service_that_dies_in_the_middle_of_a_message(
    host: Host, writer: Writer, canaries: Canaries
) -> None:
    """The next reply is 451."""
    message = canaries.message(number=3)
    with begun(host, writer, EVERYBODY) as server, host.without("keyservice", "killed"):
        assert DEFERRED == ended(server, message)
        host.settle()
        assert [] == host.sink.messages

    assert ACCEPTED == writer.hears(message, EVERYBODY)
    host.require_each_got_one(canaries, 3)


@contextmanager
def begun(host: Host, writer: Writer, to: tuple[str, ...]) -> Iterator[smtplib.SMTP]:
    """A session in which all recipients were accepted."""
    with host.stack.submission() as server:
        server.login(writer.address, PASSWORD)
        server.mail(writer.address)
        assert {250} == {server.rcpt(address)[0] for address in to}
        yield server


def ended(server: smtplib.SMTP, message: bytes) -> tuple[int, str]:
    """Hand in the message; return the reply."""
    return reply(*server.data(message))


def _record(**changes: object) -> Callable[[bytes], bytes]:
    """Return what changes fields of a record."""
    return lambda octets: json.dumps(json.loads(octets) | changes).encode()


SENDER_NONSENSE: dict[str, keyservice_proxy.Way] = {
    "nothing": keyservice_proxy.nothing,
    "half of it": keyservice_proxy.half,
    "silence": keyservice_proxy.silence,
    "status 404": keyservice_proxy.status(404),
    "status 500": keyservice_proxy.status(500),
    "no HTTP": lambda _: b"\xff\xfe hello",
    "no JSON": keyservice_proxy.body(lambda _: b"\xff<html>"),
    "JSON of another kind": keyservice_proxy.body(lambda _: b'{"mailbox": 7}'),
    "an unknown field": keyservice_proxy.body(_record(plain=True)),
    "an unknown policy": keyservice_proxy.body(_record(policy={"outgoing": "perhaps"})),
    "an unknown level": keyservice_proxy.body(_record(policy={"outgoing_level": 99})),
    "another mailbox": keyservice_proxy.body(_record(mailbox="eve@example.test")),
    "two megabytes": keyservice_proxy.body(lambda octets: octets + b" " * 2_000_000),
}


def test_nonsense_about_a_sender_defers(host: Host, writer: Writer, canaries: Canaries) -> None:
    """Whatever is not exactly an answer to the question is none."""
    message = canaries.message(number=4)
    heard = {}
    for name, way in SENDER_NONSENSE.items():
        with host.keyservice.answering("/v1/senders/", way):
            heard[name] = writer.hears(message, EVERYBODY)

    assert dict.fromkeys(SENDER_NONSENSE, DEFERRED) == heard
    assert ACCEPTED == writer.hears(message, EVERYBODY)
    host.require_each_got_one(canaries, 4)


PEER_NONSENSE: dict[str, keyservice_proxy.Way] = {
    "nothing": keyservice_proxy.nothing,
    "half of it": keyservice_proxy.half,
    "silence": keyservice_proxy.silence,
    "status 404": keyservice_proxy.status(404),
    "status 500": keyservice_proxy.status(500),
    "no JSON": keyservice_proxy.body(lambda _: b"\xff<html>"),
    "an unknown field": keyservice_proxy.body(_record(plain=True)),
    "an unknown outcome": keyservice_proxy.body(_record(outcome="fine")),
    "another mailbox": keyservice_proxy.body(_record(mailbox="eve@outside.test")),
    "found, but no subkey": keyservice_proxy.body(_record(subkeys=[])),
    "unreachable": keyservice_proxy.body(_record(outcome="unreachable")),
    "another's answer": keyservice_proxy.body(
        lambda _: msgspec.json.encode(Sender(mailbox="eve@outside.test", is_ours=True))
    ),
}


@pytest.mark.parametrize("domain", ["example.test", "required.test"])
def test_without_an_answer_about_a_recipient_mail_waits(host: Host, domain: str) -> None:
    """Under `when-known` and under `required`: not to know is not to know of none."""
    writer, peer = host.writer(domain), host.peer()
    canaries = writer.new_canaries()
    message = canaries.message(number=5)
    heard = {}
    for name, way in PEER_NONSENSE.items():
        with host.keyservice.answering("/v1/peers/", way):
            heard[name] = writer.hears(message, [peer])

    assert dict.fromkeys(PEER_NONSENSE, DEFERRED) == heard
    assert [] == host.sink.messages
    assert ACCEPTED == writer.hears(message, [peer, *LOCAL])
    host.require_each_got_one(canaries, 5, [peer, *LOCAL])
    host.require_nothing_betrayed(canaries)


def test_one_recipient_nobody_can_tell_about_stops_the_mail_for_all(
    host: Host, writer: Writer, canaries: Canaries
) -> None:
    """Nobody gets anything, so that the retry is one mail again."""
    peer = host.peer()
    message = canaries.message(number=6)
    with host.keyservice.answering(f"/v1/peers/{peer}", keyservice_proxy.nothing):
        assert DEFERRED == writer.hears(message, [*EVERYBODY, peer])
        host.require_each_got_one(canaries, 6, [])
        assert [] == host.sink.messages

    assert ACCEPTED == writer.hears(message, [*EVERYBODY, peer])
    host.require_each_got_one(canaries, 6, [*EVERYBODY, peer])


def test_where_others_did_not_answer_required_waits(host: Host) -> None:
    """The key service is there and could not find out: 4.7.5, as it may next time."""
    writer, peer = host.writer("required.test"), host.peer()
    unavailable = PeerAnswer(mailbox=peer, outcome="unavailable")  # type: ignore[arg-type]
    say = keyservice_proxy.body(lambda _: msgspec.json.encode(unavailable))
    with host.keyservice.answering("/v1/peers/", say):
        assert (451, "4.7.5") == writer.hears(writer.new_canaries().message(), [peer])
    assert [] == host.sink.messages


def test_who_encrypts_never_needs_no_answer_about_recipients(host: Host) -> None:
    """It is sent, signed, and nobody is asked."""
    writer, peer = host.writer("never.test"), host.peer()
    canaries = writer.new_canaries()
    host.keyservice.asked.clear()
    with host.keyservice.answering("/v1/peers/", keyservice_proxy.nothing):
        assert ACCEPTED == writer.hears(canaries.message(), [peer])
    host.settle()

    # About others it may still be told what became of mail before this one.
    assert not any(target.startswith(f"/v1/peers/{peer}") for target in host.keyservice.asked)
    # By policy in the clear, and nothing else is wrong with it.
    assert {f"{peer}: not encrypted", f"{peer}: in the clear"} == set(host.violations(canaries))
    host.sink.messages.clear()


@pytest.mark.parametrize("how", ["killed", "hung"])
def test_redis_alone_costs_nothing(
    host: Host, writer: Writer, canaries: Canaries, how: str
) -> None:
    """It only saves time."""
    with host.without("redis", how):
        began = time.monotonic()
        assert ACCEPTED == writer.hears(canaries.message(number=7), EVERYBODY)
        assert within(30, began)

    host.require_each_got_one(canaries, 7)


def test_without_both_mail_waits(host: Host, writer: Writer, canaries: Canaries) -> None:
    """And goes on when they are there again."""
    message = canaries.message(number=8)
    with host.without("keyservice", "killed"), host.without("redis", "killed"):
        assert DEFERRED == writer.hears(message, EVERYBODY)

    assert ACCEPTED == writer.hears(message, EVERYBODY)
    host.require_each_got_one(canaries, 8)


# Re-entry port


class Nth:
    """At the `number`-th line that begins with `start`, once, does not let it through.

    It is answered `instead`; empty: the connection ends.
    """

    def __init__(self, start: bytes, number: int, instead: bytes = b"") -> None:
        self._start, self._left, self._instead = start, number, instead
        self.is_over = threading.Event()

    def __call__(self, line: bytes) -> bool | bytes:
        if self.is_over.is_set() or not line.upper().startswith(self._start):
            return True
        self._left -= 1
        if self._left:
            return True
        self.is_over.set()
        return self._instead or False


STEPS = (b"MAIL", b"RCPT", b"DATA", b"-----BEGIN PGP", b".\r\n")
CUT = [(b"EHLO", 1), *((step, number) for number in (1, 3) for step in STEPS)]


def assert_retry_delivers_once(host: Host, writer: Writer, message: bytes, accepted: int) -> None:
    """Each has it once in the end, though `accepted` copies were taken at the first attempt."""
    before = _accepted_before(host)
    assert ACCEPTED == writer.hears(message, EVERYBODY)
    assert accepted == _accepted_before(host) - before


def _accepted_before(host: Host) -> float:
    sample = "letterlock_reentered_copies_total"
    return host.stack.counter("milter", sample, result="accepted_before")


@pytest.mark.parametrize(
    ("start", "number"), CUT, ids=lambda v: v.decode().strip() if isinstance(v, bytes) else str(v)
)
def test_a_copy_that_breaks_off_defers_all(
    host: Host, writer: Writer, canaries: Canaries, start: bytes, number: int
) -> None:
    """The first of four copies, or one in the middle."""
    message = canaries.message(number=9)
    host.reentry.from_milter = nth = Nth(start, number)

    assert DEFERRED == writer.hears(message, EVERYBODY)
    assert nth.is_over.is_set()
    assert number - 1 == _taken(host, canaries)
    assert_retry_delivers_once(host, writer, message, number - 1)
    host.require_each_got_one(canaries, 9)


def _taken(host: Host, canaries: Canaries) -> int:
    host.settle()
    return sum(sum(host.received(address, canaries).values()) for address in EVERYBODY)


@pytest.mark.parametrize("step", [b"MAIL", b"RCPT", b".\r\n"], ids=lambda v: v.decode())
@pytest.mark.parametrize("answer", [b"451 4.3.0 later\r\n", b"550 5.7.1 no\r\n", b"\xff\xff\r\n"])
def test_a_copy_that_is_refused_defers_all(
    host: Host, writer: Writer, canaries: Canaries, step: bytes, answer: bytes
) -> None:
    """For good or for now: it is our own port, and no reason to bounce."""
    message = canaries.message(number=10)
    host.reentry.from_milter = nth = Nth(step, 2, answer)

    assert DEFERRED == writer.hears(message, EVERYBODY)
    assert nth.is_over.is_set()
    assert_retry_delivers_once(host, writer, message, 1)
    host.require_each_got_one(canaries, 10)


def test_a_retry_is_known_where_the_client_leaves_message_id_and_date_to_us(
    host: Host, writer: Writer, canaries: Canaries
) -> None:
    """What is added to a message differs with every attempt, and must not make it another one."""
    whole = canaries.message(number=11)
    message = re.sub(rb"(?m)^(Message-ID|Date): .*\r\n", b"", whole)
    assert b"Message-ID" not in message
    host.reentry.from_milter = Nth(b"RCPT", 3)

    assert DEFERRED == writer.hears(message, EVERYBODY)
    assert_retry_delivers_once(host, writer, message, 2)
    host.settle()
    got = {address: len(host.texts(address, canaries)) for address in EVERYBODY}
    assert dict.fromkeys(EVERYBODY, 1) == got
    # Twice the same without a Message-ID is twice meant.
    assert ACCEPTED == writer.hears(message, EVERYBODY)
    host.settle()
    assert 2 == len(host.texts(LOCAL[0], canaries))


# Disk


@pytest.mark.parametrize("limit", [66_000, 200_000])
def test_a_full_disk_defers_and_is_recovered_from(
    host: Host, writer: Writer, canaries: Canaries, limit: int
) -> None:
    """The ciphertext finds no room: 451, nothing sent; with space again the same mail goes."""
    message = canaries.message(body_octets=260_000, number=1)
    (worker,) = host.workers()
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        assert DEFERRED == writer.hears(message, EVERYBODY)
        assert ACCEPTED == writer.hears(canaries.message(number=2), EVERYBODY)
        assert DEFERRED == writer.hears(message, EVERYBODY)
    finally:
        infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(worker, resource.RLIMIT_FSIZE, infinite)

    assert ACCEPTED == writer.hears(message, EVERYBODY)
    host.settle()
    for address in EVERYBODY:
        assert {1: 1, 2: 1} == dict(host.received(address, canaries))
    assert [worker] == host.workers()


def test_a_reentry_port_that_is_away_defers(host: Host, writer: Writer, canaries: Canaries) -> None:
    """Mail that needs no copies goes on."""
    message = canaries.message(number=11)
    host.reentry.close()
    try:
        assert DEFERRED == writer.hears(message, EVERYBODY)
        assert ACCEPTED == writer.hears(canaries.message(number=12), [PEERS[0]])
        assert ACCEPTED == writer.hears(canaries.message(number=12), [UNKNOWN])
    finally:
        host.reentry.open()
    host.require_each_got_one(canaries, 12, [PEERS[0], UNKNOWN])
    host.sink.messages.clear()

    assert_retry_delivers_once(host, writer, message, 0)
    host.require_each_got_one(canaries, 11)


# Signing keys


class Keys:
    """The keys of a domain, and ways to spoil them."""

    def __init__(self, host: Host, domain: str = "example.test") -> None:
        self.folder: Path = host.stack.dkim_directory / domain
        self.listing = self.folder / LISTING
        self.rsa, self.ed = (next(self.folder.glob(f"{kind}*.pem")) for kind in ("rsa", "ed"))

    def readable_by_all(self) -> None:
        self.rsa.chmod(0o644)

    def writable_by_all(self) -> None:
        self.ed.chmod(0o666)

    def vanished(self) -> None:
        self.ed.unlink()

    def unreadable(self) -> None:
        # Also for root, as these tests run.
        self.rsa.unlink()
        self.rsa.symlink_to(self.rsa.name)

    def a_directory(self) -> None:
        self.rsa.unlink()
        self.rsa.mkdir()

    def empty(self) -> None:
        self.rsa.write_bytes(b"")

    def half(self) -> None:
        self.rsa.write_bytes(self.rsa.read_bytes()[:500])

    def one_bit_wrong(self) -> None:
        octets = bytearray(self.rsa.read_bytes())
        octets[700] ^= 1
        self.rsa.write_bytes(octets)

    def of_another_type(self) -> None:
        self.rsa.write_bytes(self.ed.read_bytes())

    def short(self) -> None:
        self.rsa.write_bytes(rsa_key(1024).pem)

    def listing_vanished(self) -> None:
        self.listing.unlink()

    def listing_corrupt(self) -> None:
        self.listing.write_bytes(self.listing.read_bytes()[:-10])

    def listing_of_nothing(self) -> None:
        self.listing.write_text('{"keys":[]}')

    def listing_of_a_path(self) -> None:
        text = self.listing.read_text()
        self.listing.write_text(text.replace(self.rsa.stem, f"../example.test/{self.rsa.stem}"))

    def folder_gone(self) -> None:
        shutil.rmtree(self.folder)

    def directory_gone(self) -> None:
        shutil.rmtree(self.folder.parent)


SPOILT = [name for name in vars(Keys) if not name.startswith("_")]


@pytest.fixture
def dkim_directory(host: Host, tmp_path: Path) -> Iterator[Path]:
    """Where the keys are; restored in the end."""
    directory = host.stack.dkim_directory
    backup = tmp_path / "dkim"
    shutil.copytree(directory, backup)
    yield backup
    restore(host, backup)


def restore(host: Host, backup: Path) -> None:
    """Put the keys back."""
    shutil.rmtree(host.stack.dkim_directory, ignore_errors=True)
    shutil.copytree(backup, host.stack.dkim_directory)


@pytest.mark.parametrize("how", SPOILT)
def test_what_cannot_be_signed_waits(
    host: Host, writer: Writer, canaries: Canaries, dkim_directory: Path, how: str
) -> None:
    """Mail that stays here goes on; the key repaired, it is used without a word to anybody."""
    message = canaries.message(number=13)
    failures = lambda: host.stack.counter(  # noqa: E731
        "milter", "letterlock_failures_total", reason="signing_impossible"
    )
    before = failures()
    getattr(Keys(host), how)()

    assert DEFERRED == writer.hears(message, EVERYBODY)
    assert DEFERRED == writer.hears(message, [PEERS[0]])
    assert ACCEPTED == writer.hears(canaries.message(number=14), LOCAL)
    assert 2 == failures() - before
    host.require_each_got_one(canaries, 14, LOCAL)
    assert [] == host.sink.messages
    restore(host, dkim_directory)

    assert ACCEPTED == writer.hears(message, EVERYBODY)
    host.settle()
    assert {13: 1} == dict(host.received(PEERS[0], canaries))
    assert {13: 1} == dict(host.received(UNKNOWN, canaries))


def test_a_domain_without_keys_sends_nothing_before_it_has_some(
    host: Host, canaries: Canaries, dkim_directory: Path
) -> None:
    """Nor while its keys are new, as nobody has published them."""
    directory, domain = host.stack.dkim_directory, "required.test"
    writer = host.writer(domain)
    message = writer.new_canaries().message()
    shutil.rmtree(directory / domain)
    assert DEFERRED == writer.hears(message, PEERS)
    keys = DomainKeys(directory, domain)
    keys.generate(2048, int(time.time()))
    assert DEFERRED == writer.hears(message, PEERS)
    keys.activate(lambda *_: PUBLISHED, int(time.time()))

    assert ACCEPTED == writer.hears(message, PEERS)
    assert 2 == len(host.sink.wait_for(2))
    host.sink.messages.clear()
