"""A name server on loopback, over UDP and TCP, that answers from a table, or badly.

It is asked as a resolver would be. Names are without a final dot and in lower case.
"""

import socket
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import Enum, auto
from itertools import pairwise
from typing import Self

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

Zone = Mapping[str, Mapping[str, Sequence[str]]]
"""Names, types, records in the form of a zone file (see `txt`)."""

SOA = "ns.invalid. postmaster.invalid. 1 3600 600 86400 60"


_UDP_OCTETS_MAX = 1232


class Way(Enum):
    """How a question is answered."""

    RIGHT = auto()
    SILENT = auto()
    SLOW = auto()
    """Rightly, after `DnsPeer.delay` seconds."""

    SERVFAIL = auto()
    REFUSED = auto()
    TRUNCATED = auto()
    """Over UDP not at all, over TCP rightly."""

    SILENT_OVER_TCP = auto()
    GARBAGE = auto()
    """Noise, then nothing."""

    OTHER_ID = auto()
    OTHER_QUESTION = auto()
    OTHER_PORT = auto()
    OTHER_NAME = auto()
    """An answer to the question whose records are those of another name."""

    ENDLESS_ALIAS = auto()
    """The name is an alias of another one, and that of the first."""

    ONE_MORE_ALIAS = auto()
    """The name is an alias of another one, about which nothing is said; as it is with each."""

    NOISE_FIRST = auto()
    """All of the wrong ones with a forged record, then the right one."""


class DnsPeer:
    """Answers from `zone`; a context manager."""

    def __init__(self, zone: Zone, *, ttl: int = 300) -> None:
        """Both may be changed while it runs."""
        self.zone = dict(zone)
        self.ttl = ttl
        self.ways: dict[str, Way] = {}
        """By name; "*" goes for all others."""

        self.delay = 0.0
        self.forged = {"TXT": '"forged"', "A": "203.0.113.99"}
        self.asked: list[tuple[str, str]] = []
        """Names and types, in order; over TCP counts again."""

        self._udp, self._tcp = _bound()
        self.port: int = self._udp.getsockname()[1]
        self._threads = [
            threading.Thread(target=self._serve_udp, daemon=True),
            threading.Thread(target=self._serve_tcp, daemon=True),
        ]

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # What blocks in accept() or recvfrom() ends with it.
        for one in (self._udp, self._tcp):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(10)

    def _serve_udp(self) -> None:
        while True:
            try:
                wire, peer = self._udp.recvfrom(65_535)
            except OSError:
                return
            if not wire:
                return
            threading.Thread(target=self._answer_udp, args=(wire, peer), daemon=True).start()

    def _answer_udp(self, wire: bytes, peer: tuple[str, int]) -> None:
        query, way = self._asked(wire)
        right = self._reply(query).to_wire(max_size=65_535, want_shuffle=False)
        if way is Way.RIGHT and len(right) > _UDP_OCTETS_MAX:
            way = Way.TRUNCATED
        match way:
            case Way.SILENT:
                return
            case Way.SLOW:
                time.sleep(self.delay)
                self._send(right, peer)
            case Way.TRUNCATED | Way.SILENT_OVER_TCP:
                cut = dns.message.make_response(query)
                cut.flags |= dns.flags.TC
                self._send(cut.to_wire(), peer)
            case Way.OTHER_PORT:
                with socket.socket(type=socket.SOCK_DGRAM) as stranger:
                    stranger.sendto(self._lie(query, way), peer)
            case Way.NOISE_FIRST:
                with socket.socket(type=socket.SOCK_DGRAM) as stranger:
                    stranger.sendto(self._lie(query, Way.OTHER_PORT), peer)
                for lie in (Way.GARBAGE, Way.OTHER_ID, Way.OTHER_QUESTION):
                    self._send(self._lie(query, lie), peer)
                self._send(right, peer)
            case Way.RIGHT:
                self._send(right, peer)
            case _:
                self._send(self._lie(query, way), peer)

    def _serve_tcp(self) -> None:
        while True:
            try:
                connection, _ = self._tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._answer_tcp, args=(connection,), daemon=True).start()

    def _answer_tcp(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(30)
            try:
                (length,) = struct.unpack("!H", _exactly(connection, 2))
                query, way = self._asked(_exactly(connection, length))
                if way is Way.SILENT_OVER_TCP:
                    connection.recv(1)
                    return
                wire = self._reply(query).to_wire(max_size=65_535, want_shuffle=False)
                connection.sendall(struct.pack("!H", len(wire)) + wire)
            except OSError:
                return

    def _asked(self, wire: bytes) -> tuple[dns.message.Message, Way]:
        query = dns.message.from_wire(wire)
        (question,) = query.question
        name = question.name.to_text(omit_final_dot=True).lower()
        self.asked.append((name, dns.rdatatype.to_text(question.rdtype)))
        return query, self.ways.get(name, self.ways.get("*", Way.RIGHT))

    def _send(self, wire: bytes, peer: tuple[str, int]) -> None:
        with suppress(OSError):
            self._udp.sendto(wire, peer)

    def _reply(self, query: dns.message.Message) -> dns.message.Message:
        reply = dns.message.make_response(query)
        (question,) = query.question
        kind = dns.rdatatype.to_text(question.rdtype)
        name = question.name.to_text(omit_final_dot=True).lower()
        while "CNAME" in self.zone.get(name, {}) and kind != "CNAME":
            (target,) = self.zone[name]["CNAME"]
            reply.answer.append(self._rrset(name, "CNAME", [target]))
            name = target.rstrip(".").lower()
        records = self.zone.get(name, {}).get(kind, ())
        if records:
            reply.answer.append(self._rrset(name, kind, records))
            return reply
        if name not in self.zone:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        reply.authority.append(self._rrset("", "SOA", [SOA]))
        return reply

    def _rrset(self, name: str, kind: str, records: Sequence[str]) -> dns.rrset.RRset:
        owner = dns.name.from_text(name + ".")
        return dns.rrset.from_text_list(owner, self.ttl, "IN", kind, records)

    def _aliases(self, *names: str) -> list[dns.rrset.RRset]:
        return [self._rrset(one, "CNAME", [f"{other}."]) for one, other in pairwise(names)]

    def _lie(self, query: dns.message.Message, way: Way) -> bytes:
        if way is Way.GARBAGE:
            return b"\xff" * 40
        reply = dns.message.make_response(query)
        (question,) = query.question
        kind = dns.rdatatype.to_text(question.rdtype)
        name = question.name.to_text(omit_final_dot=True)
        match way:
            case Way.SERVFAIL:
                reply.set_rcode(dns.rcode.SERVFAIL)
                return reply.to_wire()
            case Way.REFUSED:
                reply.set_rcode(dns.rcode.REFUSED)
                return reply.to_wire()
            case Way.OTHER_ID:
                reply.id ^= 1
            case Way.OTHER_QUESTION:
                other = dns.message.make_query("other.invalid.", question.rdtype)
                other.id = query.id
                reply = dns.message.make_response(other)
            case Way.OTHER_NAME:
                name = "other.invalid"
            case Way.ENDLESS_ALIAS:
                reply.answer += self._aliases(name, "other.invalid", name)
                return reply.to_wire()
            case Way.ONE_MORE_ALIAS:
                reply.answer += self._aliases(name, f"more.{name}")
                return reply.to_wire()
            case _:
                pass
        reply.answer.append(self._rrset(name, kind, [self.forged[kind]]))
        return reply.to_wire()


def txt(*records: str | bytes) -> list[str]:
    """Return TXT records in the form of a zone file, each cut into strings that fit."""
    return [_quoted(r.encode() if isinstance(r, str) else r) for r in records]


def _quoted(record: bytes) -> str:
    strings = [record[at : at + 255] for at in range(0, len(record), 255)] or [b""]
    return " ".join('"' + "".join(map(_escaped, string)) + '"' for string in strings)


def _escaped(octet: int) -> str:
    plain = 0x20 <= octet < 0x7F and octet not in b'"\\'
    return chr(octet) if plain else f"\\{octet:03}"


def _bound() -> tuple[socket.socket, socket.socket]:
    """Return sockets for UDP and TCP on the same free port."""
    while True:
        over_tcp = socket.socket()
        over_udp = socket.socket(type=socket.SOCK_DGRAM)
        try:
            over_tcp.bind(("127.0.0.1", 0))
            over_udp.bind(over_tcp.getsockname())
        except OSError:
            over_tcp.close()
            over_udp.close()
            continue
        over_tcp.listen()
        return over_udp, over_tcp


def _exactly(connection: socket.socket, count: int) -> bytes:
    octets = b""
    while len(octets) < count:
        more = connection.recv(count - len(octets))
        if not more:
            raise OSError("hung up")
        octets += more
    return octets
