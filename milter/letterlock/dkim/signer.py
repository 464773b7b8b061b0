"""One private key that signs (RFC 6376, RFC 8463), and what it is made, stored and known as."""

import hashlib
from enum import Enum
from typing import Self, assert_never

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from letterlock.dkim.public_key import Algorithm
from letterlock.errors import SigningImpossible

BITS_MIN = 2048
"""RFC 8301 §3.2: signers SHOULD use no less."""

_EXPONENT = 65537


class KeyType(Enum):
    """What is said of a key in the DNS (k=, RFC 6376 §3.6.1, RFC 8463 §4)."""

    RSA = "rsa"
    ED25519 = "ed25519"


class Signer:
    """A selector and its private key, of which no representation is ever printed."""

    def __init__(self, selector: str, private_key: RSAPrivateKey | Ed25519PrivateKey) -> None:
        """Raise SigningImpossible for an RSA key that is too short."""
        if isinstance(private_key, RSAPrivateKey) and private_key.key_size < BITS_MIN:
            raise SigningImpossible(f"{selector}: an RSA key of less than {BITS_MIN} bits")
        self.selector = selector
        self._private_key = private_key

    @classmethod
    def generate(cls, selector: str, key_type: KeyType, bits: int = BITS_MIN) -> Self:
        """Return a new one. `bits` is for RSA only."""
        match key_type:
            case KeyType.RSA:
                return cls(selector, generate_private_key(_EXPONENT, bits))
            case KeyType.ED25519:
                return cls(selector, Ed25519PrivateKey.generate())
            case _:
                assert_never(key_type)

    @classmethod
    def from_pem(cls, selector: str, pem: bytes) -> Self:
        """Take a private key without a password. Raises SigningImpossible."""
        try:
            private_key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # Without the cause: nobody promises that its text holds nothing of the file.
            raise SigningImpossible(f"{selector}: the file holds no private key") from None
        if not isinstance(private_key, RSAPrivateKey | Ed25519PrivateKey):
            raise SigningImpossible(f"{selector}: neither an RSA nor an Ed25519 key")
        return cls(selector, private_key)

    @property
    def key_type(self) -> KeyType:
        """Which of the two it is."""
        rsa = isinstance(self._private_key, RSAPrivateKey)
        return KeyType.RSA if rsa else KeyType.ED25519

    @property
    def algorithm(self) -> Algorithm:
        """How it signs (a=)."""
        match self.key_type:
            case KeyType.RSA:
                return Algorithm.RSA_SHA256
            case KeyType.ED25519:
                return Algorithm.ED25519_SHA256
            case _:
                assert_never(self.key_type)

    @property
    def pem(self) -> bytes:
        """The private key as it is stored: PKCS #8, not encrypted."""
        return self._private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def public_octets(self) -> bytes:
        """The public key as the DNS has it, before base64.

        For RSA a SubjectPublicKeyInfo (RFC 6376 erratum 3017), for Ed25519 the bare 32 octets
        (RFC 8463 §4.2).
        """
        public_key = self._private_key.public_key()
        match self.key_type:
            case KeyType.RSA:
                return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            case KeyType.ED25519:
                return public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)
            case _:
                assert_never(self.key_type)

    def sign(self, octets: bytes) -> bytes:
        """Return the signature over `octets` (RFC 6376 §3.3.2)."""
        if isinstance(self._private_key, RSAPrivateKey):
            return self._private_key.sign(octets, PKCS1v15(), SHA256())
        # RFC 8463 §3: what PureEdDSA signs is the hash.
        return self._private_key.sign(hashlib.sha256(octets).digest())
