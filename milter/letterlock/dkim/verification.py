"""The DKIM-Signature fields of a message, verified while its body streams past (RFC 6376 §6)."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from letterlock.dkim.body_hash import BodyHash, BodyHasher
from letterlock.dkim.faults import Fault, Result, Unacceptable
from letterlock.dkim.public_key import KeyRecords
from letterlock.dkim.signature import Signature, tags_of
from letterlock.dkim.signed_header import SignedHeader
from letterlock.dkim.tags import host_name
from letterlock.message import HeaderSection

SIGNATURES_MAX = 8
"""Those at the top, which were added last. The others are as if they were not there, and get no
result: RFC 6376 §6.1 allows a limit, and a thousand results for a thousand fields that
anybody may write would be an attack of its own."""

FIELD = b"dkim-signature"

_TOKEN = re.compile(rb"[A-Za-z0-9-]{1,40}")
_BASE64 = re.compile(rb"[A-Za-z0-9+/=]+")


@dataclass(frozen=True, slots=True)
class Claims:
    """What a signature calls itself, for those who look for its result; empty: nothing usable."""

    domain: str = ""
    selector: str = ""
    algorithm: str = ""
    b: str = ""
    """b= without blanks."""

    @classmethod
    def from_tags(cls, tags: Mapping[bytes, bytes]) -> "Claims":
        """Take what has the right form."""
        algorithm = tags.get(b"a", b"")
        b = b"".join(tags.get(b"b", b"").split())
        return cls(
            _name_or_nothing(tags.get(b"d", b"")),
            _name_or_nothing(tags.get(b"s", b"")),
            algorithm.decode() if _TOKEN.fullmatch(algorithm) else "",
            b.decode() if _BASE64.fullmatch(b) else "",
        )


@dataclass(frozen=True, slots=True)
class Checked:
    """A signature, and what is known about it."""

    claims: Claims
    signature: Signature | None
    fault: Fault | None = None
    """None: nothing is wrong with it. Final after `after_body`."""

    covers_all: bool = True
    """False: octets of the body come after what l= counts. Final after `after_body`."""

    @property
    def result(self) -> Result:
        """What RFC 8601 calls that."""
        return self.fault.result if self.fault else Result.PASS

    @property
    def wants(self) -> Collection[BodyHash]:
        """The body hash that decides."""
        return () if self.signature is None or self.fault else (self.signature.body,)

    def after_body(self, hasher: BodyHasher) -> "Checked":
        """Return what is known in the end; `hasher` is closed and knows what was wanted."""
        if self.signature is None or self.fault:
            return self
        try:
            self.signature.require_body(hasher)
        except Unacceptable as refusal:
            return replace(self, fault=refusal.fault)
        body = self.signature.body
        covers_all = body.length in (None, hasher.octets(body.canonicalization))
        return replace(self, covers_all=covers_all)


def check_header(
    section: HeaderSection, header: SignedHeader, records: KeyRecords, now: float
) -> tuple[Checked, ...]:
    """Return what the header section alone says about each signature. Raises nothing."""
    indexes = [index for index, key in enumerate(section.keys) if key == FIELD]
    return tuple(
        _checked(section, index, header, records, now) for index in indexes[:SIGNATURES_MAX]
    )


def stated(section: HeaderSection, index: int, now: float) -> Signature:
    """Return the signature that the field at `index` states. Raises Unacceptable."""
    return _stated(tags_of(section.fields[index]), index, now)


def _checked(
    section: HeaderSection, index: int, header: SignedHeader, records: KeyRecords, now: float
) -> Checked:
    claims, signature = Claims(), None
    try:
        tags = tags_of(section.fields[index])
        claims = Claims.from_tags(tags)
        signature = _stated(tags, index, now)
        signature.require_header(header, records)
    except Unacceptable as refusal:
        return Checked(claims, signature, refusal.fault)
    return Checked(claims, signature)


def _stated(tags: Mapping[bytes, bytes], index: int, now: float) -> Signature:
    if b"v" not in tags:
        raise Unacceptable(Fault.MISSING_TAG)
    if tags[b"v"] != b"1":
        raise Unacceptable(Fault.VERSION)
    signature = Signature.from_tags(index, tags, now)
    if b"i" not in tags:
        return signature
    _, at, domain = tags[b"i"].rpartition(b"@")
    identity_domain = host_name(domain)
    if not at:
        raise Unacceptable(Fault.SYNTAX)
    if not f".{identity_domain}".endswith(f".{signature.domain}"):
        raise Unacceptable(Fault.DOMAIN_MISMATCH)
    return replace(signature, identity_domain=identity_domain)


def _name_or_nothing(value: bytes) -> str:
    try:
        return host_name(value)
    except Unacceptable:
        return ""
