"""The public key of a signer, as it stands in the DNS (RFC 6376 §3.6.1, RFC 8463 §3)."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from letterlock.dkim.faults import Fault, Unacceptable
from letterlock.dkim.tags import items, octets, tag_list
from letterlock.dns_questions import DnsUnavailable

KeyRecords = Callable[[str], tuple[bytes, ...]]
"""Returns the TXT records of a name; raises DnsUnavailable."""

_RSA_BITS_MIN = 1024
"""RFC 8301 §3.2."""

_RSA_BITS_MAX = 8192
"""What is longer costs us more than the mail is worth; nobody has to support it (ibid.)."""


class Algorithm(Enum):
    """How a signature is made (a=). Both sign a SHA-256 digest."""

    RSA_SHA256 = b"rsa-sha256"
    ED25519_SHA256 = b"ed25519-sha256"

    @property
    def key_type(self) -> bytes:
        """The k= that goes with it."""
        return self.value.partition(b"-")[0]


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A record whose key may be used for mail."""

    key: RSAPublicKey | Ed25519PublicKey
    must_match_exactly: bool
    """t=s: i= may not name a subdomain of d=."""

    @classmethod
    def find(cls, name: str, algorithm: Algorithm, records: KeyRecords) -> Self:
        """Return the one at `name` if it serves `algorithm`. Raises Unacceptable."""
        try:
            found = records(name)
        except DnsUnavailable:
            raise Unacceptable(Fault.KEY_UNAVAILABLE) from None
        # RFC 6376 §3.6.2.2: there must be one. Which of several counts must not depend on the
        # order in which they arrive.
        published = [tags for tags in map(_tags, found) if tags is not None]
        if len(published) > 1:
            raise Unacceptable(Fault.SEVERAL_KEYS)
        if not published:
            raise Unacceptable(Fault.KEY_SYNTAX if found else Fault.NO_KEY)
        return cls._from_tags(published[0], algorithm)

    def verifies(self, signature: bytes, signed: bytes) -> bool:
        """Whether `signature` was made by its owner, of the octets `signed`."""
        digest = hashlib.sha256(signed).digest()
        try:
            if isinstance(self.key, RSAPublicKey):
                # A tenth of the time that dkimpy's own arithmetic takes.
                self.key.verify(signature, digest, PKCS1v15(), Prehashed(SHA256()))
            else:
                self.key.verify(signature, digest)  # RFC 8463 §3: of the digest
        except InvalidSignature:
            return False
        return True

    @classmethod
    def _from_tags(cls, tags: dict[bytes, bytes], algorithm: Algorithm) -> Self:
        if tags.get(b"k", b"rsa") != algorithm.key_type:
            raise Unacceptable(Fault.WRONG_KEY)
        # Tags and items that are not known are skipped, as §3.6.1 wants it.
        if b"h" in tags and b"sha256" not in items(tags[b"h"]):
            raise Unacceptable(Fault.WRONG_HASH)
        if not {b"*", b"email"} & {*items(tags.get(b"s", b"*"))}:
            raise Unacceptable(Fault.WRONG_SERVICE)
        if not tags[b"p"]:
            raise Unacceptable(Fault.KEY_REVOKED)
        flags = items(tags.get(b"t", b""))
        if b"y" in flags:
            raise Unacceptable(Fault.TESTING)
        return cls(_public_key(tags[b"p"], algorithm), b"s" in flags)


def _tags(record: bytes) -> dict[bytes, bytes] | None:
    """Return the tags if `record` is a key record; other records at the name are not."""
    try:
        tags = tag_list(record)
    except Unacceptable:
        return None
    return tags if b"p" in tags and tags.get(b"v", b"DKIM1") == b"DKIM1" else None


def _public_key(value: bytes, algorithm: Algorithm) -> RSAPublicKey | Ed25519PublicKey:
    try:
        encoded = octets(value)
        if algorithm is Algorithm.ED25519_SHA256:
            return Ed25519PublicKey.from_public_bytes(encoded)  # RFC 8463 §4: the bare 32 octets
        # A SubjectPublicKeyInfo or a bare RSAPublicKey: both are in use (RFC 6376, erratum 3017).
        key = load_der_public_key(encoded)
    except (Unacceptable, ValueError, UnsupportedAlgorithm):
        raise Unacceptable(Fault.KEY_SYNTAX) from None
    if not isinstance(key, RSAPublicKey):
        raise Unacceptable(Fault.WRONG_KEY)
    if key.key_size < _RSA_BITS_MIN:
        raise Unacceptable(Fault.WEAK_KEY)
    if key.key_size > _RSA_BITS_MAX:
        raise Unacceptable(Fault.KEY_SYNTAX)
    return key
