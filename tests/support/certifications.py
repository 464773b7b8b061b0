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
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
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
    pairs["sha1"] = certified(
        "rsa2048", "--allow-weak-key-signatures", "--cert-digest-algo", "SHA1"
    )
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
    """A primary key that signs whatever it is told to."""

    def __init__(
        self, created: int, algorithm: int = 22, versions: tuple[int, int] = (4, 4)
    ) -> None:
        """Make a key that claims to be from `created`; versions of the key and its signatures."""
        key_version, self._version = versions
        self._algorithm = algorithm
        self._secret, material = _generate(algorithm)
        count = len(material).to_bytes(4, "big") if key_version == 6 else b""
        start = bytes([key_version]) + created.to_bytes(4, "big") + bytes([algorithm])
        self.primary = Packet(PUBLIC_KEY, start + count + material)
        self.fingerprint = fingerprint(self.primary)

    salt_octets = 0
    """0: as many as RFC 9580 §9.5 wants."""

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
        subject = self._hashed(certified) + named
        return self._sign(subject, kind, hash_id, made_at, b"".join(more), unhashed)

    def bind(self, subkey: Packet, made_at: int | None, *more: bytes, hash_id: int = 8) -> Packet:
        """Return a binding signature of `subkey`, with `more` hashed subpackets."""
        subject = self._hashed(self.primary) + self._hashed(subkey)
        return self._sign(subject, 0x18, hash_id, made_at, b"".join(more), b"")

    def revoke(
        self, made_at: int | None, *more: bytes, hash_id: int = 8, unhashed: bytes = b""
    ) -> Packet:
        """Return a revocation of the key itself."""
        return self._sign(
            self._hashed(self.primary), 0x20, hash_id, made_at, b"".join(more), unhashed
        )

    def _sign(
        self,
        subject: bytes,
        kind: int,
        hash_id: int,
        made_at: int | None,
        more: bytes,
        unhashed: bytes,
    ) -> Packet:
        hashed = subpacket(33, self.primary.body[:1] + bytes.fromhex(self.fingerprint)) + more
        if made_at is not None:
            hashed += subpacket(2, made_at.to_bytes(4, "big"))
        count = 4 if self._version == 6 else 2
        start = bytes([self._version, kind, self._algorithm, hash_id])
        signed = start + len(hashed).to_bytes(count, "big") + hashed
        algorithm = _DIGESTS[hash_id]
        salt = b"s" * (self.salt_octets or algorithm.digest_size // 2) if count == 4 else b""
        digest = hashes.Hash(algorithm)
        trailer = bytes([self._version, 0xFF]) + len(signed).to_bytes(4, "big")
        digest.update(salt + subject + signed + trailer)
        octets = digest.finalize()
        rest = len(unhashed).to_bytes(count, "big") + unhashed + octets[:2]
        rest += bytes([len(salt)]) + salt if salt else b""
        return Packet(SIGNATURE, signed + rest + self._material(octets, algorithm))

    def _hashed(self, key: Packet) -> bytes:
        if self._version == 6:
            return b"\x9b" + len(key.body).to_bytes(4, "big") + key.body
        return b"\x99" + len(key.body).to_bytes(2, "big") + key.body

    def _material(self, digest: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
        if isinstance(self._secret, ec.EllipticCurvePrivateKey):
            made = self._secret.sign(digest, ec.ECDSA(Prehashed(algorithm)))
            return b"".join(map(mpi, decode_dss_signature(made)))
        made = self._secret.sign(digest)
        if self._algorithm != 22:
            return made
        return b"".join(mpi(int.from_bytes(half, "big")) for half in (made[:32], made[32:]))


_Secret = Ed25519PrivateKey | Ed448PrivateKey | ec.EllipticCurvePrivateKey


def _generate(algorithm: int) -> tuple[_Secret, bytes]:
    """Return a secret key and the key material of its public half (RFC 9580 §5.5.5)."""
    match algorithm:
        case 19:
            curve = ec.generate_private_key(ec.SECP521R1())
            point = curve.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            oid = bytes.fromhex("2b81040023")
            return curve, bytes([len(oid)]) + oid + mpi(int.from_bytes(point, "big"))
        case 28:
            long = Ed448PrivateKey.generate()
            return long, long.public_key().public_bytes_raw()
    short = Ed25519PrivateKey.generate()
    native = short.public_key().public_bytes_raw()
    if algorithm == 27:
        return short, native
    oid = bytes.fromhex("2b06010401da470f01")
    return short, bytes([len(oid)]) + oid + mpi(int.from_bytes(b"\x40" + native, "big"))


def subpacket(number: int, body: bytes, *, critical: bool = False) -> bytes:
    """Return a signature subpacket (RFC 9580 §5.2.3.7)."""
    return bytes([len(body) + 1, number | (0x80 if critical else 0)]) + body


def user_id(text: str = ALICE) -> Packet:
    """Return a user ID packet."""
    return Packet(USER_ID, text.encode())


def certificate(primary: Packet, name: Packet, *signatures: Packet) -> tuple[Component, ...]:
    """Return a certificate with one user ID."""
    return (Component(primary, ()), Component(name, signatures))
