"""One ARC-Seal field (RFC 8617 §4.1.3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from letterlock.dkim.body_hash import Canonicalization
from letterlock.dkim.faults import Fault, Unacceptable
from letterlock.dkim.public_key import Algorithm, KeyRecord, KeyRecords
from letterlock.dkim.signature import algorithm_of, domain_of
from letterlock.dkim.signed_header import SignedHeader
from letterlock.dkim.tags import host_name, octets

_REQUIRED = (b"a", b"b", b"cv", b"d", b"s")
_STATES = (b"none", b"pass", b"fail")


@dataclass(frozen=True, slots=True)
class Seal:
    """Who vouches for the chain up to here, and what he found of it."""

    index: int
    """Of its field in the header section."""

    domain: str
    selector: str
    algorithm: Algorithm
    octets: bytes
    state: bytes
    """cv=: what the sealer found the chain before him to be."""

    @classmethod
    def from_tags(cls, index: int, tags: Mapping[bytes, bytes]) -> Self:
        """Raise Unacceptable unless it is one."""
        if not all(tags.get(name) for name in _REQUIRED):
            raise Unacceptable(Fault.MISSING_TAG)
        # §4.1.3: what a seal covers is fixed, and a seal that says otherwise is none.
        if b"h" in tags or tags[b"cv"] not in _STATES:
            raise Unacceptable(Fault.SYNTAX)
        return cls(
            index,
            domain_of(tags[b"d"]),
            host_name(tags[b"s"]),
            algorithm_of(tags[b"a"]),
            octets(tags[b"b"]),
            tags[b"cv"],
        )

    def require(self, header: SignedHeader, covered: Sequence[int], records: KeyRecords) -> None:
        """Raise Unacceptable unless it verifies over the fields `covered` and itself."""
        name = f"{self.selector}._domainkey.{self.domain}"
        key = KeyRecord.find(name, self.algorithm, records)
        signed = header.sequence(covered, self.index, Canonicalization.RELAXED)
        if not key.verifies(self.octets, signed):
            raise Unacceptable(Fault.SEAL)
