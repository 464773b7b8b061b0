"""Whether a signature of one primary key about another, or about itself, holds: the mathematics.

Own verification on `cryptography`, whose only importer in the key service this is: the
engine has no way to ask. Versions 4 and 6; RSA, ECDSA, EdDSALegacy, Ed25519, Ed448. What a
certification is worth when it holds, `transition` knows. Pure.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from enum import Enum

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

from keyservice.packets import USER_ID, Packet
from keyservice.signature import Fields, MalformedSignature, Signature, read


class Opinion(Enum):
    """What a verifier says about one signature."""

    HOLDS = "holds"
    FAILS = "fails"
    SILENT = "silent"
    """It does not know the algorithm, or cannot read it."""


STRONG_HASHES: Mapping[int, hashes.HashAlgorithm] = {
    8: hashes.SHA256(),
    9: hashes.SHA384(),
    10: hashes.SHA512(),
    12: hashes.SHA3_256(),
    14: hashes.SHA3_512(),
}
"""RFC 9580 §9.5, without those too short for any signature below (SHA-224) or broken."""

# Whoever finds a SHA-1 collision must not thereby undo a revocation that the owner made.
_REVOCATION_HASHES: Mapping[int, hashes.HashAlgorithm] = {
    2: hashes.SHA1(),  # noqa: S303 (believed only where it takes something away)
    **STRONG_HASHES,
}

_CURVES: dict[bytes, type[ec.EllipticCurve]] = {
    bytes.fromhex("2a8648ce3d030107"): ec.SECP256R1,
    bytes.fromhex("2b81040022"): ec.SECP384R1,
    bytes.fromhex("2b81040023"): ec.SECP521R1,
}
"""RFC 9580 §9.2; Brainpool keys are refused when a certificate is vetted."""

_ED25519_LEGACY = bytes.fromhex("2b06010401da470f01")


class _Unknown(Exception):
    """The algorithm is none of ours."""


def certification_opinion(
    issuer: Packet, certified: Packet, user_id: Packet, signature: Packet
) -> Opinion:
    """Return whether `issuer` made `signature` over `user_id` on the primary key `certified`."""
    return _opinion(issuer, signature, (certified, user_id), STRONG_HASHES)


def self_signature_holds(primary: Packet, component: Packet, signature: Packet) -> bool:
    """Whether `primary` made `signature` over a user ID or a subkey of its own."""
    return _opinion(primary, signature, (primary, component), STRONG_HASHES) is Opinion.HOLDS


def certification_revocation_holds(
    issuer: Packet, certified: Packet, user_id: Packet, signature: Packet
) -> bool:
    """Whether `issuer` took a certification of `user_id` on `certified` back."""
    subject = (certified, user_id)
    return _opinion(issuer, signature, subject, _REVOCATION_HASHES) is Opinion.HOLDS


def revocation_holds(primary: Packet, signature: Packet) -> bool:
    """Whether `primary` made `signature` over itself: what a revocation of it must be."""
    return _opinion(primary, signature, (primary,), _REVOCATION_HASHES) is Opinion.HOLDS


def _opinion(
    issuer: Packet,
    packet: Packet,
    subject: Sequence[Packet],
    accepted: Mapping[int, hashes.HashAlgorithm],
) -> Opinion:
    try:
        signature = read(packet)
        # RFC 9580 §5.2: the version of a signature is that of the key that makes it.
        if signature.version != issuer.body[0] or signature.hash_id not in accepted:
            return Opinion.SILENT
        digest = _digest(signature, subject, accepted[signature.hash_id])
        if digest[:2] != signature.digest_start:
            return Opinion.FAILS
        _verify(issuer, signature, digest, accepted[signature.hash_id])
    except (_Unknown, UnsupportedAlgorithm):
        return Opinion.SILENT
    except (InvalidSignature, ValueError, IndexError, OverflowError):  # too long for its field
        return Opinion.FAILS
    return Opinion.HOLDS


def _digest(
    signature: Signature, subject: Sequence[Packet], algorithm: hashes.HashAlgorithm
) -> bytes:
    """Return what is signed (RFC 9580 §5.2.4)."""
    if signature.version == 6 and len(signature.salt) * 2 != algorithm.digest_size:
        raise MalformedSignature("not the salt that its hash has")  # RFC 9580 §9.5, table 23
    trailer = bytes([signature.version, 0xFF]) + len(signature.signed).to_bytes(4, "big")
    framed = b"".join(_framed(packet, signature.version) for packet in subject)
    octets = signature.salt + framed + signature.signed + trailer
    return hashlib.new(algorithm.name.replace("sha3-", "sha3_"), octets).digest()


def _framed(packet: Packet, version: int) -> bytes:
    """Frame a user ID or key for hashing: by the version of the signature, not of the key."""
    if packet.tag == USER_ID:
        return b"\xb4" + len(packet.body).to_bytes(4, "big") + packet.body
    if version == 6:
        return b"\x9b" + len(packet.body).to_bytes(4, "big") + packet.body
    return b"\x99" + len(packet.body).to_bytes(2, "big") + packet.body


def _verify(
    issuer: Packet, signature: Signature, digest: bytes, algorithm: hashes.HashAlgorithm
) -> None:
    if issuer.body[5] != signature.algorithm:
        raise MalformedSignature("not the algorithm of its issuer")
    # RFC 9580 §5.5.2: version, creation time, algorithm; in version 6 a count as well.
    material = Fields(issuer.body[10 if issuer.body[0] == 6 else 6 :])
    made = Fields(signature.material)
    verifier = _VERIFIERS.get(signature.algorithm)
    if verifier is None:
        raise _Unknown
    verifier(material, made, digest, algorithm)


def _rsa(key: Fields, made: Fields, digest: bytes, algorithm: hashes.HashAlgorithm) -> None:
    modulus, exponent = key.mpi(), key.mpi()
    public_key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    octets = made.mpi().to_bytes((modulus.bit_length() + 7) // 8, "big")
    public_key.verify(octets, digest, padding.PKCS1v15(), Prehashed(algorithm))


def _ecdsa(key: Fields, made: Fields, digest: bytes, algorithm: hashes.HashAlgorithm) -> None:
    curve = _CURVES.get(key.take(key.number(1)))
    if curve is None:
        raise _Unknown
    # RFC 9580 §5.2.3.2: at least as long as the field, 512 bits for P-521.
    if len(digest) * 8 < min(curve().key_size, 512):
        raise MalformedSignature("a digest shorter than the curve allows")
    point = key.mpi()
    encoded = point.to_bytes((point.bit_length() + 7) // 8, "big")
    public_key = ec.EllipticCurvePublicKey.from_encoded_point(curve(), encoded)
    der = encode_dss_signature(made.mpi(), made.mpi())
    public_key.verify(der, digest, ec.ECDSA(Prehashed(algorithm)))


def _eddsa_legacy(key: Fields, made: Fields, digest: bytes, _: hashes.HashAlgorithm) -> None:
    if key.take(key.number(1)) != _ED25519_LEGACY:
        raise _Unknown
    point = key.mpi().to_bytes(33, "big")
    if point[0] != 0x40:  # RFC 9580 §11.2.2: native octets behind a prefix
        raise MalformedSignature("not a native point")
    # Leading zeros do not survive an MPI (RFC 9580 §5.2.3.3.1).
    octets = made.mpi().to_bytes(32, "big") + made.mpi().to_bytes(32, "big")
    Ed25519PublicKey.from_public_bytes(point[1:]).verify(octets, digest)


def _ed25519(key: Fields, made: Fields, digest: bytes, _: hashes.HashAlgorithm) -> None:
    Ed25519PublicKey.from_public_bytes(key.take(32)).verify(made.rest(), digest)


def _ed448(key: Fields, made: Fields, digest: bytes, _: hashes.HashAlgorithm) -> None:
    if len(digest) < 64:  # RFC 9580 §5.2.3.5
        raise MalformedSignature("a digest shorter than the curve allows")
    Ed448PublicKey.from_public_bytes(key.take(57)).verify(made.rest(), digest)


_Verifier = Callable[[Fields, Fields, bytes, hashes.HashAlgorithm], None]

_VERIFIERS: dict[int, _Verifier] = {
    1: _rsa,
    3: _rsa,
    19: _ecdsa,
    22: _eddsa_legacy,
    27: _ed25519,
    28: _ed448,
}
"""By Public-Key Algorithm ID (RFC 9580 §9.1)."""
