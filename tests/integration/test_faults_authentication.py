"""The DNS fails, or what is done with a message while it is verified: mail comes in all the same.

It is never kept waiting for longer than its deadline, and what nobody could find out about it is
said inside.
"""

import os
import re
import resource
import signal
import smtplib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

import canary
import keyservice_proxy
from autocrypt_mail import field, five_packets
from canary import Canaries
from dns_peer import DnsPeer, Way, txt
from fault_host import ACCEPTED, DEFERRED, EVERYBODY, LOCAL, Host, Reply, reply, within
from keyservice.client import Mailbox, PeerClient, PeerOutcome
from signed_mail import Key, rsa_key, signed
from stack import wait_until

DEADLINE_SECONDS = 8.0
SLACK_SECONDS = 8.0
"""For a machine on which others work as well."""

BOB = LOCAL[0]
CLIENT = "198.51.100.7"
TOLD = "dkim", "spf"

GONE: Reply = (451, "4.7.1")
QUEUE = 2


@dataclass(frozen=True, slots=True)
class Sender:
    """Somebody outside, whose domain signs his mail."""

    domain: str

    @property
    def address(self) -> str:
        return f"sender@{self.domain}"

    @property
    def key(self) -> Key:
        return rsa_key(domain=self.domain)

    @property
    def names(self) -> tuple[str, ...]:
        """All that is asked of the DNS about his mail."""
        return self.key.name, self.domain, f"client.{self.domain}"

    def new_canaries(self) -> Canaries:
        return Canaries(author=f"Sender <{self.address}>")

    def signs(self, message: bytes) -> bytes:
        """Return it with a signature."""
        return signed(message, self.key)


class Receiving:
    """A host that verifies with a DNS of ours."""

    def __init__(self, host: Host, dns: DnsPeer) -> None:
        self.host = host
        self.dns = dns
        self._domains = 0

    def sender(self, way: Way = Way.RIGHT) -> Sender:
        """Return one who has never written; about him the DNS answers that way."""
        self._domains += 1
        sender = Sender(f"domain{self._domains}.example")
        spf = {"TXT": txt(f"v=spf1 ip4:{CLIENT} -all")}
        self.dns.zone |= {
            sender.key.name: {"TXT": txt(sender.key.record)},
            sender.domain: spf,
            f"client.{sender.domain}": spf,
        }
        self.dns.ways |= dict.fromkeys(sender.names, way)
        return sender

    def session(self, sender: Sender) -> smtplib.SMTP:
        """Return a session of the sender's server, from a public address."""
        server = smtplib.SMTP(*self.host.stack.layout.address("smtp"), timeout=60)
        server.docmd("XCLIENT", f"ADDR={CLIENT} NAME=[UNAVAILABLE]")
        server.ehlo(f"client.{sender.domain}")
        return server

    def hears(self, sender: Sender, message: bytes) -> Reply:
        """Send `message` to Bob as it is; return the reply to it."""
        with self.session(sender) as server:
            server.mail(sender.address)
            server.rcpt(BOB)
            return reply(*server.data(message))

    def verdicts(self, canaries: Canaries) -> list[tuple[str, ...]]:
        """Return what is said about DKIM and SPF in Bob's mails that `canaries` are in."""
        self.host.settle()
        bob = self.host.owners[BOB]
        texts = map(bob.decrypt, self.host.stack.maildir(BOB))
        return [_verdicts(text) for text in texts if canaries.subject.encode() in text]


def _verdicts(text: bytes) -> tuple[str, ...]:
    recorded = text[text.index(b"Authentication-Results: mx.example.test") :]
    recorded = recorded[: re.search(rb"\r?\n(?![ \t])", recorded).start()]  # type: ignore[union-attr]
    found = (re.search(rf"\b{method}=(\w+)".encode(), recorded) for method in TOLD)
    return tuple(match[1].decode() if match else "" for match in found)


@pytest.fixture(scope="module")
def receiving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiving]:
    with ExitStack() as resources:
        dns = resources.enter_context(DnsPeer({}))
        host = Host(
            tmp_path_factory.mktemp("authentication"),
            resources,
            authentication={
                "nameserver": dns.address,
                "deadline_seconds": DEADLINE_SECONDS,
                "unjudged_is_spam": False,
                "report_queue": QUEUE,
            },
            parameters={"smtpd_authorized_xclient_hosts": "127.0.0.1"},
        )
        yield Receiving(host, dns)


@pytest.fixture
def host(receiving: Receiving) -> Host:
    return receiving.host


@pytest.fixture
def sender(receiving: Receiving) -> Sender:
    """Somebody of whom nobody has heard."""
    return receiving.sender()


@pytest.fixture
def canaries(host: Host, sender: Sender) -> Iterator[Canaries]:
    """Words of this test, which nothing may betray in the end."""
    canaries = sender.new_canaries()
    yield canaries
    host.require_nothing_betrayed(canaries)


# The DNS

BROKEN = {
    Way.SILENT: ("temperror", "temperror"),
    Way.SLOW: ("temperror", "temperror"),
    Way.SILENT_OVER_TCP: ("temperror", "temperror"),
    Way.GARBAGE: ("temperror", "temperror"),
    Way.OTHER_ID: ("temperror", "temperror"),
    Way.OTHER_QUESTION: ("temperror", "temperror"),
    Way.OTHER_PORT: ("temperror", "temperror"),
    Way.SERVFAIL: ("temperror", "temperror"),
    Way.REFUSED: ("temperror", "temperror"),
    Way.ENDLESS_ALIAS: ("temperror", "temperror"),
    # As far as anybody can tell there is no record.
    Way.OTHER_NAME: ("permerror", "none"),
    Way.ONE_MORE_ALIAS: ("permerror", "none"),
    # The true answer comes, if one waits for it.
    Way.TRUNCATED: ("pass", "pass"),
    Way.NOISE_FIRST: ("pass", "pass"),
    Way.RIGHT: ("pass", "pass"),
}
REMEMBERED = {Way.OTHER_NAME, Way.ONE_MORE_ALIAS}
"""That there is nothing is an answer, and held for some minutes."""


def test_whatever_the_dns_does_mail_comes_in(receiving: Receiving) -> None:
    """All at the same time: within the deadline, encrypted, with what is known of it inside."""
    receiving.dns.delay = 40.0
    senders = {way: receiving.sender(way) for way in BROKEN}
    canaries = {way: sender.new_canaries() for way, sender in senders.items()}

    def send(way: Way) -> tuple[Reply, float]:
        message = senders[way].signs(canaries[way].message(number=1))
        began = time.monotonic()
        return receiving.hears(senders[way], message), time.monotonic() - began

    with ThreadPoolExecutor(len(BROKEN)) as threads:
        heard = dict(zip(BROKEN, threads.map(send, BROKEN), strict=True))

    assert dict.fromkeys(BROKEN, ACCEPTED) == {way: said for way, (said, _) in heard.items()}
    limit = DEADLINE_SECONDS + SLACK_SECONDS
    assert {} == {way: seconds for way, (_, seconds) in heard.items() if seconds > limit}
    assert {way: [told] for way, told in BROKEN.items()} == {
        way: receiving.verdicts(canaries[way]) for way in BROKEN
    }
    receiving.dns.ways.clear()
    for way, sender in senders.items():
        receiving.host.require_nothing_betrayed(canaries[way])
        again = sender.new_canaries()
        if way not in REMEMBERED:
            assert ACCEPTED == receiving.hears(sender, sender.signs(again.message()))
            assert [("pass", "pass")] == receiving.verdicts(again)


def test_one_deadline_goes_for_all_that_is_asked(
    receiving: Receiving, sender: Sender, canaries: Canaries
) -> None:
    """Eight signatures of eight domains, and SPF: a silent DNS costs no more than for one."""
    message = canaries.message(number=1)
    others = [receiving.sender(Way.SILENT) for _ in range(7)]
    receiving.dns.ways |= dict.fromkeys(sender.names, Way.SILENT)
    for other in [*others, sender]:
        message = other.signs(message)
    began = time.monotonic()

    assert ACCEPTED == receiving.hears(sender, message)
    assert within(DEADLINE_SECONDS + SLACK_SECONDS, began)
    assert [("temperror", "temperror")] == receiving.verdicts(canaries)


def test_a_silent_dns_does_not_delay_other_mail(
    receiving: Receiving, sender: Sender, canaries: Canaries
) -> None:
    """Nor does one mail that waits for it hold the worker up."""
    silent = receiving.sender(Way.SILENT)
    message = silent.signs(silent.new_canaries().message())
    waiting = [threading.Thread(target=receiving.hears, args=(silent, message)) for _ in range(5)]
    for thread in waiting:
        thread.start()
    began = time.monotonic()
    assert ACCEPTED == receiving.hears(sender, sender.signs(canaries.message(number=1)))
    ended = time.monotonic()
    for thread in waiting:
        thread.join()

    # They all waited from beginning to end.
    assert ended - began < DEADLINE_SECONDS
    assert [("pass", "pass")] == receiving.verdicts(canaries)


def test_submissions_need_no_dns(receiving: Receiving, host: Host) -> None:
    """It may be dead: nobody asks it anything."""
    writer = host.writer()
    canaries = writer.new_canaries()
    receiving.dns.ways["*"] = Way.SILENT
    receiving.dns.asked.clear()
    began = time.monotonic()
    try:
        assert ACCEPTED == writer.hears(canaries.message(number=1), EVERYBODY)
    finally:
        del receiving.dns.ways["*"]

    assert within(DEADLINE_SECONDS, began)
    assert [] == receiving.dns.asked
    host.require_each_got_one(canaries, 1)
    host.require_nothing_betrayed(canaries)


# A body that is held until its hash is known


@dataclass(frozen=True, slots=True)
class Large:
    """A message so large that one can look at what is done with it."""

    sender: Sender
    canaries: Canaries
    message: bytes


@pytest.fixture(scope="module")
def large(receiving: Receiving) -> Large:
    sender = receiving.sender()
    canaries = sender.new_canaries()
    return Large(sender, canaries, sender.signs(canaries.message(body_octets=6_000_000)))


@contextmanager
def held(receiving: Receiving, large: Large) -> Iterator[smtplib.SMTP]:
    """A session in which all was sent; its worker is stopped while it holds the body."""
    with receiving.session(large.sender) as server:
        server.mail(large.sender.address)
        server.rcpt(BOB)
        server.docmd("DATA")
        server.send(large.message)
        (worker,) = receiving.host.workers("inbound")
        server.send(b".\r\n")
        try:
            stop_while_it_holds(receiving.host, worker)
            yield server
        finally:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGCONT)


def stop_while_it_holds(host: Host, worker: int) -> None:
    """Stop a worker at a moment when it has a file of its own."""
    deadline = time.monotonic() + 60
    while True:
        assert time.monotonic() < deadline
        os.kill(worker, signal.SIGSTOP)
        # Looked at when it cannot go on: between a look and a stop it could be done.
        wait_until(lambda: _is_stopped(worker), "stopped")
        if spilled(host, worker):
            return
        os.kill(worker, signal.SIGCONT)
        time.sleep(0.002)


def _is_stopped(pid: int) -> bool:
    stats = Path(f"/proc/{pid}/task").glob("*/stat")
    try:
        return all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in stats)
    except OSError:  # a thread has ended meanwhile
        return False


def spilled(host: Host, worker: int) -> list[Path]:
    """Return files without a name that a worker holds something in."""
    return canary.open_in(worker, host.stack.layout.state / "spill")


def test_a_held_body_is_not_readable_where_it_is_held(receiving: Receiving, large: Large) -> None:
    """On disk it is ciphertext; in the end it is verified, and forgotten."""
    stack = receiving.host.stack
    (worker,) = receiving.host.workers("inbound")
    before = len(receiving.verdicts(large.canaries))
    with held(receiving, large) as server:
        assert [] == canary.found(canary.stored_files(stack), large.canaries.words)
        os.kill(worker, signal.SIGCONT)
        assert ACCEPTED == reply(*server.getreply())

    assert [("pass", "pass")] == receiving.verdicts(large.canaries)[before:]
    assert [] == spilled(receiving.host, worker)


def test_a_client_that_vanishes_is_no_reason_to_lose_a_held_body(
    receiving: Receiving, large: Large
) -> None:
    """After its last dot the message is ours."""
    before = len(receiving.verdicts(large.canaries))
    with held(receiving, large) as server:
        server.close()
    wait_until(lambda: len(receiving.verdicts(large.canaries)) > before, "arrived")

    assert [("pass", "pass")] == receiving.verdicts(large.canaries)[before:]


def test_a_worker_killed_with_a_body_that_is_held_defers(
    receiving: Receiving, large: Large
) -> None:
    """451 by Postfix, nothing left behind, and the retry is accepted once."""
    host = receiving.host
    before = len(receiving.verdicts(large.canaries))
    with held(receiving, large) as server:
        (worker,) = host.workers("inbound")
        os.kill(worker, signal.SIGKILL)
        assert GONE == reply(*server.getreply())
    assert before == len(receiving.verdicts(large.canaries))
    host.wait_for_workers()

    assert ACCEPTED == receiving.hears(large.sender, large.message)
    assert [("pass", "pass")] == receiving.verdicts(large.canaries)[before:]


def test_a_reload_waits_for_a_body_that_is_held(receiving: Receiving, large: Large) -> None:
    """SIGHUP: the worker that holds it finishes; the next one takes what comes then."""
    host = receiving.host
    before = len(receiving.verdicts(large.canaries))
    other = large.sender.new_canaries()
    (worker,) = host.workers("inbound")
    with held(receiving, large) as server:
        host.stack.signal_daemon("milter", signal.SIGHUP)
        wait_until(lambda: bool(set(host.workers("inbound")) - {worker}), "new worker")
        message = large.sender.signs(other.message())
        assert ACCEPTED == receiving.hears(large.sender, message)
        os.kill(worker, signal.SIGCONT)
        assert ACCEPTED == reply(*server.getreply())

    assert [("pass", "pass")] == receiving.verdicts(large.canaries)[before:]
    assert [("pass", "pass")] == receiving.verdicts(other)
    wait_until(lambda: worker not in host.stack.pids("milter"), "left")


@pytest.mark.parametrize("limit", [66_000, 200_000])
def test_a_full_disk_defers_a_body_that_is_held(
    receiving: Receiving, host: Host, sender: Sender, canaries: Canaries, limit: int
) -> None:
    """451, nothing stored; with space again the same mail is accepted, and verifies."""
    message = sender.signs(canaries.message(body_octets=260_000, number=1))
    failures = lambda: host.stack.counter(  # noqa: E731
        "milter", "letterlock_failures_total", reason="spill_failed"
    )
    before = failures()
    (worker,) = host.workers("inbound")
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        assert DEFERRED == receiving.hears(sender, message)
        assert ACCEPTED == receiving.hears(sender, sender.signs(b"From: <a@b.test>\r\n\r\nx\r\n"))
        assert DEFERRED == receiving.hears(sender, message)
    finally:
        infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(worker, resource.RLIMIT_FSIZE, infinite)
    assert [] == receiving.verdicts(canaries)

    assert ACCEPTED == receiving.hears(sender, message)
    assert [("pass", "pass")] == receiving.verdicts(canaries)
    assert 2 == failures() - before
    assert [worker] == host.workers("inbound")
    assert [] == spilled(receiving.host, worker)


# Evidence


def carrying(sender: Sender, canaries: Canaries, number: int = 1) -> bytes:
    """Return a signed mail with the sender's certificate in it."""
    autocrypt = b"Autocrypt:" + field(sender.address, five_packets(sender.address)) + b"\r\n"
    names = "from:to:subject:date:message-id:autocrypt"
    return signed(autocrypt + canaries.message(number=number), sender.key, h=names)


def reports(host: Host, result: str) -> float:
    """Return how many reports ended so."""
    return host.stack.counter("milter", "letterlock_reports_total", result=result)


@pytest.mark.parametrize("how", ["dead", "deaf"])
def test_a_key_service_that_hears_no_report_costs_the_report_only(
    receiving: Receiving, host: Host, sender: Sender, canaries: Canaries, how: str
) -> None:
    """It dies when the mail is accepted, or takes no evidence: counted, and the mail is there."""
    receiving.hears(receiving.sender(), b"From: <a@b.test>\r\n\r\nBob is known.\r\n")
    before = reports(host, "unheard")
    deaf = host.keyservice.answering("/v1/sightings", keyservice_proxy.nothing)
    with host.without("keyservice", "killed") if how == "dead" else deaf:
        began = time.monotonic()
        assert ACCEPTED == receiving.hears(sender, carrying(sender, canaries))
        assert within(DEADLINE_SECONDS, began)
        wait_until(lambda: reports(host, "unheard") > before, "counted")

    assert 1 == reports(host, "unheard") - before
    assert [("pass", "pass")] == receiving.verdicts(canaries)
    # What was lost is told by the next mail.
    noted = reports(host, "noted")
    assert ACCEPTED == receiving.hears(sender, carrying(sender, canaries, 2))
    wait_until(lambda: reports(host, "noted") > noted, "told")
    assert known(host, sender)


def known(host: Host, sender: Sender) -> bool:
    """Whether mail to the sender can be encrypted."""
    found = PeerClient(host.provider.service).lookup(Mailbox.parse(sender.address))
    return found.outcome is PeerOutcome.FOUND


def test_a_key_service_that_hangs_delays_no_mail(
    receiving: Receiving, host: Host, sender: Sender, canaries: Canaries
) -> None:
    """Reports wait, up to a number; what is more is dropped, and counted."""
    receiving.hears(receiving.sender(), b"From: <a@b.test>\r\n\r\nBob is known.\r\n")
    senders = [receiving.sender() for _ in range(QUEUE + 4)]
    dropped, unheard = reports(host, "dropped"), reports(host, "unheard")
    host.keyservice.asked.clear()
    with host.without("keyservice", "hung"):
        for number, one in enumerate(senders):
            mail = Canaries(canaries.subject, author=one.new_canaries().author)
            began = time.monotonic()
            assert ACCEPTED == receiving.hears(one, carrying(one, mail, number))
            assert within(DEADLINE_SECONDS, began)
            wait_until(lambda: "/v1/sightings" in host.keyservice.asked, "one is being told")
        # No more than `report_queue` wait while one is told; who was given up meanwhile, on a
        # machine on which mail takes so long, has left his place to another.
        given_up = reports(host, "unheard") - unheard
        assert 3 - given_up <= reports(host, "dropped") - dropped <= 3

    assert [("pass", "pass")] * len(senders) == receiving.verdicts(canaries)

    def all_others_were_told() -> bool:
        lost = reports(host, "dropped") - dropped + reports(host, "unheard") - unheard
        return [known(host, one) for one in senders].count(True) == len(senders) - lost

    wait_until(all_others_were_told, "told")


# Last, as it ends the DNS


def test_without_a_dns_mail_comes_in_at_once(
    receiving: Receiving, sender: Sender, canaries: Canaries
) -> None:
    """Nobody listens there: that is known without waiting."""
    receiving.dns.__exit__()
    began = time.monotonic()

    assert ACCEPTED == receiving.hears(sender, sender.signs(canaries.message(number=1)))
    assert within(DEADLINE_SECONDS, began)
    assert [("temperror", "temperror")] == receiving.verdicts(canaries)
