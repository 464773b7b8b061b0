"""A certification authority of a test's own."""

import datetime
import ipaddress
import ssl
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Identity(NamedTuple):
    """A certificate and its private key, both PEM."""

    certificate: str
    key: str


class Authority:
    """Issues certificates that only those who have `certificate` or `trust` trust."""

    def __init__(self) -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("Test authority")
        self._certificate = self._issue(self._name, self._private.public_key(), None)

    @property
    def certificate(self) -> str:
        """PEM."""
        return _pem(self._certificate)

    def trust(self) -> ssl.SSLContext:
        """Return a client's context that trusts this authority and no other."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.certificate)
        return context

    def identity(self, names: Sequence[str]) -> Identity:
        """Return what somebody needs to be all of `names`: of hosts, or their addresses."""
        private = ec.generate_private_key(ec.SECP256R1())
        issued = self._issue(_name(names[0]), private.public_key(), names)
        key = private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return Identity(_pem(issued), key.decode())

    def server(self, names: Sequence[str]) -> ssl.SSLContext:
        """Return a server's context for `names`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "server.pem")
            path.write_text("".join(self.identity(names)))
            context.load_cert_chain(path)
        return context

    def _issue(
        self, subject: x509.Name, public: ec.EllipticCurvePublicKey, names: Sequence[str] | None
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=names is None, path_length=None), True)
        )
        if names is not None:
            alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
            builder = builder.add_extension(alternatives, False)
        return builder.sign(self._private, hashes.SHA256())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _alternative(name: str) -> x509.GeneralName:
    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
