"""Certificates of every kind, made once per test run by gpg and Sequoia.

Alice's are for alice@example.org unless their name says otherwise. Octets are binary
public certificates unless their name says otherwise.
"""

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import pysequoia
from pysequoia.packet import PacketPile, Tag

ALICE = "Alice <alice@example.org>"
BOB = "Bob <bob@example.org>"
LONG_AGO = "20200101T000000"


class Made(NamedTuple):
    """A certificate and the secret key it belongs to."""

    certificate: bytes
    secret: bytes


def sequoia(*user_ids: str, version: int = 4) -> Made:
    """Return a new certificate with an encryption subkey."""
    profile = pysequoia.Profile.RFC9580 if version == 6 else pysequoia.Profile.RFC4880
    secret = pysequoia.Tsk.generate(user_ids=list(user_ids), profile=profile)
    return Made(bytes(secret.extract_certificate()), bytes(secret))


def revoked(made: Made) -> bytes:
    """Return `made` with a revocation by its owner."""
    certificate = pysequoia.Cert.from_bytes(made.certificate)
    certifier = pysequoia.Tsk.from_bytes(made.secret).certifier()
    revocation = pysequoia.Cert.from_bytes(
        made.certificate + bytes(certificate.revoke(certifier=certifier))
    )
    return bytes(revocation)


def packet_groups(certificate: bytes) -> list[list[bytes]]:
    """Return the packets of `certificate`, signatures with what they follow."""
    groups: list[list[bytes]] = []
    for packet in PacketPile.from_bytes(certificate):
        if packet.tag == Tag.Signature:
            groups[-1].append(bytes(packet))
        else:
            groups.append([bytes(packet)])
    return groups


def packet_tags(certificate: bytes) -> list[object]:
    """Return the tags of the groups of `packet_groups`."""
    return [p.tag for p in PacketPile.from_bytes(certificate) if p.tag != Tag.Signature]


def joined(groups: list[list[bytes]]) -> bytes:
    """Return the octets of `groups`."""
    return b"".join(packet for group in groups for packet in group)


def without_signatures(certificate: bytes, tag: object) -> bytes:
    """Return `certificate` with what has `tag` no longer bound."""
    groups = zip(packet_tags(certificate), packet_groups(certificate), strict=True)
    return joined([group[:1] if each == tag else group for each, group in groups])


def armored(certificate: bytes) -> bytes:
    """Return `certificate` in armor."""
    return str(pysequoia.Cert.from_bytes(certificate)).encode()


class GnuPG:
    """gpg with a home of its own; makes what Sequoia refuses to make."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def run(self, *options: str, stdin: bytes = b"", at: str = "") -> bytes:
        """Run gpg at a time of the past, or now."""
        clock = ("--faked-system-time", f"{at}!") if at else ()
        command = ["gpg", "--homedir", str(self._home), "--quiet", "--batch", "--no-tty", "--yes"]
        command += ["--pinentry-mode", "loopback", "--passphrase", "", *clock, *options]
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def make(
        self,
        user_id: str,
        algorithm: str,
        *,
        at: str = "",
        ends: str = "never",
        subkey: str = "",
        subkey_ends: str = "never",
        options: tuple[str, ...] = (),
    ) -> bytes:
        """Return a new certificate; `subkey` names the algorithm of an encryption subkey."""
        usage = "cert,sign"
        self.run(*options, "--quick-gen-key", user_id, algorithm, usage, ends, at=at)
        identity = self.newest()
        if subkey:
            self.run(*options, "--quick-add-key", identity, subkey, "encr", subkey_ends, at=at)
        return self.export(identity)

    def newest(self) -> str:
        """Return the fingerprint of the secret key that was made last."""
        revocations = sorted(
            (self._home / "openpgp-revocs.d").iterdir(), key=lambda path: path.stat().st_mtime_ns
        )
        return revocations[-1].stem

    def export(self, identity: str) -> bytes:
        """Return a certificate."""
        return self.run("--export", identity)

    def revoke_subkey(self, identity: str) -> bytes:
        """Revoke the first subkey and return the certificate."""
        answers = b"key 1\nrevkey\ny\n0\n\ny\nsave\n"
        command = ["gpg", "--homedir", str(self._home), "--quiet", "--no-tty", "--command-fd", "0"]
        command += ["--pinentry-mode", "loopback", "--passphrase", "", "--status-fd", "2"]
        subprocess.run(
            [*command, "--edit-key", identity],
            input=answers,
            capture_output=True,
            timeout=60,
            check=True,
        )
        return self.export(identity)

    def stop(self) -> None:
        """End the agent of this home."""
        subprocess.run(
            ["gpgconf", "--homedir", str(self._home), "--kill", "all"], check=True, timeout=60
        )


@functools.cache
def gallery() -> dict[str, bytes]:
    """Return certificates by name."""
    assert shutil.which("gpg"), "gpg is not installed"
    # Not pytest's directory: the path of gpg-agent's socket must stay short.
    with tempfile.TemporaryDirectory(prefix="ll-gpg-") as home:
        gnupg = GnuPG(Path(home))
        try:
            return _by_gnupg(gnupg) | _by_sequoia()
        finally:
            gnupg.stop()


def _by_gnupg(gnupg: GnuPG) -> dict[str, bytes]:
    made = {
        "gnupg": gnupg.make(ALICE, "ed25519", subkey="cv25519"),
        "nist_p256": gnupg.make(ALICE, "nistp256", subkey="nistp256"),
        "rsa2048": gnupg.make(ALICE, "rsa2048", subkey="rsa2048"),
        "expired": gnupg.make(ALICE, "ed25519", at=LONG_AGO, ends="1y", subkey="cv25519"),
        "expired_subkey": gnupg.make(
            ALICE, "ed25519", at=LONG_AGO, subkey="cv25519", subkey_ends="1y"
        ),
        "sha1": gnupg.make(
            ALICE, "ed25519", subkey="cv25519", options=("--cert-digest-algo", "SHA1")
        ),
        "rsa1024": gnupg.make(ALICE, "rsa1024", subkey="rsa1024"),
        "rsa1024_subkey": gnupg.make(ALICE, "ed25519", subkey="rsa1024"),
        "sign_only": gnupg.make(ALICE, "ed25519"),
        "brainpool": gnupg.make(ALICE, "brainpoolP256r1", subkey="brainpoolP256r1"),
        "brainpool_subkey": gnupg.make(ALICE, "ed25519", subkey="brainpoolP256r1"),
        "ending": gnupg.make(ALICE, "ed25519", ends="2y", subkey="cv25519", subkey_ends="1y"),
        "primary_ends_first": gnupg.make(
            ALICE, "ed25519", ends="1y", subkey="cv25519", subkey_ends="2y"
        ),
    }
    gnupg.make(ALICE, "ed25519", subkey="cv25519")
    made["revoked_subkey"] = gnupg.revoke_subkey(gnupg.newest())
    return made


def _by_sequoia() -> dict[str, bytes]:
    alice, bob = sequoia(ALICE), sequoia(BOB)
    encryption = _encryption_subkey(bob.certificate)
    grafted = [*packet_groups(alice.certificate), encryption]
    return {
        "alice": alice.certificate,
        "alice_v6": sequoia(ALICE, version=6).certificate,
        "alice_armored": armored(alice.certificate),
        "alice_secret": alice.secret,
        "bob": bob.certificate,
        "revoked": revoked(alice),
        "revoked_by_bob": alice.certificate + _revocation(bob),
        "two_certificates": alice.certificate + bob.certificate,
        "several_mailboxes": sequoia("Alice <alice@example.org> <bob@example.org>").certificate,
        "two_user_ids": sequoia(ALICE, BOB).certificate,
        "no_user_id": sequoia().certificate,
        "bare_address": sequoia("alice@example.org").certificate,
        "unbound_user_id": without_signatures(alice.certificate, Tag.UserID),
        "foreign_user_id": joined(
            [*packet_groups(bob.certificate), *_groups(alice.certificate, Tag.UserID)]
        ),
        "unbound_subkey": without_signatures(alice.certificate, Tag.PublicSubkey),
        "foreign_subkey": joined(grafted),
        "cut_short": alice.certificate[:-10],
    }


def _groups(certificate: bytes, tag: object) -> list[list[bytes]]:
    groups = zip(packet_tags(certificate), packet_groups(certificate), strict=True)
    return [group for each, group in groups if each == tag]


def _encryption_subkey(certificate: bytes) -> list[bytes]:
    return _groups(certificate, Tag.PublicSubkey)[-1]


def _revocation(made: Made) -> bytes:
    certificate = pysequoia.Cert.from_bytes(made.certificate)
    certifier = pysequoia.Tsk.from_bytes(made.secret).certifier()
    return bytes(certificate.revoke(certifier=certifier))
