"""Questions to the DNS, asked while a mail transaction waits.

An answer is taken from the resolvers of this host, and believed as far as those are: nothing
here depends on DNSSEC. One `Deadline` goes for all that is asked about one message.
"""

import socket
import time
from collections.abc import Callable, Iterator
from enum import Enum
from ipaddress import ip_address
from typing import Any, Literal

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.resolver

from letterlock.config import host_and_port
from letterlock.dns_cache import DnsCache, Records
from letterlock.dns_questions import Deadline, DnsUnavailable, Questions
from letterlock.errors import ConfigError

__all__ = ["Deadline", "DnsUnavailable", "Questions", "Resolver"]

_QUESTION_SHARE = 0.5
"""Of the time that is left: a zone whose servers are silent must leave some for the others."""

_ATTEMPTS = 2
_UDP_OCTETS_MAX = 1232
"""What crosses networks in one piece (RFC 9715 §3)."""


class _Kind(Enum):
    A = dns.rdatatype.A
    AAAA = dns.rdatatype.AAAA
    MX = dns.rdatatype.MX
    PTR = dns.rdatatype.PTR
    TXT = dns.rdatatype.TXT


class Resolver:
    """See `Questions`. Any thread may call it; what was asked lately is remembered."""

    def __init__(self, nameserver: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Ask `nameserver`, HOST:PORT; empty: those of /etc/resolv.conf. Raises ConfigError."""
        self._servers = [_server(nameserver)] if nameserver else _system_servers()
        self._cache = DnsCache(clock)

    def txt(self, name: str, deadline: Deadline) -> tuple[bytes, ...]:
        """See `Questions`."""
        return self._ask(name, _Kind.TXT, deadline)

    def addresses(self, name: str, version: Literal[4, 6], deadline: Deadline) -> tuple[str, ...]:
        """See `Questions`."""
        return self._ask(name, _Kind.A if version == 4 else _Kind.AAAA, deadline)

    def mx(self, name: str, deadline: Deadline) -> tuple[tuple[int, str], ...]:
        """See `Questions`."""
        return self._ask(name, _Kind.MX, deadline)

    def ptr(self, name: str, deadline: Deadline) -> tuple[str, ...]:
        """See `Questions`."""
        return self._ask(name, _Kind.PTR, deadline)

    def _ask(self, text: str, kind: _Kind, deadline: Deadline) -> Records:
        name = _name(text)
        if name is None:
            return ()
        key = (name, kind.value)
        held = self._cache.get(key)
        if held is not None:
            return held
        deadline.spend()
        records, seconds = _read(self._exchange(name, kind, deadline), kind)
        self._cache.put(key, records, seconds)
        return records

    def _exchange(
        self, name: dns.name.Name, kind: _Kind, deadline: Deadline
    ) -> dns.message.QueryMessage:
        until = time.monotonic() + deadline.seconds * _QUESTION_SHARE
        refused = "no answer in time"
        for (host, port), seconds in self._attempts(until):
            # A new ID and a new port each time: what answers the last question is not believed.
            query = dns.message.make_query(name, kind.value, use_edns=0, payload=_UDP_OCTETS_MAX)
            try:
                message = _exchanged(query, host, port, seconds, until)
            except (dns.exception.Timeout, OSError, EOFError):
                continue
            except dns.exception.DNSException:
                refused = "an answer that is none"
                continue
            if message.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                return message
            refused = "the resolver could not find out"
        raise DnsUnavailable(refused)

    def _attempts(self, until: float) -> Iterator[tuple[tuple[str, int], float]]:
        """Yield servers, and for how many seconds each may be waited for."""
        attempts = self._servers * _ATTEMPTS
        for number, server in enumerate(attempts):
            left = until - time.monotonic()
            if left <= 0:
                return
            yield server, left / (len(attempts) - number)


def _exchanged(
    query: dns.message.QueryMessage, host: str, port: int, seconds: float, until: float
) -> dns.message.QueryMessage:
    try:
        with _connected(host, port) as sock:
            # What others throw at our port is not the answer, nor is what answers nothing of ours.
            message = dns.query.udp(
                query,
                host,
                seconds,
                port,
                ignore_unexpected=True,
                ignore_errors=True,
                raise_on_truncation=True,
                sock=sock,
            )
    except dns.message.Truncated:
        # RFC 7766 §5. Its time is what is left of the question's.
        message = dns.query.tcp(query, host, max(0.0, until - time.monotonic()), port)
    if not isinstance(message, dns.message.QueryMessage):
        raise dns.exception.FormError
    return message


def _connected(host: str, port: int) -> socket.socket:
    """Return a socket that only `host` can reach, and that learns at once if nobody listens."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    try:
        sock.connect((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _read(message: dns.message.QueryMessage, kind: _Kind) -> tuple[Records, float]:
    """Return what the message says about the name asked for, and for how many seconds."""
    try:
        # Follows aliases from that name on: records of other names are not looked at.
        answer = message.resolve_chaining()
    except dns.exception.DNSException:
        raise DnsUnavailable("an answer that contradicts itself") from None
    return tuple(_record(record, kind) for record in answer.answer or ()), answer.minimum_ttl


def _record(record: Any, kind: _Kind) -> object:
    match kind:
        case _Kind.TXT:
            return b"".join(record.strings)
        case _Kind.A | _Kind.AAAA:
            return str(record.address)
        case _Kind.MX:
            return record.preference, record.exchange.to_text(omit_final_dot=True)
        case _Kind.PTR:
            return record.target.to_text(omit_final_dot=True)


def _name(text: str) -> dns.name.Name | None:
    # Not from_text(): in a name that a stranger wrote, a backslash is no escape.
    try:
        labels = text.removesuffix(".").encode("ascii").lower().split(b".")
        return dns.name.Name([*labels, b""]) if all(labels) else None
    except (dns.exception.DNSException, UnicodeError):
        return None


def _server(nameserver: str) -> tuple[str, int]:
    host, port = host_and_port(nameserver, "authentication.nameserver")
    try:
        return str(ip_address(host)), port
    except ValueError:
        raise ConfigError("authentication.nameserver: expected an IP address") from None


def _system_servers() -> list[tuple[str, int]]:
    try:
        found = dns.resolver.Resolver().nameservers
    except dns.exception.DNSException:
        raise ConfigError("authentication.nameserver: none is in /etc/resolv.conf") from None
    return [(server, 53) for server in found if isinstance(server, str)]
