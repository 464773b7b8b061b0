"""The profile of client certificates, and the forms in which one is handed out."""

import hashlib
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from keyservice.client_ca import public_key as keys
from keyservice.client_ca.authority import Authority, key_usage
from keyservice.client_ca.errors import UnsuitableAddress
from keyservice.client_ca.months import first_day
from keyservice.client_ca.public_key import PublicKey
from keyservice.client_ca.store import NewCertificate
from keyservice.mailbox import Mailbox

COMMON_NAME_MAX = 64
"""X.520 ub-common-name; OpenSSL and others refuse more."""


class Signed(NamedTuple):
    """A certificate, the authority that signed it, and what is stored of it."""

    certificate: x509.Certificate
    authority: x509.Certificate
    row: NewCertificate


def require_suitable(mailbox: Mailbox) -> None:
    """Raise UnsuitableAddress if a certificate cannot name `mailbox`."""
    if not mailbox.key.isascii():
        # RFC 5280 §4.2.1.6: rfc822Name is IA5String. Mail clients do not know what RFC 9598
        # has for others, and Postfix would have to compare them.
        raise UnsuitableAddress("a client certificate can only name an address in ASCII")
    if len(mailbox.key) > COMMON_NAME_MAX:
        raise UnsuitableAddress(
            f"the common name of a certificate ends at {COMMON_NAME_MAX} octets, and this"
            f" address has {len(mailbox.key)}"
        )


def generate() -> ec.EllipticCurvePrivateKey:
    """Return a new private key; whoever gets it is the only one who has it."""
    return ec.generate_private_key(ec.SECP256R1())


def sign(
    authority: Authority, mailbox: Mailbox, public_key: PublicKey, now: float, months: int
) -> Signed:
    """Return a certificate for submitting mail as `mailbox`, good for `months` at least.

    It may end earlier, with the authority. Two that are issued in the same month are good for
    the same time.
    """
    issuer = authority.certificate
    not_after = min(first_day(now, months + 1), issuer.not_valid_after_utc)
    subject_key_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, mailbox.key)]))
        .issuer_name(issuer.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())  # 159 random bits: RFC 5280 §4.1.2.2
        .not_valid_before(first_day(now, -1))
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(mailbox.key)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_key_id),
            critical=False,
        )
        .sign(authority.private_key, hashes.SHA256())
    )
    der = certificate.public_bytes(Encoding.DER)
    row = NewCertificate(
        hashlib.sha256(der).hexdigest(),
        keys.fingerprint(public_key),
        der,
        int(certificate.not_valid_before_utc.timestamp()),
        int(certificate.not_valid_after_utc.timestamp()),
    )
    return Signed(certificate, issuer, row)


def common_name(certificate: x509.Certificate) -> str:
    """Return the common name of the subject, which each of ours has."""
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def pem(certificate: x509.Certificate) -> str:
    """Return a certificate as text."""
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def pem_of_key(private_key: ec.EllipticCurvePrivateKey) -> str:
    """Return a private key as text, not encrypted."""
    octets = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return octets.decode("ascii")


def pkcs12_of(signed: Signed, private_key: ec.EllipticCurvePrivateKey, password: str) -> bytes:
    """Return everything in one file (RFC 7292) that mail clients import."""
    encryption = BestAvailableEncryption(password.encode())
    name = common_name(signed.certificate).encode()
    return pkcs12.serialize_key_and_certificates(
        name, private_key, signed.certificate, [signed.authority], encryption
    )
