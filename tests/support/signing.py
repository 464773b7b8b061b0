"""DKIM signatures of a sender, with the DNS that knows his keys."""

import base64
from dataclasses import dataclass

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

DOMAIN = b"sender.example"
_SIGNED = [b"from", b"to", b"subject", b"date", b"message-id", b"mime-version", b"content-type"]


@dataclass(frozen=True, slots=True)
class Signer:
    """A signing key as dkimpy takes it, and the TXT record of its public half."""

    algorithm: bytes
    private: bytes
    record: bytes

    def signature(self, message: bytes, canonicalize: tuple[bytes, bytes]) -> bytes:
        """Return the DKIM-Signature field for `message`."""
        signed: bytes = dkim.sign(
            message,
            b"s",
            DOMAIN,
            self.private,
            canonicalize=canonicalize,
            signature_algorithm=self.algorithm,
            include_headers=_SIGNED,
        )
        return signed

    def dns(self, *_: object, **__: object) -> bytes:
        """Answer as the DNS of the sender does."""
        return self.record


def signers() -> list[Signer]:
    """Return new signers: RSA (RFC 6376) and Ed25519 (RFC 8463)."""
    rsa_key = rsa.generate_private_key(65537, 2048)
    rsa_pem = rsa_key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    rsa_public = rsa_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    ed_key = ed25519.Ed25519PrivateKey.generate()
    ed_private = base64.b64encode(ed_key.private_bytes_raw())
    ed_public = ed_key.public_key().public_bytes_raw()
    return [
        Signer(b"rsa-sha256", rsa_pem, b"v=DKIM1; k=rsa; p=" + base64.b64encode(rsa_public)),
        Signer(
            b"ed25519-sha256", ed_private, b"v=DKIM1; k=ed25519; p=" + base64.b64encode(ed_public)
        ),
    ]
