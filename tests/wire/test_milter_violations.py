"""The daemon and peers that break every rule of the milter protocol.

What libmilter does about each is known exactly: it hangs up, or it ends the transaction
and says nothing, so that an MTA waits for its timeout and defers; or the answer is ours,
and then it is 451. Whatever it was, the daemon goes on serving, and nothing of the broken
transaction shows in the next mail.
"""

import os
import struct
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path

import pytest

import canary
from fake_keyservice import MemoryOwner
from milter_process import MilterProcess
from milterproto import POSTFIX_ACTIONS, POSTFIX_PROTOCOL, Closed, MilterClient, packet, strings
from stack import wait_until

ALICE = "<alice@example.test>"
BOB = "<bob@example.test>"
CANARY = "canaryviolation2c7be4"
FIELD = (b"Subject", f" {CANARY}".encode())
BODY = f"{CANARY}\r\n".encode()


class Expected(Enum):
    """What becomes of a violation."""

    CLOSED = "the connection"
    SILENCE = "the transaction, without an answer"
    DEFERRED = "the transaction, with 451"


CLOSED, SILENCE, DEFERRED = Expected.CLOSED, Expected.SILENCE, Expected.DEFERRED


@pytest.fixture(scope="module")
def alice() -> MemoryOwner:
    return MemoryOwner("alice@example.test")


@pytest.fixture(scope="module")
def milter(alice: MemoryOwner) -> Iterator[MilterProcess]:
    with MilterProcess(alice, MemoryOwner("bob@example.test")) as milter:
        yield milter


def mail(client: MilterClient) -> None:
    client.mail()


def rcpt(client: MilterClient) -> None:
    client.mail()
    assert 250 == client.rcpt(ALICE).code


def header(client: MilterClient) -> None:
    rcpt(client)
    client.header(*FIELD)


def eoh(client: MilterClient) -> None:
    header(client)
    client.eoh()


def body(client: MilterClient) -> None:
    eoh(client)
    client.body(BODY)


def nothing(_: MilterClient) -> None:
    pass


Step = Callable[[MilterClient], None]
L = packet(b"L", FIELD[0] + b"\0" + FIELD[1] + b"\0")
N, E, A = packet(b"N"), packet(b"E"), packet(b"A")
B = packet(b"B", BODY)
M = packet(b"M", strings("<sender@outside.test>"))
OPTNEG = packet(b"O", struct.pack(">III", 6, POSTFIX_ACTIONS, POSTFIX_PROTOCOL))

OUT_OF_ORDER: list[tuple[str, Step, bytes, Expected]] = [
    ("end of message before all", nothing, E, SILENCE),
    ("recipient before MAIL", nothing, packet(b"R", strings(BOB)), SILENCE),
    ("header before MAIL", nothing, L + N + B + E, SILENCE),
    ("end of header before MAIL", nothing, N + B + E, SILENCE),
    ("body before MAIL", nothing, B + E, SILENCE),
    ("negotiation twice", nothing, OPTNEG, SILENCE),
    ("negotiation in a transaction", header, OPTNEG + N + B + E, SILENCE),
    ("header before a recipient", mail, L + N + B + E, SILENCE),
    ("end of message before a recipient", mail, E, SILENCE),
    ("MAIL twice", mail, M + L + N + B + E, SILENCE),
    ("MAIL after recipients", rcpt, M + L + N + B + E, SILENCE),
    ("MAIL after header", header, M + N + B + E, SILENCE),
    ("MAIL after body", body, M + E, SILENCE),
    ("end of message without header section", rcpt, E, DEFERRED),
    ("body without header section", rcpt, B + E, DEFERRED),
    ("body before the end of header", header, B + E, SILENCE),
    ("end of message before the end of header", header, E, SILENCE),
    ("recipient after header", header, packet(b"R", strings(BOB)) + N + B + E, SILENCE),
    ("end of header twice", eoh, N + B + E, SILENCE),
    ("header after the end of header", eoh, L + B + E, SILENCE),
    ("header after body", body, L + E, SILENCE),
    ("end of header after body", body, N + E, SILENCE),
    ("recipient after body", body, packet(b"R", strings(BOB)) + E, SILENCE),
    ("body in the end of message", eoh, packet(b"E", BODY), SILENCE),
    ("abort, then the rest", header, A + N + B + E, SILENCE),
    ("abort after body, then the end", body, A + E, SILENCE),
    ("DATA, which was negotiated away, before a recipient", mail, packet(b"T") + L + E, SILENCE),
    ("HELO in a transaction", header, packet(b"H", b"h\0") + N + B + E, SILENCE),
]

MALFORMED: list[tuple[str, Step, bytes, Expected]] = [
    ("packet without length", nothing, b"\0\0\0\0M", CLOSED),
    ("garbage", nothing, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", CLOSED),
    ("unknown command", nothing, packet(b"?", b"x"), CLOSED),
    ("unknown command in a transaction", header, packet(b"z", b"x"), CLOSED),
    ("command that is a NUL", nothing, packet(b"\0"), CLOSED),
    ("MAIL without NUL", nothing, packet(b"M", b"<a@b.test>"), CLOSED),
    ("MAIL without argument", nothing, packet(b"M"), CLOSED),
    ("recipient without NUL", mail, packet(b"R", b"<alice@example.test>"), CLOSED),
    ("recipient without argument", mail, packet(b"R"), CLOSED),
    ("header without NUL", rcpt, packet(b"L", b"Subject\0 x"), CLOSED),
    ("header without value", rcpt, packet(b"L", b"Subject\0"), CLOSED),
    ("header without name", rcpt, packet(b"L", b"\0 x\0"), CLOSED),
    ("empty header", rcpt, packet(b"L"), CLOSED),
    ("header name that is not UTF-8", rcpt, packet(b"L", b"Sub\xff\0 x\0") + N + B + E, SILENCE),
    ("header name that is not ASCII", rcpt, packet(b"L", b"S\xc3\xbc\0 x\0") + N + B + E, DEFERRED),
    ("header field too long", rcpt, packet(b"L", b"X\0" + b"x" * 65_533 + b"\0"), CLOSED),
    ("header of a megabyte", rcpt, packet(b"L", b"X\0" + b"x" * 1_048_576 + b"\0"), CLOSED),
    ("chunk one octet too long", eoh, packet(b"B", b"x" * 65_536), CLOSED),
    ("chunk of a megabyte", eoh, packet(b"B", b"x" * 1_048_577), CLOSED),
    ("empty chunk", eoh, packet(b"B"), CLOSED),
    ("length of two gigabytes", eoh, b"\x7f\xff\xff\xffBxxxx", CLOSED),
    ("length of four gigabytes", eoh, b"\xff\xff\xff\xffBxxxx", CLOSED),
    ("empty macro list", nothing, packet(b"D"), CLOSED),
    ("queue ID that is not UTF-8", header, packet(b"D", b"Ni\0\xff\0") + N + B + E, DEFERRED),
    ("negotiation again, cut short", nothing, packet(b"O", b"\0\0\0\6"), SILENCE),
]


def good(client: MilterClient, alice: MemoryOwner, word: str) -> None:
    """A whole transaction, and nothing in it but its own words."""
    fields = [(b"From", b" eve@outside.test"), (b"Subject", f" {word}".encode())]
    ended = client.transact([ALICE], fields, f"{word}\r\n".encode())
    expected = f"From: eve@outside.test\r\nSubject: {word}\r\n\r\n{word}\r\n".encode()

    assert 250 == ended.code
    assert [] == ended.deleted
    assert alice.decrypt(ended.body or b"").endswith(b'hp="clear"\r\n' + expected)


@pytest.mark.parametrize(
    ("begin", "violation", "expected"),
    [pytest.param(*row[1:], id=row[0]) for row in OUT_OF_ORDER + MALFORMED],
)
def test_a_violation_harms_nobody_else(
    milter: MilterProcess, alice: MemoryOwner, begin: Step, violation: bytes, expected: Expected
) -> None:
    """It has exactly the expected end, and the next mail is encrypted as ever."""
    with milter.client() as client:
        begin(client)
        client.raw(violation)
        match expected:
            case Expected.CLOSED:
                assert client.is_closed()
            case Expected.DEFERRED:
                ended = client.ended()
                assert (451, None) == (ended.code, ended.body)
                good(client, alice, "same session")
            case Expected.SILENCE:
                if violation.startswith(packet(b"H", b"h\0")):
                    assert 250 == client.reply().code  # of HELO itself
                client.abort()
                good(client, alice, "same session")
        # An answer nobody waited for would be taken for that to something else.
        assert expected is CLOSED or not client.pending()
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


@pytest.mark.parametrize(
    "begin", [nothing, mail, rcpt, header, eoh, body], ids=lambda step: step.__name__
)
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


@pytest.mark.parametrize(
    "begin", [nothing, mail, rcpt, header, eoh, body], ids=lambda step: step.__name__
)
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

    def spilled() -> list[str]:
        opened = [os.readlink(file) for pid in milter.pids for file in canary.open_files(pid)]
        return [name for name in opened if name.startswith(str(milter.spill))]

    with milter.client() as client:
        eoh(client)
        client.body(BODY + bytes(200_000))
        wait_until(lambda: bool(spilled()), "spill file")
        client.abort()
        wait_until(lambda: not spilled(), "spill file closed", 10)


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
    wait_until(lambda: not milter.pids, "milter stopped", 15, milter.log_file)
    left = milter.events("worker_left")

    assert 1 == len(workers)
    assert [0] == [event["sessions_open"] for event in left]
    assert not Path(milter.socket).exists()
