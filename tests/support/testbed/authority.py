"""An authority of a test's own, which vouches for servers on testbed hosts."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from testbed.host import Host


class Authority:
    """Made anew for each test run."""

    def __init__(self) -> None:
        """Make its key and its certificate."""
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("testbed")
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        builder = _builder(self._name, self._name, self._key.public_key())
        builder = builder.add_extension(constraints, critical=True)
        self._certificate = builder.sign(self._key, hashes.SHA256())

    @property
    def certificate(self) -> str:
        """PEM."""
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    def certify(self, host: Host, certificate: str, key: str, owner: str) -> None:
        """Write a certificate for `host` and its private key into files there, for `owner`."""
        private = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName(host.fqdn), x509.IPAddress(ipaddress.ip_address(host.address))]
        builder = _builder(_name(host.fqdn), self._name, private.public_key())
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        signed = builder.sign(self._key, hashes.SHA256())
        host.write(certificate, signed.public_bytes(serialization.Encoding.PEM))
        octets = private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        host.write(key, octets, mode="600")
        host.run(f"chown {owner} {certificate} {key}")


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
    )
