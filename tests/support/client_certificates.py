"""openssl as the other side of the client CA: makes requests, verifies what was issued."""

import subprocess
from pathlib import Path

PASSPHRASE = b"a passphrase of these tests, 32 octets or more"


def openssl(*arguments: str | Path, octets: bytes = b"") -> bytes:
    """Run it; return what it wrote to stdout, fail with what it wrote to stderr."""
    command = ["openssl", *map(str, arguments)]
    done = subprocess.run(command, input=octets, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def request(directory: Path, *key: str, subject: str = "/CN=mallory@example.net") -> Path:
    """Make a key pair (arguments of `openssl req`) and a request for it; return its file.

    The private key is beside it, as `.key`.
    """
    path = directory / f"{abs(hash((*key, subject)))}.csr"
    openssl(
        "req",
        "-new",
        "-nodes",
        "-subj",
        subject,
        "-keyout",
        path.with_suffix(".key"),
        "-out",
        path,
        *(key or ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")),
    )
    return path


def verify(ca: str, certificate: str, directory: Path, *options: str) -> str:
    """Return the verdict of `openssl verify` on PEM texts: `OK`, or what it says instead."""
    trusted, shown = directory / "verify-ca.pem", directory / "verify.pem"
    trusted.write_text(ca)
    shown.write_text(certificate)
    command = ["openssl", "verify", "-x509_strict", *options, "-CAfile", trusted, shown]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return "OK" if done.returncode == 0 else done.stdout + done.stderr


def colons(fingerprint: str) -> str:
    """Return a fingerprint as Postfix asks for it."""
    digits = fingerprint.upper()
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))


def passphrase_file(directory: Path, passphrase: bytes = PASSPHRASE) -> Path:
    """Return a file with the passphrase of the authorities' keys."""
    path = directory / "client-ca.passphrase"
    path.touch(mode=0o600)
    path.write_bytes(passphrase + b"\n")
    return path
