"""One certificate certified by another: by gpg, sq and Sequoia's library, and by hand.

What is made by hand says whatever a test wants it to say; the programs say what they say.
Everything is for alice@example.org unless its name says otherwise.
"""

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import pysequoia
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pysequoia import CipherSuite, Profile

from certificates import ALICE, GnuPG
from keyservice.mailbox import Mailbox
from keyservice.packets import (
    PUBLIC_KEY,
    SIGNATURE,
    USER_ID,
    Component,
    Packet,
    components,
    fingerprint,
    split,
)
from openpgp_subkeys import mpi

MAILBOX = Mailbox.parse("alice@example.org")

_DIGESTS: dict[int, hashes.HashAlgorithm] = {
    2: hashes.SHA1(),
    8: hashes.SHA256(),
    10: hashes.SHA512(),
    12: hashes.SHA3_256(),
    14: hashes.SHA3_512(),
}


class Pair(NamedTuple):
    """An old certificate and the new one that it certified, or did not."""

    old: tuple[Component, ...]
    new: tuple[Component, ...]


def pair(old: bytes, new: bytes) -> Pair:
    """Return a pair from binary certificates."""
    return Pair(components(split(old)), components(split(new)))


@functools.cache
def by_gnupg() -> dict[str, Pair]:
    """Return what gpg certified, by what was special about it."""
    with tempfile.TemporaryDirectory(prefix="ll-gpg-") as home:
        gnupg = GnuPG(Path(home))
        try:
            return _by_gnupg(gnupg)
        finally:
            gnupg.stop()


def _by_gnupg(gnupg: GnuPG) -> dict[str, Pair]:
    def certified(algorithm: str, *options: str, how: str = "--quick-sign-key") -> Pair:
        gnupg.make(ALICE, algorithm)
        old = gnupg.newest()
        gnupg.make(ALICE, "ed25519", subkey="cv25519")
        new = gnupg.newest()
        gnupg.run("--local-user", old, *options, how, new)
        exported = gnupg.run("--export-options", "export-local-sigs", "--export", new)
        return pair(gnupg.export(old), exported)

    pairs = {
        name: certified(name) for name in ("ed25519", "rsa2048", "nistp256", "nistp384", "nistp521")
    }
    pairs["sha1"] = certified("rsa2048", "--allow-weak-key-signatures", "--cert-digest-algo", "SHA1")
    pairs["local"] = certified("ed25519", how="--quick-lsign-key")
    pairs["positive"] = certified("ed25519", "--default-cert-level", "3")
    pairs["with_end"] = certified("ed25519", "--default-cert-expire", "1y")
    pairs["taken_back"] = _taken_back(gnupg, certified("ed25519"))
    return pairs


def _taken_back(gnupg: GnuPG, made: Pair) -> Pair:
    old, new = (fingerprint(certificate[0].packet) for certificate in made)
    gnupg.run("--quick-revoke-sig", new, old)
    return pair(gnupg.export(old), gnupg.export(new))


@functools.cache
def by_sq() -> Pair:
    """Return what the `sq` program certified."""
    assert shutil.which("sq"), "sq is not installed"
    with tempfile.TemporaryDirectory(prefix="ll-sq-") as home:
        for name in ("old", "new"):
            _sq(home, "key", "generate", "--userid", ALICE, "--export", f"{name}.key")
            _sq(home, "key", "extract-cert", "--binary", "--output", f"{name}.pgp", f"{name}.key")
        _sq(home, "certify", "--binary", "--output", "certified.pgp", "old.key", "new.pgp", ALICE)
        return pair(
            (Path(home) / "old.pgp").read_bytes(), (Path(home) / "certified.pgp").read_bytes()
        )


def _sq(directory: str, *arguments: str) -> None:
    done = subprocess.run(
        ["sq", *arguments], cwd=directory, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


SEQUOIA_KEYS = {
    "v4-ed25519": (Profile.RFC4880, CipherSuite.Cv25519),
    "v4-rsa": (Profile.RFC4880, CipherSuite.RSA2k),
    "v4-p384": (Profile.RFC4880, CipherSuite.P384),
    "v6-ed25519": (Profile.RFC9580, CipherSuite.Cv25519),
    "v6-ed448": (Profile.RFC9580, CipherSuite.Cv448),
    "v6-rsa": (Profile.RFC9580, CipherSuite.RSA2k),
    "v6-p256": (Profile.RFC9580, CipherSuite.P256),
    "v6-p521": (Profile.RFC9580, CipherSuite.P521),
}


@functools.cache
def by_sequoia(old: str, new: str) -> Pair:
    """Return what Sequoia's library certified; names as in `SEQUOIA_KEYS`."""
    certifier, certified = _sequoia(old), _sequoia(new)
    # The library has no word for it, but lets anybody bind a user ID to a certificate.
    vouched = certified.extract_certificate().add_user_id(
        value="Alice A. <alice@example.org>", certifier=certifier.certifier()
    )
    return pair(bytes(certifier.extract_certificate()), bytes(vouched))


@functools.cache
def by_subkey() -> Pair:
    """Return a certificate that was certified by a signing subkey of the old one."""
    certifier, certified = _sequoia("v4-ed25519"), _sequoia("v4-ed25519")
    vouched = certified.extract_certificate().add_user_id(
        value="Alice A. <alice@example.org>", certifier=certifier.signer()
    )
    return pair(bytes(certifier.extract_certificate()), bytes(vouched))


def _sequoia(name: str) -> pysequoia.Tsk:
    profile, suite = SEQUOIA_KEYS[name]
    return pysequoia.Tsk.generate(user_ids=[ALICE], profile=profile, cipher_suite=suite)


class Hand:
    """A version 4 EdDSALegacy primary key that signs whatever it is told to."""

    def __init__(self, created: int) -> None:
        """Make a key that claims to be from `created`."""
        self._secret = Ed25519PrivateKey.generate()
        point = b"\x40" + self._secret.public_key().public_bytes_raw()
        oid = bytes.fromhex("2b06010401da470f01")
        material = bytes([len(oid)]) + oid + mpi(int.from_bytes(point, "big"))
        self.primary = Packet(PUBLIC_KEY, b"\x04" + created.to_bytes(4, "big") + b"\x16" + material)
        self.fingerprint = fingerprint(self.primary)

    def certify(
        self,
        certified: Packet,
        user_id: Packet,
        made_at: int | None,
        *more: bytes,
        kind: int = 0x10,
        hash_id: int = 8,
        unhashed: bytes = b"",
    ) -> Packet:
        """Return a certification with `more` hashed subpackets."""
        named = b"\xb4" + len(user_id.body).to_bytes(4, "big") + user_id.body
        subject = _hashed(certified) + named
        return self._sign(subject, kind, hash_id, made_at, b"".join(more), unhashed)

    def revoke(
        self, made_at: int | None, *more: bytes, hash_id: int = 8, unhashed: bytes = b""
    ) -> Packet:
        """Return a revocation of the key itself."""
        return self._sign(_hashed(self.primary), 0x20, hash_id, made_at, b"".join(more), unhashed)

    def _sign(
        self,
        subject: bytes,
        kind: int,
        hash_id: int,
        made_at: int | None,
        more: bytes,
        unhashed: bytes,
    ) -> Packet:
        hashed = subpacket(33, b"\x04" + bytes.fromhex(self.fingerprint)) + more
        if made_at is not None:
            hashed += subpacket(2, made_at.to_bytes(4, "big"))
        signed = bytes([4, kind, 22, hash_id]) + len(hashed).to_bytes(2, "big") + hashed
        digest = hashes.Hash(_DIGESTS[hash_id])
        digest.update(subject + signed + b"\x04\xff" + len(signed).to_bytes(4, "big"))
        octets = digest.finalize()
        made = self._secret.sign(octets)
        numbers = b"".join(mpi(int.from_bytes(half, "big")) for half in (made[:32], made[32:]))
        rest = len(unhashed).to_bytes(2, "big") + unhashed + octets[:2] + numbers
        return Packet(SIGNATURE, signed + rest)


def subpacket(number: int, body: bytes, *, critical: bool = False) -> bytes:
    """Return a signature subpacket (RFC 9580 §5.2.3.7)."""
    return bytes([len(body) + 1, number | (0x80 if critical else 0)]) + body


def user_id(text: str = ALICE) -> Packet:
    """Return a user ID packet."""
    return Packet(USER_ID, text.encode())


def certificate(primary: Packet, name: Packet, *signatures: Packet) -> tuple[Component, ...]:
    """Return a certificate with one user ID."""
    return (Component(primary, ()), Component(name, signatures))


def _hashed(key: Packet) -> bytes:
    return b"\x99" + len(key.body).to_bytes(2, "big") + key.body
