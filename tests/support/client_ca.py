"""An authority for client certificates, and certificates as no honest one would issue them."""

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier


@dataclass(frozen=True, slots=True)
class Shown:
    """What a client shows."""

    file: Path
    """Certificate and private key, PEM."""

    fingerprint: str
    """SHA-256, as Postfix writes it."""


class ClientCA:
    """Issues what it is asked for."""

    def __init__(self, directory: Path, name: str = "Test client CA") -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self.certificate = (
            _builder(self._name, self._name, self._key, days=30)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )

    def issue(
        self,
        address: str,
        *,
        days: int = 10,
        usage: ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
        self_signed: bool = False,
    ) -> Shown:
        """Return a certificate for `address` that is good for `days` from yesterday on.

        `days` may be negative: it has ended that long ago.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        issuer, signer = (_name(address), key) if self_signed else (self._name, self._key)
        certificate = (
            _builder(_name(address), issuer, key, days=days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .sign(signer, hashes.SHA256())
        )
        fingerprint = certificate.fingerprint(hashes.SHA256()).hex(":").upper()
        file = self._directory / f"{fingerprint[:11].replace(':', '')}.pem"
        file.touch(mode=0o600)
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + _private(key))
        return Shown(file, fingerprint)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, days: int
) -> x509.CertificateBuilder:
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    begin = min(end, datetime.datetime.now(datetime.UTC)) - datetime.timedelta(days=1)
    number = x509.random_serial_number()
    return x509.CertificateBuilder(issuer, subject, key.public_key(), number, begin, end)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
