"""Mail signed by somebody else, rightly or in any wrong way: DKIM and ARC.

Nothing of the code under test is used. Bodies and fields are canonicalized by dkimpy.
"""

import base64
import hashlib
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import dkim
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from dkim.canonicalization import CanonicalizationPolicy

NAMES = "from:to:subject:date:message-id"
NOW = int(time.time())
"""When the signatures are made; other verifiers go by the real clock."""


@dataclass(frozen=True)
class Key:
    """One that signs as `selector`._domainkey.`domain`."""

    private: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
    domain: str = "example.org"
    selector: str = "sel"

    @property
    def name(self) -> str:
        """Where its record is."""
        return f"{self.selector}._domainkey.{self.domain}"

    @property
    def algorithm(self) -> str:
        """Its a=."""
        return "rsa-sha256" if isinstance(self.private, rsa.RSAPrivateKey) else "ed25519-sha256"

    @property
    def p(self) -> str:
        """Its p=."""
        public = self.private.public_key()
        if isinstance(public, ed25519.Ed25519PublicKey):
            return base64.b64encode(public.public_bytes_raw()).decode()
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(der).decode()

    @property
    def bare_p(self) -> str:
        """Its p= as a bare RSAPublicKey, as RFC 6376 has it, erratum 3017 has not."""
        der = self.private.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
        return base64.b64encode(der).decode()

    @property
    def record(self) -> str:
        """Its TXT record."""
        return f"v=DKIM1; k={self.algorithm.partition('-')[0]}; p={self.p}"

    @property
    def pem(self) -> bytes:
        """An RSA key as dkimpy and opendkim want it."""
        return self.private.private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        )

    def sign(self, octets: bytes, hash_name: str = "sha256") -> bytes:
        """Return the signature."""
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(hashlib.sha256(octets).digest())
        algorithm = SHA1() if hash_name == "sha1" else SHA256()
        return self.private.sign(octets, padding.PKCS1v15(), algorithm)


@cache
def rsa_key(bits: int = 2048, selector: str = "sel", domain: str = "example.org") -> Key:
    """Return an RSA key, always the same."""
    if bits >= 1024:
        return Key(rsa.generate_private_key(65537, bits), domain, selector)
    pem = subprocess.run(
        ["openssl", "genrsa", str(bits)], check=True, capture_output=True, timeout=60
    ).stdout
    private = load_pem_private_key(pem, None)
    assert isinstance(private, rsa.RSAPrivateKey)
    return Key(private, domain, selector)


@cache
def ed25519_key(selector: str = "ed", domain: str = "example.org") -> Key:
    """Return an Ed25519 key, always the same."""
    return Key(ed25519.Ed25519PrivateKey.generate(), domain, selector)


def message(body: bytes = b"Hello  Bob,\r\n\r\nall is well. \r\n\r\n\r\n") -> bytes:
    """Return mail that is not signed."""
    return (
        b"Received: from a.example.org (a.example.org [192.0.2.1])\r\n"
        b"\tby b.example.org with ESMTPS;\r\n\tFri, 20 Nov 2026 11:00:00 +0000\r\n"
        b"From: Alice <alice@example.org>\r\n"
        b"To: bob@example.net\r\n"
        b"Subject: A  subject that is\r\n  folded \r\n"
        b"Date: Fri, 20 Nov 2026 11:00:00 +0000\r\n"
        b"Message-ID: <1@example.org>\r\n"
        b"MIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"\r\n" + body
    )


def tags(key: Key, **others: str) -> dict[str, str]:
    """Return the tags of an ordinary signature; `others` replace or add, an empty one removes."""
    usual = {
        "v": "1",
        "a": key.algorithm,
        "c": "relaxed/relaxed",
        "d": key.domain,
        "s": key.selector,
        "t": str(NOW),
        "h": NAMES,
    }
    return {name: value for name, value in {**usual, **others}.items() if value}


def field(mail: bytes, key: Key, use: Mapping[str, str], form: str = "{}") -> bytes:
    """Return a DKIM-Signature field for `mail`.

    `use` are its tags; bh= and b= are made where they are not there. In `form`, {} stands for the
    tag list, and b= is the last in it.
    """
    listed = {**use, "bh": use.get("bh") or _body_hash(mail, use)}
    b = listed.pop("b", None)
    text = "; ".join(f"{name}={value}" for name, value in listed.items())
    value = " " + form.replace("{}", text + ";\r\n\tb=")
    if b is None:
        signature = key.sign(_hashed(mail, value, listed), _hash_name(listed))
        encoded = base64.b64encode(signature).decode()
        b = "\r\n\t ".join(encoded[at : at + 68] for at in range(0, len(encoded), 68))
    return b"DKIM-Signature:" + value.replace("\tb=", f"\tb={b}").encode() + b"\r\n"


def signed(mail: bytes, key: Key, form: str = "{}", **others: str) -> bytes:
    """Return `mail` with a signature on top; `others` are tags (see `tags`)."""
    return field(mail, key, tags(key, **others), form) + mail


def _policy(use: Mapping[str, str]) -> CanonicalizationPolicy:
    # A c= that does not exist is for those who verify.
    return CanonicalizationPolicy.from_c_value(use.get("c", "simple/simple").encode())


def _body_hash(mail: bytes, use: Mapping[str, str]) -> str:
    _, _, body = mail.partition(b"\r\n\r\n")
    canonical = _policy(use).canonicalize_body(body)
    if "l" in use and use["l"].isdecimal():
        canonical = canonical[: int(use["l"])]
    return base64.b64encode(hashlib.new(_hash_name(use), canonical).digest()).decode()


def _hash_name(use: Mapping[str, str]) -> str:
    return "sha1" if use.get("a") == "rsa-sha1" else "sha256"


def _hashed(mail: bytes, value: str, use: Mapping[str, str]) -> bytes:
    policy = _policy(use)
    fields = policy.canonicalize_headers(dkim.rfc822_parse(mail)[0])
    names = [one.strip().lower().encode() for one in use.get("h", "").split(":")]
    chosen: Sequence[tuple[bytes, bytes]] = dkim.select_headers(fields, names)
    own_field = (b"DKIM-Signature", value.encode() + b"\r\n")
    ((own, text),) = policy.canonicalize_headers([own_field])
    pieces = [f + b":" + v for f, v in chosen]
    return b"".join(pieces) + own + b":" + text.removesuffix(b"\r\n")


def sealed(mail: bytes, key: Key, chain: str = "none", authserv_id: str = "relay.test") -> bytes:
    """Return `mail` with one more ARC Set, made by dkimpy; `chain` is the cv= before it."""
    results = f"Authentication-Results: {authserv_id}; arc={chain}\r\n".encode()
    lines = dkim.arc_sign(
        results + mail,
        key.selector.encode(),
        key.domain.encode(),
        key.pem,
        authserv_id.encode(),
        include_headers=[b"from", b"to", b"subject", b"date", b"message-id"],
        timestamp=NOW,
    )
    assert lines
    return b"".join(lines) + mail
