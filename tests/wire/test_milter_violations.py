"""The daemon and peers that break every rule of the milter protocol.

What libmilter does about each is known exactly: it hangs up, or it ends the transaction
and says nothing, so that an MTA waits for its timeout and defers; or the answer is ours,
and then it is 451. Whatever it was, the daemon goes on serving, and nothing of the broken
transaction shows in the next mail.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

import canary
from fake_keyservice import MemoryOwner
from milter_process import MilterProcess
from milterproto import Closed, MilterClient, packet, strings
from stack import wait_until
from violations import (
    ALICE,
    BOB,
    BODY,
    CANARY,
    FIELD,
    STEPS,
    VIOLATIONS,
    B,
    E,
    L,
    M,
    N,
    Step,
    Violation,
    eoh,
)


@pytest.fixture(scope="module")
def alice() -> MemoryOwner:
    return MemoryOwner("alice@example.test")


@pytest.fixture(scope="module")
def milter(alice: MemoryOwner) -> Iterator[MilterProcess]:
    with MilterProcess(alice, MemoryOwner("bob@example.test")) as milter:
        yield milter


def good(client: MilterClient, alice: MemoryOwner, word: str) -> None:
    """A whole transaction, and nothing in it but its own words."""
    fields = [(b"From", b" eve@outside.test"), (b"Subject", f" {word}".encode())]
    ended = client.transact([ALICE], fields, f"{word}\r\n".encode())
    expected = f"From: eve@outside.test\r\nSubject: {word}\r\n\r\n{word}\r\n".encode()

    assert 250 == ended.code
    assert [] == ended.deleted
    assert alice.decrypt(ended.body or b"").endswith(b'hp="clear"\r\n' + expected)


@pytest.mark.parametrize("violation", VIOLATIONS, ids=lambda violation: violation.name)
def test_a_violation_harms_nobody_else(
    milter: MilterProcess, alice: MemoryOwner, violation: Violation
) -> None:
    """It has exactly the expected end, and the next mail is encrypted as ever."""
    with milter.client() as client:
        violation.commit(client, lambda client: good(client, alice, "same session"))
    with milter.client() as client:
        good(client, alice, "other session")


@pytest.mark.parametrize(
    "first",
    [M, E, L, b"\0" * 64, b"\xff" * 64, b"EHLO mx.example.test\r\n", packet(b"O"), b"\x16\3\1\2\0"],
    ids=["MAIL", "end", "header", "NULs", "ones", "SMTP", "empty offer", "TLS"],
)
def test_nothing_goes_before_negotiation(
    milter: MilterProcess, alice: MemoryOwner, first: bytes
) -> None:
    """Whoever begins with anything else gets no further."""
    with milter.stranger() as client:
        client.raw(first)
        client.raw(packet(b"R", strings(ALICE)) + L + N + B + E)
        client.socket.shutdown(1)
        assert_no_consent(client)
    with milter.client() as client:
        good(client, alice, "after it")


def assert_no_consent(client: MilterClient) -> None:
    """Whatever is said until the end, it is nowhere 'continue' or 'accept'."""
    while True:
        try:
            reply = client.reply()
        except Closed:
            return
        assert reply.command in (b"y", b"t", b"r")


@pytest.mark.parametrize("begin", STEPS, ids=lambda step: step.__name__)
@pytest.mark.parametrize("cut", ["at once", "in a length", "in a packet", "at the end", "quit"])
def test_a_peer_that_hangs_up_leaves_nothing(
    milter: MilterProcess, alice: MemoryOwner, begin: Step, cut: str
) -> None:
    """At every step, between packets and within them."""
    pieces = {
        "at once": b"",
        "in a length": b"\0\0",
        "in a packet": packet(b"B", b"x" * 1000)[:500],
        "at the end": E,
        "quit": packet(b"Q"),
    }
    with milter.client() as client:
        begin(client)
        client.raw(pieces[cut])
    with milter.client() as client:
        good(client, alice, "after it")


@pytest.mark.parametrize("begin", STEPS, ids=lambda step: step.__name__)
def test_abort_anywhere_ends_the_transaction_only(
    milter: MilterProcess, alice: MemoryOwner, begin: Step
) -> None:
    """RSET, or a client that is gone; also twice."""
    with milter.client() as client:
        begin(client)
        client.abort()
        client.abort()
        good(client, alice, "same session")
        assert not client.pending()


def test_an_abort_at_the_last_moment_delivers_nothing(
    milter: MilterProcess, alice: MemoryOwner
) -> None:
    """A recipient of a transaction that was broken off gets nothing by a later one."""
    with milter.client() as client:
        client.mail()
        client.rcpt(BOB)
        client.header(*FIELD)
        client.eoh()
        client.body(BODY)
        client.abort()
        good(client, alice, "for one only")

    assert [] == milter.reentry.received


def test_an_abort_gives_the_disk_back(milter: MilterProcess) -> None:
    """At once, not when the session's next transaction comes."""

    def spilled() -> list[Path]:
        return [file for pid in milter.pids for file in canary.open_in(pid, milter.spill)]

    with milter.client() as client:
        eoh(client)
        client.body(BODY + bytes(200_000))
        wait_until(lambda: bool(spilled()), "spill file")
        client.abort()
        wait_until(lambda: not spilled(), "spill file closed")


def test_the_longest_field_of_postfix_is_kept(milter: MilterProcess, alice: MemoryOwner) -> None:
    """Postfix shows 60,000 octets of one, and libmilter takes a little more."""
    value = b" " + b"x" * 30_000 + b"\n y" * 10_000
    with milter.client() as client:
        ended = client.transact([ALICE], [(b"X-Long", value)], b"body\r\n")

    assert 250 == ended.code
    assert value.replace(b"\n", b"\r\n") in alice.decrypt(ended.body or b"")


# Last in this file: what all of it has left behind.


def test_violations_leave_no_plaintext_and_no_files(milter: MilterProcess) -> None:
    """Log, metrics, spill directory, open files."""
    files = [path for path in milter.directory.rglob("*") if path.is_file()]
    files += [file for pid in milter.pids for file in canary.open_files(pid)]

    assert [] == canary.found(files, [CANARY])
    assert [] == list(milter.spill.iterdir())


def test_violations_leave_no_session_open(milter: MilterProcess) -> None:
    """Had one been forgotten, the worker would not leave before its time is up."""
    workers = milter.workers
    milter.signal(15)
    wait_until(lambda: not milter.pids, "milter stopped", log=milter.log_file)
    left = milter.events("worker_left")

    assert 1 == len(workers)
    assert [0] == [event["sessions_open"] for event in left]
    assert not Path(milter.socket).exists()
