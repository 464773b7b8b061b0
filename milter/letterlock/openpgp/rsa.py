"""RSA (RFC 9580 §5.1.3, §5.5.5.1)."""

from typing import Self

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

from letterlock.openpgp.packets import Fields, mpi
from letterlock.openpgp.publickey import UnusableSubkey, with_checksum
from letterlock.openpgp.seipd import SEIPDVersion, SessionKey

MODULUS_BITS_MIN = 2048
"""RFC 9580 §12.4: nothing may be encrypted with less."""

MODULUS_BITS_MAX = 16384
"""OpenSSL's own bound; more is an attack on the clock."""

EXPONENT_BITS_MAX = 64
"""OpenSSL's own bound for a modulus over 3072 bits."""


class RSAKey:
    """A modulus and an exponent."""

    def __init__(self, modulus: int, exponent: int) -> None:
        """Raise UnusableSubkey for what is too small, too large or no RSA key at all."""
        if modulus.bit_length() < MODULUS_BITS_MIN:
            raise UnusableSubkey("RSA modulus below 2048 bits")
        if modulus.bit_length() > MODULUS_BITS_MAX or exponent.bit_length() > EXPONENT_BITS_MAX:
            raise UnusableSubkey("RSA modulus or exponent too large")
        if modulus % 2 == 0 or exponent % 2 == 0 or exponent < 3:
            raise UnusableSubkey("RSA modulus or exponent impossible")
        self._public_key = RSAPublicNumbers(exponent, modulus).public_key()

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Take the key material; raises UnusableSubkey, MalformedPacket."""
        modulus = int.from_bytes(fields.mpi(), "big")
        return cls(modulus, exponent=int.from_bytes(fields.mpi(), "big"))

    def wrap(self, session_key: SessionKey, version: SEIPDVersion) -> bytes:
        """Return the fields of RFC 9580 §5.1.3."""
        return mpi(self._public_key.encrypt(with_checksum(session_key, version), PKCS1v15()))
