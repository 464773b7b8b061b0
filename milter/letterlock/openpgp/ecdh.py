"""ECDH (RFC 9580 §5.1.5, §5.5.5.6, §11.5) on Curve25519, NIST and Brainpool curves."""

import hashlib
from typing import Protocol, Self

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from letterlock.openpgp.packets import Fields, mpi
from letterlock.openpgp.publickey import UnusableSubkey, with_checksum
from letterlock.openpgp.seipd import SEIPDVersion, SessionKey
from letterlock.openpgp.xdh import X25519Key

CURVE25519_LEGACY = bytes.fromhex("2b060104019755010501")
"""RFC 9580 §9.2: in version 4 keys only."""

_CURVES: dict[bytes, type[ec.EllipticCurve]] = {
    bytes.fromhex("2a8648ce3d030107"): ec.SECP256R1,
    bytes.fromhex("2b81040022"): ec.SECP384R1,
    bytes.fromhex("2b81040023"): ec.SECP521R1,
    bytes.fromhex("2b2403030208010107"): ec.BrainpoolP256R1,
    bytes.fromhex("2b240303020801010b"): ec.BrainpoolP384R1,
    bytes.fromhex("2b240303020801010d"): ec.BrainpoolP512R1,
}
"""By object identifier (RFC 9580 §9.2)."""

_HASHES = {8: "sha256", 9: "sha384", 10: "sha512"}
"""RFC 9580 §9.5."""

_KEK_OCTETS = {7: 16, 8: 24, 9: 32}
"""AES-128, AES-192, AES-256 (RFC 9580 §9.3)."""

_KDF_BY_KEY_SIZE = {256: (8, 7), 384: (9, 8), 512: (10, 9), 521: (10, 9)}
"""What version 6 keys must say for a curve of so many bits (RFC 9580 §11.5.1)."""

_ECDH = b"\x12"
_PADDED_OCTETS = 40


class _Point(Protocol):
    def agree(self) -> tuple[bytes, bytes]:
        """Return a new ephemeral point as the MPI holds it, and the secret shared with it."""


class ECDHKey:
    """A point on a curve, and how the key that wraps is derived."""

    def __init__(self, point: _Point, oid: bytes, kdf: bytes, fingerprint: bytes) -> None:
        """`kdf`: the three octets of RFC 9580 §5.5.5.6. Raises UnusableSubkey."""
        reserved, hash_id, cipher_id = kdf
        if reserved != 1 or hash_id not in _HASHES or cipher_id not in _KEK_OCTETS:
            raise UnusableSubkey("ECDH with KDF parameters that are not SHA-2 and AES")
        self._point = point
        self._hash = _HASHES[hash_id]
        self._kek_octets = _KEK_OCTETS[cipher_id]
        # RFC 9580 §11.5; the blanks are part of the name.
        self._parameters = b"".join(
            [bytes([len(oid)]), oid, _ECDH, b"\x03", kdf, b"Anonymous Sender    ", fingerprint]
        )

    @classmethod
    def read(cls, fields: Fields, fingerprint: bytes, version: int) -> Self:
        """Take the key material; raises UnusableSubkey, MalformedPacket."""
        oid = fields.counted()
        if oid == CURVE25519_LEGACY and version != 4:
            raise UnusableSubkey("Curve25519Legacy outside of a version 4 key")
        point = _point(oid, fields.mpi())
        kdf = fields.counted()
        if len(kdf) != 3:
            raise UnusableSubkey("ECDH KDF parameters of a form not known")
        if version == 6 and tuple(kdf[1:]) != _KDF_BY_KEY_SIZE[_CURVES[oid]().key_size]:
            raise UnusableSubkey("ECDH KDF parameters not those of a version 6 key")
        return cls(point, oid, kdf, fingerprint)

    def wrap(self, session_key: SessionKey, version: SEIPDVersion) -> bytes:
        """Return the fields of RFC 9580 §5.1.5."""
        ephemeral, shared = self._point.agree()
        derived = hashlib.new(self._hash, b"\0\0\0\1" + shared + self._parameters)
        padded = pad(with_checksum(session_key, version))
        wrapped = aes_key_wrap(derived.digest()[: self._kek_octets], padded)
        return mpi(ephemeral) + bytes([len(wrapped)]) + wrapped


def pad(octets: bytes) -> bytes:
    """Pad up to 40 octets, each saying how many were added (RFC 9580 §11.5).

    40 whatever the cipher, so that the length does not tell which it is.
    """
    added = _PADDED_OCTETS - len(octets)
    return octets + bytes([added]) * added


class _Curve25519Point:
    def __init__(self, encoded: bytes) -> None:
        # RFC 9580 §11.2.2: native octets behind a prefix.
        if len(encoded) != 33 or encoded[0] != 0x40:
            raise UnusableSubkey("Curve25519 point malformed")
        self._native = X25519Key(encoded[1:])

    def agree(self) -> tuple[bytes, bytes]:
        ephemeral, shared = self._native.agree()
        return b"\x40" + ephemeral, shared


class _WeierstrassPoint:
    def __init__(self, curve: ec.EllipticCurve, encoded: bytes) -> None:
        # RFC 9580 §11.2.1 knows the uncompressed form only.
        if encoded[:1] != b"\x04":
            raise UnusableSubkey("point not in uncompressed form")
        try:
            self._public_key = ec.EllipticCurvePublicKey.from_encoded_point(curve, encoded)
        except ValueError:
            raise UnusableSubkey("point is not on the curve") from None

    def agree(self) -> tuple[bytes, bytes]:
        private = ec.generate_private_key(self._public_key.curve)
        ephemeral = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return ephemeral, private.exchange(ec.ECDH(), self._public_key)


def _point(oid: bytes, encoded: bytes) -> _Point:
    if oid == CURVE25519_LEGACY:
        return _Curve25519Point(encoded)
    if curve := _CURVES.get(oid):
        return _WeierstrassPoint(curve(), encoded)
    raise UnusableSubkey("ECDH on a curve not known")
