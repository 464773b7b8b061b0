"""The (sub)key a message is encrypted to, and its PKESK (RFC 9580 §5.5.2, §5.1)."""

import hashlib
from dataclasses import dataclass, field
from typing import Self, assert_never

from letterlock.openpgp.ecdh import ECDHKey
from letterlock.openpgp.packets import Fields, MalformedPacket, PacketType, packet
from letterlock.openpgp.publickey import PublicKey, UnusableSubkey
from letterlock.openpgp.rsa import RSAKey
from letterlock.openpgp.seipd import SEIPDVersion, SessionKey
from letterlock.openpgp.xdh import X448Key, X25519Key

__all__ = ["RecipientSubkey", "UnusableSubkey"]


@dataclass(frozen=True, slots=True)
class RecipientSubkey:
    """One Public-Key or Public-Subkey packet that messages can be encrypted to.

    That its owner wants this, and still does, was judged by the key service.
    """

    version: int
    """4 or 6."""

    fingerprint: bytes
    """20 octets in version 4, 32 in version 6."""

    algorithm: int
    """RFC 9580 §9.1."""

    _public_key: PublicKey = field(repr=False)

    @classmethod
    def from_packet(cls, body: bytes) -> Self:
        """Return the subkey that the body of a packet holds.

        Raises UnusableSubkey, with the reason, for whatever cannot be encrypted to: what
        this returns never fails later.
        """
        try:
            subkey = cls._parse(body)
            # A point of small order and the like come to light only in use.
            subkey.pkesk(SessionKey.generate(), SEIPDVersion.V1)
        except UnusableSubkey:
            raise
        except MalformedPacket as error:
            raise UnusableSubkey(str(error)) from None
        except ValueError:
            raise UnusableSubkey("key material impossible") from None
        return subkey

    @classmethod
    def _parse(cls, body: bytes) -> Self:
        fields = Fields(body)
        version = fields.number(1)
        if version not in (4, 6):
            raise UnusableSubkey(f"version {version} of keys is not supported")
        fields.take(4)  # time of creation
        algorithm = fields.number(1)
        if version == 6 and fields.number(4) != len(body) - 10:
            raise UnusableSubkey("length of the key material is not exact")
        fingerprint = _fingerprint(version, body)
        public_key = _public_key(algorithm, fields, fingerprint, version)
        fields.require_end()
        return cls(version, fingerprint, algorithm, public_key)

    @property
    def key_id(self) -> bytes:
        """The 8 octets of RFC 9580 §5.5.4; a hint, never a proof."""
        return self.fingerprint[-8:] if self.version == 4 else self.fingerprint[:8]

    @property
    def seipd(self) -> SEIPDVersion:
        """The version that whoever holds this subkey can read, without asking its features."""
        return SEIPDVersion.V1 if self.version == 4 else SEIPDVersion.V2

    def pkesk(self, session_key: SessionKey, version: SEIPDVersion) -> bytes:
        """Return the packet that goes before an SEIPD packet of `version`.

        Version 3 before SEIPD version 1, 6 before 2 (RFC 9580 §10.3.2.1).
        """
        match version:
            case SEIPDVersion.V1:
                recipient = b"\x03" + self.key_id
            case SEIPDVersion.V2:
                names = bytes([self.version]) + self.fingerprint
                recipient = b"\x06" + bytes([len(names)]) + names
            case _:
                assert_never(version)
        wrapped = self._public_key.wrap(session_key, version)
        return packet(PacketType.PKESK, recipient + bytes([self.algorithm]) + wrapped)


def _fingerprint(version: int, body: bytes) -> bytes:
    if version == 4:
        # RFC 9580 §5.5.4.2. It identifies; that SHA-1 collides harms nobody here.
        prefix = b"\x99" + (len(body) % 65536).to_bytes(2, "big")
        return hashlib.sha1(prefix + body, usedforsecurity=False).digest()
    prefix = b"\x9b" + len(body).to_bytes(4, "big")  # RFC 9580 §5.5.4.3
    return hashlib.sha256(prefix + body).digest()


def _public_key(algorithm: int, fields: Fields, fingerprint: bytes, version: int) -> PublicKey:
    match algorithm:  # RFC 9580 §9.1
        case 1 | 2:
            return RSAKey.read(fields)
        case 18:
            return ECDHKey.read(fields, fingerprint, version)
        case 25:
            return X25519Key.read(fields)
        case 26:
            return X448Key.read(fields)
        case _:
            raise UnusableSubkey(f"nothing can be encrypted with algorithm {algorithm}")
