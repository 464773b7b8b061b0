"""One signature as its field states it: DKIM-Signature or ARC-Message-Signature."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from dkim.canonicalization import CanonicalizationPolicy, InvalidCanonicalizationPolicyError

from letterlock.dkim.body_hash import BodyHash, BodyHasher, Canonicalization
from letterlock.dkim.faults import Fault, Unacceptable
from letterlock.dkim.public_key import Algorithm, KeyRecord, KeyRecords
from letterlock.dkim.signed_header import SignedHeader
from letterlock.dkim.tags import host_name, items, number, octets, tag_list
from letterlock.message import HeaderField

FIELD_OCTETS_MAX = 16_384
"""What is longer is not looked at."""

CLOCK_TOLERANCE = 300
"""Seconds by which the signer's clock and ours may differ."""

_REQUIRED = (b"a", b"b", b"bh", b"d", b"h", b"s")


@dataclass(frozen=True, slots=True)
class Signature:
    """What is signed, how, by whom."""

    index: int
    """Of its field in the header section."""

    domain: str
    selector: str
    algorithm: Algorithm
    octets: bytes
    names: tuple[bytes, ...]
    """h=, in lower case."""

    header_form: Canonicalization
    body: BodyHash
    body_digest: bytes
    identity_domain: str
    """Of i=; in an ARC-Message-Signature the same as `domain`."""

    @classmethod
    def from_tags(cls, index: int, tags: Mapping[bytes, bytes], now: float) -> Self:
        """Take the tags that both kinds have. Raises Unacceptable."""
        if not all(tags.get(name) for name in _REQUIRED):
            raise Unacceptable(Fault.MISSING_TAG)
        algorithm = algorithm_of(tags[b"a"])
        header_form, body_form = _forms(tags.get(b"c", b"simple"))
        if b"dns/txt" not in items(tags.get(b"q", b"dns/txt")):
            raise Unacceptable(Fault.UNKNOWN_QUERY)
        domain = domain_of(tags[b"d"])
        names = items(tags[b"h"])
        if b"from" not in names:
            raise Unacceptable(Fault.FROM_NOT_SIGNED)
        _require_current(tags, now)
        length = number(tags[b"l"]) if b"l" in tags else None
        return cls(
            index,
            domain,
            host_name(tags[b"s"]),
            algorithm,
            octets(tags[b"b"]),
            names,
            header_form,
            BodyHash("sha256", body_form, length),
            octets(tags[b"bh"]),
            domain,
        )

    def require_header(self, header: SignedHeader, records: KeyRecords) -> None:
        """Raise Unacceptable unless it verifies, as far as the header section goes."""
        name = f"{self.selector}._domainkey.{self.domain}"
        key = KeyRecord.find(name, self.algorithm, records)
        if key.must_match_exactly and self.identity_domain != self.domain:
            raise Unacceptable(Fault.DOMAIN_MISMATCH)
        # RFC 6376 §8.15: one From more than is signed, and that is what people would read. So
        # From always counts as listed once more than it is; dkimpy does the same.
        names = (*self.names, b"from")
        if not key.verifies(self.octets, header.selected(names, self.index, self.header_form)):
            raise Unacceptable(Fault.SIGNATURE)

    def require_body(self, hasher: BodyHasher) -> None:
        """Raise Unacceptable unless `hasher`, which is closed, has seen the signed body."""
        available = hasher.octets(self.body.canonicalization)
        if self.body.length is not None and self.body.length > available:
            raise Unacceptable(Fault.BODY_SHORTER)  # RFC 6376 §3.5 (l=)
        if hasher.digest(self.body) != self.body_digest:
            raise Unacceptable(Fault.BODY)


def tags_of(field: HeaderField) -> dict[bytes, bytes]:
    """Return the tags of a field that holds a signature. Raises Unacceptable."""
    if len(field.value) > FIELD_OCTETS_MAX:
        raise Unacceptable(Fault.TOO_LONG)
    return tag_list(field.value)


def domain_of(value: bytes) -> str:
    """Return what d= says. Raises Unacceptable."""
    domain = host_name(value)
    # RFC 6376 §3.5 (d=): nobody signs for all of "org".
    if "." not in domain:
        raise Unacceptable(Fault.SYNTAX)
    return domain


def algorithm_of(value: bytes) -> Algorithm:
    """Return what a= says. Raises Unacceptable."""
    if value == b"rsa-sha1":
        raise Unacceptable(Fault.HISTORIC_ALGORITHM)
    try:
        return Algorithm(value)
    except ValueError:
        raise Unacceptable(Fault.UNKNOWN_ALGORITHM) from None


def _forms(value: bytes) -> tuple[Canonicalization, Canonicalization]:
    try:
        policy = CanonicalizationPolicy.from_c_value(value)
    except InvalidCanonicalizationPolicyError:
        raise Unacceptable(Fault.UNKNOWN_CANONICALIZATION) from None
    header, body = policy.to_c_value().decode().split("/")
    return Canonicalization(header), Canonicalization(body)


def _require_current(tags: Mapping[bytes, bytes], now: float) -> None:
    made = number(tags[b"t"]) if b"t" in tags else None
    if made is not None and made > now + CLOCK_TOLERANCE:
        raise Unacceptable(Fault.FUTURE)
    if b"x" not in tags:
        return
    expires = number(tags[b"x"])
    # RFC 6376 §3.5 (x=): an end before the beginning is no time at all.
    if expires < now - CLOCK_TOLERANCE or (made is not None and expires < made):
        raise Unacceptable(Fault.EXPIRED)
