"""Questions to the DNS, asked while a mail transaction waits.

An answer is taken from the resolvers of this host, and believed as far as those are: nothing
here depends on DNSSEC. One `Deadline` goes for all that is asked about one message.
"""

import socket
import time
from collections.abc import Callable, Iterator
from enum import Enum
from ipaddress import ip_address
from typing import Any, Literal, Protocol, Self

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.resolver

from letterlock.config import host_and_port
from letterlock.dns_cache import DnsCache, Records
from letterlock.errors import ConfigError

QUESTIONS_MAX = 150
"""For one message. SPF alone may need 111 (RFC 7208 §4.6.4), honestly it needs five."""

_QUESTION_SECONDS_MAX = 5.0
"""One zone whose servers are silent must not use up the time for all others."""

_ATTEMPTS = 2
_UDP_OCTETS_MAX = 1232
"""What crosses networks in one piece (RFC 9715 §3)."""


class DnsUnavailable(Exception):
    """There is no answer now; there may be one later. Its text is nothing that a peer wrote."""


class Deadline:
    """How long, and how often, the DNS may be asked about one message."""

    def __init__(self, until: float, questions: int) -> None:
        """`until` is of `time.monotonic`. To be used by one thread."""
        self._until = until
        self._questions = questions

    @classmethod
    def after(cls, seconds: float, questions: int = QUESTIONS_MAX) -> Self:
        """Return the deadline that passes after so many seconds, or so many questions."""
        return cls(time.monotonic() + seconds, questions)

    @property
    def seconds(self) -> float:
        """How many are left; never less than none."""
        return max(0.0, self._until - time.monotonic())

    def spend(self) -> None:
        """Count one question; raises DnsUnavailable if it is one too many or too late."""
        self._questions -= 1
        if self._questions < 0:
            raise DnsUnavailable("too many questions")
        if not self.seconds:
            raise DnsUnavailable("the deadline has passed")


class Questions(Protocol):
    """What the checks of one message ask.

    A name is text with dots, with or without one at its end. Where there is no such record, no
    such name, or where it cannot be a name of the DNS at all, nothing is returned. Raises
    DnsUnavailable.
    """

    def txt(self, name: str, deadline: Deadline) -> tuple[bytes, ...]:
        """Return each record's strings, joined (RFC 6376 §3.6.2.2, RFC 7208 §3.3)."""
        ...

    def addresses(self, name: str, version: Literal[4, 6], deadline: Deadline) -> tuple[str, ...]:
        """Return the IPv4 or the IPv6 addresses."""
        ...

    def mx(self, name: str, deadline: Deadline) -> tuple[tuple[int, str], ...]:
        """Return preferences and hosts."""
        ...

    def ptr(self, name: str, deadline: Deadline) -> tuple[str, ...]:
        """Return the names that a name under `arpa` points to."""
        ...


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
        until = time.monotonic() + min(deadline.seconds, _QUESTION_SECONDS_MAX)
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
