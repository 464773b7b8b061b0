"""A certification authority: made, encrypted to rest, and unlocked to issue."""

from datetime import datetime
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from keyservice.client_ca.authority_store import NewAuthority
from keyservice.client_ca.errors import CALocked
from keyservice.client_ca.months import first_day
from keyservice.client_ca.public_key import fingerprint

YEARS = 10

_NAME = "{} client CA {}"


class Authority(NamedTuple):
    """An authority that can issue; for one use, and never kept."""

    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey

    def __repr__(self) -> str:
        """Return a text without the private key, for logs and tracebacks."""
        return "Authority(…)"


def make_authority(organisation: str, passphrase: bytes, now: float) -> NewAuthority:
    """Return a new authority whose name begins with `organisation` and is like no other's."""
    private_key = ec.generate_private_key(ec.SECP256R1())
    name = _NAME.format(organisation, fingerprint(private_key.public_key())[:8])
    not_before, not_after = first_day(now, -1), first_day(now, 12 * YEARS)
    certificate = _self_signed(name, private_key, not_before, not_after)
    encrypted = private_key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase)
    )
    return NewAuthority(
        name, certificate.public_bytes(Encoding.DER), encrypted, int(not_after.timestamp())
    )


def unlock(certificate: bytes, private_key: bytes, passphrase: bytes) -> Authority:
    """Return the authority of `certificate` (DER). Raises CALocked."""
    ours = x509.load_der_x509_certificate(certificate)
    try:
        opened = load_pem_private_key(private_key, passphrase)
    except (ValueError, TypeError):
        raise CALocked("client_ca.passphrase_file: not the passphrase of this authority") from None
    # Issuing with another's key would make certificates that no server takes.
    if not isinstance(opened, ec.EllipticCurvePrivateKey) or (
        opened.public_key() != ours.public_key()
    ):
        raise CALocked("the stored private key is not that of the authority's certificate")
    return Authority(ours, opened)


def key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    """Return the extension that allows this and nothing else."""
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _self_signed(
    name: str, private_key: ec.EllipticCurvePrivateKey, not_before: datetime, not_after: datetime
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    subject_key_id = x509.SubjectKeyIdentifier.from_public_key(private_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(key_cert_sign=True), critical=True)
        # Whoever trusts it for more than it is meant for gets no servers and no S/MIME from it.
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(subject_key_id, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_key_id),
            critical=False,
        )
        .sign(private_key, hashes.SHA256())
    )
