"""Only importer of the OpenPGP engine (Sequoia); runs in the vetting child and nowhere else.

pysequoia answers four questions about a certificate: which user IDs are valid, is the
primary key revoked, when does it expire, and does `encrypt` find somebody to encrypt to.
What that is worth, `vet` knows.
"""

from datetime import datetime
from typing import NamedTuple

import pysequoia
from pysequoia.packet import HashAlgorithm, PacketPile, SignatureType

from keyservice import packets
from keyservice.certificate import RefusalReason, RejectedCertificate
from keyservice.packets import Packet

BINDING = SignatureType.SubkeyBinding
REVOCATION = SignatureType.SubkeyRevocation

_PKESK = 1
_WEAK_HASHES = (HashAlgorithm.MD5, HashAlgorithm.SHA1, HashAlgorithm.RipeMD)


class Parsed(NamedTuple):
    """What the engine says about a certificate now, under its policy."""

    octets: bytes
    """As it writes it: with each signature at the component that it is about."""

    is_revoked: bool
    user_ids: frozenset[str] | None
    """Those bound and not revoked; None if the certificate has no valid self-signature."""

    not_after: int | None


class Signature(NamedTuple):
    """What one signature claims; whether it is true is another question."""

    packet: Packet
    kind: SignatureType | None
    made_at: int
    not_after: int | None
    key_lifetime: int | None
    is_weak: bool
    issuer: str | None
    """Fingerprint or, if there is none, key ID."""


def parse(octets: bytes) -> Parsed:
    """Return what the engine makes of the one certificate in `octets`.

    Raises RejectedCertificate if it does not read it.
    """
    try:
        (certificate,) = pysequoia.Cert.split_bytes(octets)
    except (RuntimeError, ValueError):
        raise RejectedCertificate(
            RefusalReason.MALFORMED, "the engine does not read it as one certificate"
        ) from None
    user_ids: frozenset[str] | None = None
    not_after: int | None = None
    try:
        not_after = _seconds(certificate.expiration)
        user_ids = frozenset(str(user_id) for user_id in certificate.user_ids)
    except RuntimeError:  # "no binding signature"
        user_ids = None
    return Parsed(bytes(certificate), bool(certificate.is_revoked), user_ids, not_after)


def encrypts_to(octets: bytes, identity: str) -> bool:
    """Whether the engine, given a certificate, encrypts to its (sub)key `identity`."""
    try:
        recipient = pysequoia.Cert.from_bytes(octets)
        message = pysequoia.encrypt(recipients=[recipient], bytes=b"", armor=False)
    except RuntimeError:
        return False
    for tag, body in packets.leading_packets(message):
        if tag != _PKESK:
            return False
        if _is_for(body, identity):
            return True
    return False


def read(packet: Packet) -> Signature:
    """Return what a signature packet claims."""
    parsed = next(iter(PacketPile.from_bytes(packets.framed(packet))))
    lifetime = parsed.key_validity_period
    issuer = parsed.issuer_fingerprint or parsed.issuer_key_id
    return Signature(
        packet,
        parsed.signature_type,
        _seconds(parsed.signature_created) or 0,
        _seconds(parsed.signature_expiration_time),
        None if lifetime is None else int(lifetime.total_seconds()),
        parsed.hash_algorithm in _WEAK_HASHES,
        None if issuer is None else issuer.lower(),
    )


def _is_for(pkesk: bytes, identity: str) -> bool:
    if pkesk[0] == 3:  # RFC 9580 §5.1.1: a key ID, the last 8 octets of a v4 fingerprint
        return pkesk[1:9].hex() == identity[-16:]
    return pkesk[3 : 2 + pkesk[1]].hex() == identity  # §5.1.2: length, version, fingerprint


def _seconds(time: datetime | None) -> int | None:
    return None if time is None else int(time.timestamp())
