"""The milter protocol from the MTA's side, octet by octet, obedient or not.

Written against libmilter's own mfdef.h (protocol version 6) and what Postfix sends, apart
from the code under test. `MilterClient` speaks as Postfix does; `send` and `raw` break
whatever rule a test wants broken.
"""

import select
import socket
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

VERSION = 6
# What Postfix 3.7 offers (milter8.c): bits 0..8 and 0..20.
POSTFIX_ACTIONS = 0x1FF
POSTFIX_PROTOCOL = 0x1FFFFF

# mfapi.h, SMFIF_*.
ADDHDRS, CHGBODY, ADDRCPT, DELRCPT, CHGHDRS = 0x01, 0x02, 0x04, 0x08, 0x10
QUARANTINE, CHGFROM, ADDRCPT_PAR, SETSYMLIST = 0x20, 0x40, 0x80, 0x100

# mfdef.h, SMFIP_*.
NO_CONNECT, NO_HELO, NO_MAIL, NO_RCPT = 0x01, 0x02, 0x04, 0x08
NO_BODY, NO_HEADERS, NO_EOH, NR_HEADER = 0x10, 0x20, 0x40, 0x80
NO_UNKNOWN, NO_DATA, SKIP, RCPT_REJECTED = 0x100, 0x200, 0x400, 0x800
NR_CONNECT, NR_HELO, NR_MAIL, NR_RCPT = 0x1000, 0x2000, 0x4000, 0x8000
NR_DATA, NR_UNKNOWN, NR_EOH, NR_BODY = 0x10000, 0x20000, 0x40000, 0x80000
HEADER_LEADING_SPACE = 0x100000

CHUNK_OCTETS = 65_535
"""MILTER_CHUNK_SIZE."""

CONTINUE, ACCEPT, TEMPFAIL, REJECT, REPLY_CODE = b"c", b"a", b"t", b"r", b"y"
_FINAL = (CONTINUE, ACCEPT, TEMPFAIL, REJECT, REPLY_CODE, b"d", b"s")

TIMEOUT_SECONDS = 120.0


class Closed(Exception):
    """The milter ended the connection."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One packet of the milter."""

    command: bytes
    octets: bytes = b""

    @property
    def code(self) -> int:
        """The SMTP reply code that the peer reads; 250 where the milter has no objection."""
        match self.command:
            case b"c" | b"a":
                return 250
            case b"t":
                return 451
            case b"r":
                return 550
            case b"y":
                return int(self.octets[:3])
            case other:
                raise AssertionError(f"{other!r} is no answer to an SMTP command")


@dataclass(slots=True)
class Ended:
    """What the milter wanted at the end of a message, and its last word."""

    reply: Reply
    body: bytes | None = None
    headers: list[tuple[bytes, int, bytes]] = field(default_factory=list)
    """smfi_chgheader: name, occurrence, value; an empty value deletes."""

    additions: list[tuple[bytes, bytes]] = field(default_factory=list)
    insertions: list[tuple[int, bytes, bytes]] = field(default_factory=list)
    """smfi_insheader: how many fields stand before it, name, value."""

    deleted: list[bytes] = field(default_factory=list)
    added: list[bytes] = field(default_factory=list)

    @property
    def code(self) -> int:
        """See `Reply.code`."""
        return self.reply.code

    def header_section(self, arrived: Sequence[tuple[bytes, bytes]]) -> bytes:
        """Return what Postfix makes of the header fields that `arrived`."""
        fields: list[tuple[bytes, bytes] | None] = list(arrived)
        for name, occurrence, value in self.headers:
            of_name = [i for i, f in enumerate(arrived) if f[0].lower() == name.lower()]
            if occurrence > len(of_name):
                fields.append((name, value))
            else:
                fields[of_name[occurrence - 1]] = (name, value) if value else None
        kept = [f for f in fields if f is not None] + self.additions
        for index, name, value in self.insertions:
            kept.insert(index, (name, value))
        return b"".join(name + b":" + value + b"\n" for name, value in kept)


class MilterClient:
    """A connection to a milter; a context manager that hangs up."""

    def __init__(self, address: str, timeout: float = TIMEOUT_SECONDS) -> None:
        """`address`: path of a unix socket."""
        self.protocol = 0
        self.actions = 0
        self.identity: dict[bytes, bytes] = {}
        """Macros that come with each MAIL: who has been authenticated."""

        self.sender = "<sender@outside.test>"
        """Where MAIL is not told otherwise."""

        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def raw(self, octets: bytes) -> None:
        """Send octets that need not be a packet. That nobody takes them is no error."""
        with suppress(OSError):
            self.socket.sendall(octets)

    def send(self, command: bytes, octets: bytes = b"") -> None:
        """Send one packet."""
        self.raw(packet(command, octets))

    def reply(self) -> Reply:
        """Return the next packet. Raises Closed."""
        (length,) = struct.unpack(">I", self._exactly(4))
        octets = self._exactly(length)
        return Reply(octets[:1], octets[1:])

    def is_closed(self) -> bool:
        """Whether the milter hangs up; waits for it."""
        try:
            self.reply()
        except Closed:
            return True
        return False

    def pending(self) -> bool:
        """Whether the milter has said something that nobody has read yet."""
        readable, _, _ = select.select([self.socket], [], [], 0)
        return bool(readable)

    def negotiate(
        self,
        actions: int = POSTFIX_ACTIONS,
        protocol: int = POSTFIX_PROTOCOL,
        version: int = VERSION,
    ) -> Self:
        """Offer, and remember what was taken."""
        self.send(b"O", struct.pack(">III", version, actions, protocol))
        reply = self.reply()
        if reply.command != b"O":
            raise AssertionError(f"{reply} instead of SMFIC_OPTNEG")
        _, self.actions, self.protocol = struct.unpack(">III", reply.octets[:12])
        return self

    def connect(self, name: str, address: str) -> Reply | None:
        """A client with an IPv4 address; None where no reply is due."""
        self.send(b"C", strings(name) + struct.pack(">cH", b"4", 40_000) + strings(address))
        return self._due(NR_CONNECT)

    def mail(self, sender: str = "", *parameters: str) -> Reply | None:
        """MAIL; None where no reply is due."""
        self.macros(b"M", {b"i": b"4F00"} | self.identity)
        self.send(b"M", strings(sender or self.sender, *parameters))
        return self._due(NR_MAIL)

    def rcpt(self, recipient: str, *parameters: str) -> Reply:
        """RCPT."""
        self.send(b"R", strings(recipient, *parameters))
        return self.reply()

    def header(self, name: bytes, value: bytes) -> Reply | None:
        """One header field; `value` with its leading space, folds as LF."""
        self.send(b"L", name + b"\0" + value + b"\0")
        return self._due(NR_HEADER)

    def eoh(self) -> Reply | None:
        """The end of the header section."""
        self.send(b"N")
        return self._due(NR_EOH)

    def body(self, octets: bytes) -> None:
        """The body, in chunks as Postfix makes them."""
        for start in range(0, len(octets), CHUNK_OCTETS):
            self.send(b"B", octets[start : start + CHUNK_OCTETS])
            self._due(NR_BODY)

    def end(self) -> Ended:
        """The end of the message."""
        self.send(b"E")
        return self.ended()

    def ended(self) -> Ended:
        """Collect what the milter asks for until its last word."""
        ended = Ended(Reply(CONTINUE))
        while True:
            reply = self.reply()
            parts = reply.octets.split(b"\0")
            match reply.command:
                case b"b":
                    ended.body = (ended.body or b"") + reply.octets
                case b"m":
                    name, value, *_ = reply.octets[4:].split(b"\0")
                    ended.headers.append((name, int.from_bytes(reply.octets[:4], "big"), value))
                case b"h":
                    ended.additions.append((parts[0], parts[1]))
                case b"i":
                    name, value, *_ = reply.octets[4:].split(b"\0")
                    ended.insertions.append((int.from_bytes(reply.octets[:4], "big"), name, value))
                case b"-":
                    ended.deleted.append(parts[0])
                case b"+" | b"2":
                    ended.added.append(parts[0])
                case b"p":
                    pass
                case command if command in _FINAL:
                    ended.reply = reply
                    return ended
                case command:
                    raise AssertionError(f"an action nobody expected: {command!r}")

    def abort(self) -> None:
        """RSET, or the client is gone: the transaction ends."""
        self.send(b"A")

    def quit(self) -> None:
        """The session ends."""
        self.send(b"Q")

    def macros(self, command: bytes, values: dict[bytes, bytes]) -> None:
        """Macro values for the command that follows."""
        pairs = b"".join(name + b"\0" + value + b"\0" for name, value in values.items())
        self.send(b"D", command + pairs)

    def transact(
        self,
        recipients: Iterable[str],
        fields: Iterable[tuple[bytes, bytes]],
        body: bytes,
        sender: str = "",
    ) -> Ended:
        """A whole transaction. Where all recipients are refused, it ends there."""
        self.mail(sender)
        refused = [r for recipient in recipients if (r := self.rcpt(recipient)).code != 250]
        if refused:
            self.abort()
            return Ended(refused[0])
        for name, value in fields:
            self.header(name, value)
        self.eoh()
        self.body(body)
        return self.end()

    def _due(self, without_reply: int) -> Reply | None:
        return None if self.protocol & without_reply else self.reply()

    def _exactly(self, count: int) -> bytes:
        octets = b""
        while len(octets) < count:
            try:
                piece = self.socket.recv(count - len(octets))
            except ConnectionError:
                raise Closed from None
            if not piece:
                raise Closed
            octets += piece
        return octets


def packet(command: bytes, octets: bytes = b"") -> bytes:
    """Return a packet: its length, a command, its octets."""
    return struct.pack(">I", len(command) + len(octets)) + command + octets


def strings(*texts: str) -> bytes:
    """Return `texts`, each ended by NUL."""
    return b"".join(text.encode() + b"\0" for text in texts)
