"""DKIM and ARC of the original verify after it was wrapped and restored."""

import base64
from collections.abc import Callable

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

import messages
from letterlock.header_protection import Form, payload_head
from letterlock.message import split
from letterlock.restore import restore

DOMAIN = b"sender.example"
CANONICALIZATIONS = [(h, b) for h in (b"simple", b"relaxed") for b in (b"simple", b"relaxed")]

ORIGINAL = (
    b"Received: from mx.sender.example\r\n\tby mx.example.org; Fri, 20 Nov 2026 06:00:00 +0000\r\n"
    b"Authentication-Results: mx.example.org; none\r\n"
    b"from:   =?utf-8?Q?B=C3=B6b?=\r\n\t<bob@sender.example>  \r\n"
    b"Subject:\r\n  folded \t at   once\r\n"
    b"To: alice@example.org\r\n"
    b"Date: Fri, 20 Nov 2026 07:00:00 +0100\r\n"
    b"Message-ID: <1@sender.example>\r\n"
    b"MIME-Version: 1.0\r\n"
    b'content-type: text/plain;charset="utf-8"; hp=cipher;\r\n\tprotected-headers = v1\r\n'
    b"Content-Transfer-Encoding: 8bit\r\n"
    b"\r\n"
    b"trailing blanks \t \r\n\r\n\xe2\x9c\x93  two  blanks\r\n" + b"x" * 2_000 + b"\r\n\r\n\r\n"
)
SIGNED_FIELDS = [
    b"from",
    b"subject",
    b"to",
    b"date",
    b"message-id",
    b"mime-version",
    b"content-type",
]

DNS = Callable[..., bytes]


def _pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


@pytest.fixture(scope="module")
def keys() -> dict[bytes, tuple[bytes, DNS]]:
    """Private keys as dkimpy takes them, each with a resolver that knows its public half."""
    rsa_key = rsa.generate_private_key(65537, 2048)
    public = rsa_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    ed_key = ed25519.Ed25519PrivateKey.generate()
    rsa_record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)
    ed_record = b"v=DKIM1; k=ed25519; p=" + base64.b64encode(ed_key.public_key().public_bytes_raw())
    return {
        b"rsa-sha256": (_pem(rsa_key), lambda *_, **__: rsa_record),
        b"ed25519-sha256": (
            base64.b64encode(ed_key.private_bytes_raw()),
            lambda *_, **__: ed_record,
        ),
    }


def _round_trip(octets: bytes, form: Form) -> bytes:
    section, body = split(octets)
    return restore(payload_head(section, form, None) + body).octets


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("canonicalize", CANONICALIZATIONS)
@pytest.mark.parametrize("algorithm", [b"rsa-sha256", b"ed25519-sha256"])
@pytest.mark.parametrize("octets", [ORIGINAL, messages.PLAIN], ids=["awkward", "plain"])
def test_dkim_survives(
    keys: dict[bytes, tuple[bytes, DNS]],
    algorithm: bytes,
    canonicalize: tuple[bytes, bytes],
    form: Form,
    octets: bytes,
) -> None:
    """RFC 6376, RFC 8463: every canonicalization, every form of payload."""
    private, dns = keys[algorithm]
    signature = dkim.sign(
        octets,
        b"s",
        DOMAIN,
        private,
        canonicalize=canonicalize,
        signature_algorithm=algorithm,
        include_headers=SIGNED_FIELDS,
    )
    assert dkim.verify(signature + octets, dnsfunc=dns)

    assert dkim.verify(_round_trip(signature + octets, form), dnsfunc=dns)


@pytest.mark.parametrize("form", Form)
def test_arc_survives(keys: dict[bytes, tuple[bytes, DNS]], form: Form) -> None:
    """RFC 8617: a chain sealed before us still passes."""
    private, dns = keys[b"rsa-sha256"]
    chain = b"".join(
        dkim.arc_sign(ORIGINAL, b"s", DOMAIN, private, b"mx.example.org", SIGNED_FIELDS)
    )
    restored = _round_trip(chain + ORIGINAL, form)

    status, _, reason = dkim.arc_verify(restored, dnsfunc=dns)

    assert (b"pass", "success") == (status, reason)
