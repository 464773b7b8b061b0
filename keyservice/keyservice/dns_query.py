"""One question to one resolver: over UDP, over TCP if the answer is too long for that."""

from enum import Enum
from ipaddress import ip_address

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype
import msgspec

from keyservice.errors import ConfigError

_ATTEMPTS = 2

_UDP_OCTETS_MAX = 1232
"""What crosses networks in one piece (RFC 9715 §3)."""


class DnsCause(Enum):
    """Why the resolver gave no answer. Also the metric label."""

    NO_ANSWER = "no_answer"
    """Not before the deadline, or it does not listen."""

    SERVFAIL = "servfail"
    """The signatures are wrong, or the zone's servers are: it does not say which."""

    ERROR = "error"
    """Another response code, or no DNS message."""

    UNPROVED = "unproved"
    """It has not proved that it validates, so what it says of signatures does not count."""


class DnsUnavailable(Exception):
    """There is no answer now: temporary."""

    def __init__(self, cause: DnsCause) -> None:
        """Hold no text that a peer wrote."""
        super().__init__(f"not resolved: {cause.value}")
        self.cause = cause


class Reply(msgspec.Struct, frozen=True):
    """What the resolver says."""

    records: list[dns.rdata.Rdata]
    """Of the type that was asked for, at the end of a chain of aliases."""

    authentic: bool
    """The AD bit: everything in the message is DNSSEC-secure (RFC 4035 §3.2.3)."""


class Endpoint:
    """A resolver on loopback."""

    def __init__(self, address: str, port: int, deadline: float) -> None:
        """`deadline`: seconds for a question in all. Raises ConfigError unless on loopback.

        On the way from anywhere else the AD bit could be set by others.
        """
        try:
            on_loopback = ip_address(address).is_loopback
        except ValueError:
            on_loopback = False
        if not on_loopback:
            raise ConfigError(f"resolver {address!r}: not an address on loopback")
        self._address = address
        self._port = port
        self._deadline = deadline

    async def ask(
        self, name: str, kind: dns.rdatatype.RdataType, *, checking_disabled: bool = False
    ) -> Reply:
        """Return the reply, without records if there are none or no such name.

        Raises DnsUnavailable.
        """
        try:
            # AD in a question asks for AD in the answer (RFC 6840 §5.7), CD for no validation.
            query = dns.message.make_query(name, kind, use_edns=0, payload=_UDP_OCTETS_MAX)
            query.flags |= dns.flags.CD if checking_disabled else dns.flags.AD
        except (dns.exception.DNSException, UnicodeError):
            return Reply([], authentic=False)  # a label or the name is too long for the DNS
        message = await self._exchange(query)
        if message.rcode() == dns.rcode.SERVFAIL:
            raise DnsUnavailable(DnsCause.SERVFAIL)
        if message.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            raise DnsUnavailable(DnsCause.ERROR)
        try:
            answer = message.resolve_chaining().answer
        except dns.exception.DNSException:
            raise DnsUnavailable(DnsCause.ERROR) from None
        return Reply(list(answer or ()), bool(message.flags & dns.flags.AD))

    async def _exchange(self, query: dns.message.Message) -> dns.message.QueryMessage:
        for _ in range(_ATTEMPTS):
            try:
                message, _over_tcp = await dns.asyncquery.udp_with_fallback(
                    query,
                    self._address,
                    self._deadline / _ATTEMPTS,
                    self._port,
                    # What others throw at our port is not the answer.
                    ignore_unexpected=True,
                    ignore_errors=True,
                )
            except (dns.exception.Timeout, OSError, EOFError):
                continue
            except dns.exception.DNSException:
                raise DnsUnavailable(DnsCause.ERROR) from None
            if isinstance(message, dns.message.QueryMessage):
                return message
            raise DnsUnavailable(DnsCause.ERROR)
        raise DnsUnavailable(DnsCause.NO_ANSWER)
