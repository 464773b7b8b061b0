"""What the public-key algorithms share: the seam, the refusal, the session key in clear."""

from typing import Protocol

from letterlock.openpgp.seipd import AES_256, SEIPDVersion, SessionKey


class UnusableSubkey(ValueError):
    """Nothing can be encrypted to this (sub)key; the message says why, without its octets."""


class PublicKey(Protocol):
    """The key material of one (sub)key."""

    def wrap(self, session_key: SessionKey, version: SEIPDVersion) -> bytes:
        """Return the algorithm-specific fields of a PKESK (RFC 9580 §5.1.3 to §5.1.7)."""


def algorithm_octet(version: SEIPDVersion) -> bytes:
    """Return the cipher's ID, which a version 6 PKESK leaves to the SEIPD (RFC 9580 §5.1.2)."""
    return bytes([AES_256]) if version is SEIPDVersion.V1 else b""


def with_checksum(session_key: SessionKey, version: SEIPDVersion) -> bytes:
    """Return what RSA and ECDH encrypt (RFC 9580 §5.1.3, §11.5); the checksum is of the key."""
    checksum = sum(session_key.octets) % 65536
    return algorithm_octet(version) + session_key.octets + checksum.to_bytes(2, "big")
