"""Every way to break the rules of the milter protocol, and what libmilter makes of each.

It hangs up, or it ends the transaction and says nothing, so that an MTA waits for its timeout and
defers; or the answer is ours, and then it is 451.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from milterproto import (
    NR_HELO,
    POSTFIX_ACTIONS,
    POSTFIX_PROTOCOL,
    MilterClient,
    packet,
    strings,
)

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

Step = Callable[[MilterClient], None]


@dataclass(frozen=True, slots=True)
class Violation:
    """What is sent after which step."""

    name: str
    begin: Step
    octets: bytes
    expected: Expected

    def commit(self, client: MilterClient, good: Step) -> None:
        """Commit it: it has exactly the expected end. `good` is a mail as any other."""
        self.begin(client)
        client.raw(self.octets)
        match self.expected:
            case Expected.CLOSED:
                assert client.is_closed()
                return
            case Expected.DEFERRED:
                ended = client.ended()
                assert (451, None) == (ended.code, ended.body)
            case Expected.SILENCE:
                if self.octets.startswith(packet(b"H", b"h\0")):
                    self._hear_helo(client)
                client.abort()
        good(client)
        # An answer nobody waited for would be taken for that to something else.
        assert not client.pending()

    def _hear_helo(self, client: MilterClient) -> None:
        if not client.protocol & NR_HELO:
            assert 250 == client.reply().code


def mail(client: MilterClient) -> None:
    client.mail()


def rcpt(client: MilterClient) -> None:
    client.mail()
    assert 250 == client.rcpt(ALICE).code


def header(client: MilterClient) -> None:
    rcpt(client)
    client.header(b"From", b" bob@example.test")
    client.header(*FIELD)


def eoh(client: MilterClient) -> None:
    header(client)
    client.eoh()


def body(client: MilterClient) -> None:
    eoh(client)
    client.body(BODY)


def nothing(_: MilterClient) -> None:
    pass


L = packet(b"L", FIELD[0] + b"\0" + FIELD[1] + b"\0")
N, E, A = packet(b"N"), packet(b"E"), packet(b"A")
B = packet(b"B", BODY)
M = packet(b"M", strings("<sender@outside.test>"))
OPTNEG = packet(b"O", struct.pack(">III", 6, POSTFIX_ACTIONS, POSTFIX_PROTOCOL))

_OUT_OF_ORDER: list[tuple[str, Step, bytes, Expected]] = [
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

_MALFORMED: list[tuple[str, Step, bytes, Expected]] = [
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

VIOLATIONS = [Violation(*row) for row in _OUT_OF_ORDER + _MALFORMED]
STEPS: list[Step] = [nothing, mail, rcpt, header, eoh, body]
"""How far a transaction may have come."""
