"""Workers of submission die, and clients vanish: nothing lost, nothing unsigned, nothing in clear.

The last test is the test of the others: a milter that forgets to sign, or to encrypt, is found.
"""

import os
import signal
import smtplib
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import canary
from canary import Canaries
from fault_host import (
    ACCEPTED,
    EVERYBODY,
    LOCAL,
    PEERS,
    UNKNOWN,
    Host,
    Reply,
    Writer,
    reply,
)
from mta import Campaign, expected
from stack import PASSWORD
from stack.processes import Session, spawn

SUPPORT = Path(canary.__file__).parent

GONE: Reply = (451, "4.7.1")
"""Postfix' own reply where a milter does not answer (milter_default_action)."""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with ExitStack() as resources:
        yield Host(tmp_path_factory.mktemp("workers"), resources, workers=2)


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


class Client:
    """A mail program that does one step after the other."""

    STEPS = ("EHLO", "AUTH", "MAIL", "RCPT", "DATA", "half of the message", "all but the last dot")

    def __init__(self, host: Host, writer: Writer, message: bytes) -> None:
        self.server: smtplib.SMTP = host.stack.submission()
        half = len(message) // 2
        self._commands = [
            self.server.ehlo,
            lambda: self.server.login(writer.address, PASSWORD),
            lambda: self.server.mail(writer.address),
            lambda: [self.server.rcpt(address) for address in EVERYBODY][-1],
            lambda: self.server.docmd("DATA"),
            lambda: self.server.send(message[:half]),
            lambda: self.server.send(message[half:]),
        ]

    def until(self, step: str) -> None:
        """Do everything up to `step`."""
        while len(self._commands) > len(self.STEPS) - 1 - self.STEPS.index(step):
            self._commands.pop(0)()

    def end(self) -> Reply:
        """Do the rest; return the first reply that is no consent, or else the last one."""
        for command in self._commands:
            said = command()
            if said is not None and said[0] >= 400:
                return reply(*said)
        self.server.send(b".\r\n")
        return reply(*self.server.getreply())


@pytest.mark.parametrize("step", Client.STEPS)
def test_a_client_that_vanishes_leaves_nothing(
    host: Host, writer: Writer, canaries: Canaries, step: str
) -> None:
    """Until its last dot a message is the client's."""
    client = Client(host, writer, canaries.message(body_octets=200_000, number=1))
    client.until(step)
    client.server.close()

    host.require_each_got_one(canaries, 1, [])
    assert [] == host.sink.messages


@pytest.mark.parametrize("step", Client.STEPS)
def test_a_worker_killed_at_any_step_defers(
    host: Host, writer: Writer, canaries: Canaries, step: str
) -> None:
    """451 at the next reply that is the milter's; the retry reaches everybody once."""
    host.wait_for_workers()
    message = canaries.message(body_octets=200_000, number=1)
    client = Client(host, writer, message)
    client.until(step)
    for pid in host.workers():
        os.kill(pid, signal.SIGKILL)

    assert GONE == client.end()
    client.server.close()
    writer.insists(message, EVERYBODY)
    host.require_each_got_one(canaries, 1)


def test_a_worker_killed_at_the_end_of_the_message_defers(
    host: Host, writer: Writer, canaries: Canaries
) -> None:
    """Postfix waits for the verdict, and none comes."""
    host.wait_for_workers()
    message = canaries.message(number=1)
    client = Client(host, writer, message)
    client.until("all but the last dot")
    for pid in host.workers():
        os.kill(pid, signal.SIGSTOP)
    client.server.send(b".\r\n")
    time.sleep(0.3)  # the end of the message is on its way to a worker that cannot answer
    for pid in host.workers():
        os.kill(pid, signal.SIGKILL)

    assert GONE == reply(*client.server.getreply())
    client.server.close()
    writer.insists(message, EVERYBODY)
    host.require_each_got_one(canaries, 1)


@pytest.mark.parametrize("number", [1, 3])
def test_a_worker_killed_between_two_copies_delivers_each_once(
    host: Host, writer: Writer, canaries: Canaries, number: int
) -> None:
    """What was taken is not sent again: a marker says so to whichever worker comes next."""
    host.wait_for_workers()
    message = canaries.message(number=1)
    begun = 0

    def kill(line: bytes) -> bool:
        nonlocal begun
        begun += line.upper().startswith(b"MAIL")
        if begun <= number:
            return True
        host.reentry.from_milter = lambda _: True
        for pid in host.workers():
            os.kill(pid, signal.SIGKILL)
        return False

    host.reentry.from_milter = kill
    assert GONE == writer.hears(message, EVERYBODY)
    host.settle()
    assert number == sum(host.received(address, canaries)[1] for address in EVERYBODY)
    writer.insists(message, EVERYBODY)
    host.require_each_got_one(canaries, 1)


@pytest.mark.timeout(900)
def test_workers_killed_all_the_time_lose_nothing(
    host: Host, writer: Writer, canaries: Canaries
) -> None:
    """SIGKILL every 300 ms under load; each message is with each recipient, and once."""
    count = 200

    def recipients(number: int) -> Sequence[str]:
        return EVERYBODY if number % 10 == 0 else [EVERYBODY[number % 5]]

    campaign = Campaign(writer, canaries, recipients)
    threads = campaign.run(count)
    kills = 0
    while kills < 20 and any(thread.is_alive() for thread in threads):
        time.sleep(0.3)
        for pid in host.workers()[:1]:
            os.kill(pid, signal.SIGKILL)
            kills += 1
    for thread in threads:
        thread.join()
    host.settle()

    assert [] == campaign.errors
    assert kills >= 5
    assert campaign.deferred > 0
    doubled = 0
    for address in EVERYBODY:
        got = host.received(address, canaries)
        assert expected(count, recipients, address) == set(got)
        twice = {number for number, times in got.items() if times > 1} - campaign.unheard()
        # A copy whose acceptance the dying worker never read may come again; no other mail.
        assert {number for number in twice if number % 10} == set()
        doubled += len(twice)
    # One kill can meet one such moment in each of four sessions; it hardly ever does.
    assert doubled <= kills


def test_without_a_milter_nothing_is_handed_in(
    host: Host, writer: Writer, canaries: Canaries
) -> None:
    """`default_action=tempfail`: a daemon that is not there is no way around it."""
    message = canaries.message(number=1)
    certificate = host.stack.client_certificate(writer.address)
    with host.without("milter", "killed"):
        # Postfix has no session with the milter, and says so as early as it can.
        assert (454, "4.3.0") == writer.hears(message, EVERYBODY)
        assert GONE == Writer(host.stack, writer.address, certificate).hears(message, EVERYBODY)

    assert ACCEPTED == writer.hears(message, EVERYBODY)
    host.require_each_got_one(canaries, 1)


@contextmanager
def substitute(host: Host, wrong: str) -> Iterator[None]:
    """Serve submissions by a milter with a fault in it."""
    host.stack.stop_daemon("milter", 45)
    command = [sys.executable, str(SUPPORT / "substitute_milter.py")]
    command += ["--config", str(host.stack.layout.config / "letterlock.toml")]
    session: Session = spawn(
        "substitute",
        [*command, "--role", "submission", "--wrong", wrong],
        host.stack.log_file("substitute"),
        host.stack.layout.ledger,
        {},
    )
    try:
        yield
    finally:
        session.stop(0)
        host.stack.start_daemon("milter")


def test_this_search_finds_a_milter_that_does_not_sign(host: Host, writer: Writer) -> None:
    """The test of the tests: of what leaves, in the clear or encrypted, each is named."""
    canaries = writer.new_canaries()
    with substitute(host, "unsigned"):
        writer.insists(canaries.message(number=1), EVERYBODY)
        host.require_each_got_one(canaries, 1)

    assert {f"{to}: signatures: {{}}" for to in (*PEERS, UNKNOWN)} == set(host.violations(canaries))
    host.sink.messages.clear()


def test_this_search_finds_a_milter_that_leaks(host: Host, writer: Writer) -> None:
    """One message in seven passed in clear, to a mailbox outside and one here."""
    canaries = writer.new_canaries()
    to = [PEERS[0], LOCAL[0]]
    with substitute(host, "leak"):
        for number in range(7):
            writer.insists(canaries.message(number=number), to)
        host.settle()

    found = host.violations(canaries)
    assert any(line.startswith(PEERS[0]) and line.endswith("not encrypted") for line in found)
    assert any(line.startswith(PEERS[0]) and line.endswith("in the clear") for line in found)
    stored = canary.found(canary.stored_files(host.stack), canaries.words)
    assert any(f"/{LOCAL[0].partition('@')[0]}/Maildir/" in line for line in stored)
    host.sink.messages.clear()
