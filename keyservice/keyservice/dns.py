"""The only resolver: a validating one on loopback.

An answer is DNSSEC-secure if the resolver says so. That counts only as long as it proves, again
and again, that it does validate: see `ValidatingResolver.prove`.
"""

import asyncio
import time
from collections.abc import Callable
from enum import Enum
from typing import Protocol

import dns.rdatatype
import msgspec

from keyservice.dns_query import DnsCause, DnsUnavailable, Endpoint

__all__ = [
    "DnsAnswer",
    "DnsCause",
    "DnsUnavailable",
    "Proof",
    "Resolver",
    "ValidatingResolver",
]

DEADLINE = 4.0
"""Seconds for one question."""

PROVE_EVERY = 600.0
"""Seconds between two proofs."""

_PROVE_AGAIN_AFTER = 30.0
"""Seconds, if it was none."""

_PROOF_LASTS = 2 * PROVE_EVERY
"""Seconds. One may come to nothing because a stranger's name servers are down."""


class DnsAnswer(msgspec.Struct, frozen=True):
    """The records of one type at a name; none if there are none, or no such name."""

    records: list[bytes]
    authentic: bool
    """Whether all of it, also that there is nothing, is DNSSEC-secure."""


class Resolver(Protocol):
    """What discovery asks the DNS. Raises DnsUnavailable."""

    async def addresses(self, host: str) -> list[str]:
        """Return the IPv4 and IPv6 addresses of `host`; none if it has none."""
        ...

    async def openpgpkey(self, owner_name: str) -> DnsAnswer:
        """Return the OPENPGPKEY records at `owner_name` (RFC 7929 §2)."""
        ...


class Proof(Enum):
    """What became of an attempt to prove that the resolver validates. Also the metric label."""

    PROVED = "proved"
    DISPROVED = "disproved"
    INCONCLUSIVE = "inconclusive"
    """One of the names could not be had; an older proof goes on to count until it lapses."""


class ValidatingResolver:
    """See `Resolver`. Before the first proof it has addresses, but no OPENPGPKEY records."""

    def __init__(
        self,
        address: str,
        port: int = 53,
        *,
        signed_name: str = ".",
        bogus_name: str = "dnssec-failed.org.",
        deadline: float = DEADLINE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask the resolver at `address`. Raises ConfigError unless that is on loopback.

        `signed_name` and `bogus_name` are the tops of zones by which it proves that it
        validates: one in order, and one whose signatures are wrong.
        """
        self._endpoint = Endpoint(address, port, deadline)
        self._signed_name = signed_name
        self._bogus_name = bogus_name
        self._clock = clock
        self._proved_until = 0.0

    @property
    def is_proved(self) -> bool:
        """Whether the resolver has lately proved that it validates."""
        return self._clock() < self._proved_until

    async def addresses(self, host: str) -> list[str]:
        """See `Resolver`."""
        replies = await asyncio.gather(
            self._endpoint.ask(f"{host}.", dns.rdatatype.A),
            self._endpoint.ask(f"{host}.", dns.rdatatype.AAAA),
            return_exceptions=True,
        )
        found: list[str] = []
        failures: list[BaseException] = []
        for reply in replies:
            if isinstance(reply, BaseException):
                failures.append(reply)
            else:
                found += [str(record) for record in reply.records]
        # Name servers that stumble over AAAA are old and many: one family is enough.
        if failures and not found:
            raise failures[0]
        return found

    async def openpgpkey(self, owner_name: str) -> DnsAnswer:
        """See `Resolver`."""
        if not self.is_proved:
            raise DnsUnavailable(DnsCause.UNPROVED)
        reply = await self._endpoint.ask(f"{owner_name}.", dns.rdatatype.OPENPGPKEY)
        return DnsAnswer([record.to_wire() or b"" for record in reply.records], reply.authentic)

    async def keep_proving(self, report: Callable[[Proof], None]) -> None:
        """Prove now and every ten minutes until cancelled; tell `report` what became of it."""
        while True:
            proof = await self.prove()
            report(proof)
            await asyncio.sleep(PROVE_EVERY if proof is Proof.PROVED else _PROVE_AGAIN_AFTER)

    async def prove(self) -> Proof:
        """Find out whether the resolver validates; a disproof ends an earlier proof at once."""
        try:
            proof = await self._proof()
        except DnsUnavailable:
            proof = Proof.INCONCLUSIVE
        match proof:
            case Proof.PROVED:
                self._proved_until = self._clock() + _PROOF_LASTS
            case Proof.DISPROVED:
                self._proved_until = 0.0
            case Proof.INCONCLUSIVE:
                pass
        return proof

    async def _proof(self) -> Proof:
        signed = await self._endpoint.ask(self._signed_name, dns.rdatatype.SOA)
        if signed.records and not signed.authentic:
            return Proof.DISPROVED
        try:
            await self._endpoint.ask(self._bogus_name, dns.rdatatype.SOA)
        except DnsUnavailable as refusal:
            if refusal.cause is not DnsCause.SERVFAIL:
                raise
        else:
            return Proof.DISPROVED
        # It can be had if nobody looks at the signatures (RFC 4035 §3.2.2): so they were why
        # it was refused, not servers that are down.
        unchecked = await self._endpoint.ask(
            self._bogus_name, dns.rdatatype.SOA, checking_disabled=True
        )
        return Proof.PROVED if signed.records and unchecked.records else Proof.INCONCLUSIVE
