"""Algorithm, curve and size of a key packet, read from its body (RFC 9580 §5.5.2). Pure.

The engine knows more algorithms than our writer encrypts to, and fewer curves than
people use. What either of them lacks must be refused when a certificate is enrolled,
not found out when mail is waiting.
"""

from enum import Enum

from keyservice.certificate import Refusal, RefusalReason
from keyservice.packets import Packet

_RSA_KEYS = frozenset({1, 2, 3})
_ELLIPTIC = frozenset({18, 19})
_ECDH = 18
_ENCRYPTION = frozenset({1, 2, 25, 26})
"""RSA, RSA Encrypt-Only, X25519, X448 (RFC 9580 §9.1)."""

_SIGNATURE = frozenset({3, 17, 19, 22, 27, 28})
"""RSA Sign-Only, DSA, ECDSA, EdDSALegacy, Ed25519, Ed448 (RFC 9580 §9.1)."""

RSA_BITS_MIN = 2048

_ECDH_CURVES = frozenset(
    bytes.fromhex(oid)
    for oid in (
        "2b060104019755010501",  # Curve25519Legacy
        "2a8648ce3d030107",  # NIST P-256
        "2b81040022",  # NIST P-384
        "2b81040023",  # NIST P-521
    )
)
_BRAINPOOL = bytes.fromhex("2b2403030208")
"""RFC 9580 §9.2: what the OIDs of all Brainpool curves start with."""


class Algorithm(Enum):
    """What a key of this algorithm can do for us."""

    ENCRYPTION = "encryption"
    SIGNATURE = "signature"
    UNKNOWN = "unknown"


def algorithm(key: Packet) -> Algorithm:
    """Return what `key` can do, by its algorithm and curve; its flags are another question."""
    number = _number(key)
    if number in _ENCRYPTION or (number == _ECDH and _curve(key) in _ECDH_CURVES):
        return Algorithm.ENCRYPTION
    return Algorithm.SIGNATURE if number in _SIGNATURE else Algorithm.UNKNOWN


def weakness(key: Packet) -> Refusal | None:
    """Return why no `key` of this kind is used, or None."""
    if _number(key) in _RSA_KEYS and _rsa_bits(key) < RSA_BITS_MIN:
        return Refusal(
            RefusalReason.WEAK_KEY,
            f"an RSA key of {_rsa_bits(key)} bits; {RSA_BITS_MIN} is the least",
        )
    if _number(key) in _ELLIPTIC and _curve(key).startswith(_BRAINPOOL):
        return Refusal(RefusalReason.UNSUPPORTED, "Brainpool curves cannot be vetted")
    return None


def created(key: Packet) -> int:
    """Return when `key` was made."""
    return int.from_bytes(key.body[1:5], "big")


def _number(key: Packet) -> int:
    return key.body[5] if len(key.body) > 5 else 0


def _material(key: Packet) -> bytes:
    # Version 6 has the length of the key material before it.
    return key.body[10:] if key.body[0] == 6 else key.body[6:]


def _rsa_bits(key: Packet) -> int:
    return int.from_bytes(_material(key)[:2], "big")


def _curve(key: Packet) -> bytes:
    material = _material(key)
    return material[1 : 1 + material[0]] if material else b""
