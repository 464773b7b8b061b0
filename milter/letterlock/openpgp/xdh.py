"""X25519 and X448 (RFC 9580 §5.1.6, §5.1.7, §5.5.5.7, §5.5.5.8)."""

from typing import Self

from cryptography.hazmat.primitives.asymmetric.x448 import X448PrivateKey, X448PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from letterlock.openpgp.packets import Fields
from letterlock.openpgp.publickey import algorithm_octet
from letterlock.openpgp.seipd import SEIPDVersion, SessionKey


class X25519Key:
    """A point of 32 octets."""

    def __init__(self, point: bytes) -> None:
        self._point = point
        self._public_key = X25519PublicKey.from_public_bytes(point)

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Take the key material; raises MalformedPacket."""
        return cls(fields.take(32))

    def agree(self) -> tuple[bytes, bytes]:
        """Return a new ephemeral point and the secret shared with it (RFC 7748 §6.1).

        Raises ValueError if the point is of small order: everybody would know the secret.
        """
        private = X25519PrivateKey.generate()
        return private.public_key().public_bytes_raw(), private.exchange(self._public_key)

    def wrap(self, session_key: SessionKey, version: SEIPDVersion) -> bytes:
        """Return the fields of RFC 9580 §5.1.6."""
        ephemeral, shared = self.agree()
        kdf = HKDF(SHA256(), length=16, salt=None, info=b"OpenPGP X25519")
        kek = kdf.derive(ephemeral + self._point + shared)
        return ephemeral + _wrapped(kek, session_key, version)


class X448Key:
    """A point of 56 octets."""

    def __init__(self, point: bytes) -> None:
        self._point = point
        self._public_key = X448PublicKey.from_public_bytes(point)

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Take the key material; raises MalformedPacket."""
        return cls(fields.take(56))

    def wrap(self, session_key: SessionKey, version: SEIPDVersion) -> bytes:
        """Return the fields of RFC 9580 §5.1.7."""
        private = X448PrivateKey.generate()
        ephemeral = private.public_key().public_bytes_raw()
        kdf = HKDF(SHA512(), length=32, salt=None, info=b"OpenPGP X448")
        kek = kdf.derive(ephemeral + self._point + private.exchange(self._public_key))
        return ephemeral + _wrapped(kek, session_key, version)


def _wrapped(kek: bytes, session_key: SessionKey, version: SEIPDVersion) -> bytes:
    # The cipher's ID stays outside the wrapping, so it may only be AES here: §5.1.6, §5.1.7.
    fields = algorithm_octet(version) + aes_key_wrap(kek, session_key.octets)
    return bytes([len(fields)]) + fields
