"""Other people's OpenPGP programs: gpg, sq, sqop and rnp with homes of their own.

They make keys and judge what the writer wrote. A program that is missing is an error.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from letterlock.openpgp import (
    Armor,
    EncryptedData,
    RecipientSubkey,
    SEIPDVersion,
    SessionKey,
    UnusableSubkey,
)
from openpgp_content import packets

DEADLINE_SECONDS = 240
"""A key of 4096 bits may take a minute on a busy machine."""

PUBLIC_SUBKEY = 14


class Refused(Exception):
    """The program did not decrypt the message; holds what it said."""


@dataclass(frozen=True)
class Owner:
    """A mailbox owner's certificate and secret, both as octets."""

    name: str
    certificate: bytes
    secret: bytes

    @property
    def subkey(self) -> RecipientSubkey:
        """The one subkey of the certificate."""
        (subkey,) = usable_subkeys(self.certificate)
        return subkey


def usable_subkeys(certificate: bytes) -> list[RecipientSubkey]:
    """Return the subkeys of a binary certificate that something can be encrypted to."""
    subkeys = []
    for packet_type, body in packets(certificate):
        if packet_type == PUBLIC_SUBKEY:
            with suppress(UnusableSubkey):
                subkeys.append(RecipientSubkey.from_packet(body))
    return subkeys


def encrypt(
    plaintext: bytes,
    *subkeys: RecipientSubkey,
    version: SEIPDVersion | None = None,
    armored: bool = False,
    chunk_octets: int = 65_535,
) -> bytes:
    """Return a message as the milter makes it: body chunks of 64 KB, armor around all of it."""
    version = version or subkeys[0].seipd
    session_key = SessionKey.generate()
    pieces = [subkey.pkesk(session_key, version) for subkey in subkeys]
    content = EncryptedData(session_key, version)
    view = memoryview(plaintext)
    for start in range(0, len(view), chunk_octets):
        pieces.append(content.write(view[start : start + chunk_octets]))
    pieces.append(content.close())
    return b"".join(armored_pieces(pieces) if armored else pieces)


def armored_pieces(pieces: list[bytes]) -> Iterator[bytes]:
    """Yield a message in armor, piece by piece."""
    armor = Armor(sum(map(len, pieces)))
    for piece in pieces:
        yield armor.write(piece)
    yield armor.close()


class GnuPG:
    """gpg with a home directory that lives as long as the context."""

    def __init__(self, home: Path) -> None:
        self.home = home

    @classmethod
    @contextmanager
    def at_home(cls) -> Iterator[Self]:
        """Run with a new home; its agent is stopped in the end."""
        # Not pytest's directory: the agent's socket has room for 107 octets of path.
        with tempfile.TemporaryDirectory(prefix="gnupg-", ignore_cleanup_errors=True) as home:
            try:
                yield cls(Path(home))
            finally:
                run(["gpgconf", "--homedir", home, "--kill", "all"])

    def owner(self, name: str, subkey: str) -> Owner:
        """Make a certificate; `subkey` is its algorithm as gpg's batch files name it."""
        parameters = (
            "%no-protection\nKey-Type: EDDSA\nKey-Curve: ed25519\nKey-Usage: cert\n"
            f"{subkey}\nSubkey-Usage: encrypt\nName-Email: {name}@example.org\n%commit\n"
        )
        self.run("--generate-key", octets=parameters.encode())
        certificate = self.run("--export", name)
        return Owner(name, certificate, self.run("--export-secret-keys", name))

    def decrypt(self, message: bytes) -> bytes:
        """Return the plaintext; raises Refused."""
        return self.run("--decrypt", octets=message)

    def decrypt_all(self, messages: Iterable[bytes], directory: Path) -> list[bytes]:
        """Return the plaintexts of many messages, by one process; raises Refused."""
        paths = []
        for number, message in enumerate(messages):
            paths.append(directory / f"{number}.pgp")
            paths[-1].write_bytes(message)
        self.run("--multifile", "--decrypt", *map(str, paths))
        return [path.with_suffix("").read_bytes() for path in paths]

    def run(self, *arguments: str, octets: bytes = b"") -> bytes:
        """Run gpg; return what it writes, raise Refused with what it says."""
        options = ["--batch", "--quiet", "--no-tty", "--trust-model", "always", "--yes"]
        return run(["gpg", "--homedir", str(self.home), *options, *arguments], octets)


class RNP:
    """rnp with a home directory of its own."""

    def __init__(self, home: Path, owners: Iterable[Owner]) -> None:
        self.home = home
        for owner in owners:
            path = home / "secret"
            path.write_bytes(owner.secret)
            run(["rnpkeys", "--homedir", str(home), "--import", str(path)])

    def decrypt(self, message: bytes) -> bytes:
        """Return the plaintext; raises Refused."""
        options = ["--password", "", "--notty", "--output", "-"]
        return run(["rnp", "--homedir", str(self.home), *options, "--decrypt"], message)


def sqop_decrypt(message: bytes, secret: Path) -> bytes:
    """Decrypt with sqop and the secret key in a file; raises Refused."""
    return run(["sqop", "decrypt", str(secret)], message)


def sq_decrypt(message: bytes, secret: Path) -> bytes:
    """Decrypt with sq and the secret key in a file; raises Refused."""
    return run(["sq", "decrypt", "--recipient-key", str(secret)], message)


def run(command: list[str], octets: bytes = b"") -> bytes:
    """Run a program; return its standard output, raise Refused if it fails."""
    if not shutil.which(command[0]):
        raise FileNotFoundError(f"{command[0]} is not installed")
    done = subprocess.run(
        command, input=octets, capture_output=True, timeout=DEADLINE_SECONDS, check=False
    )
    if done.returncode:
        raise Refused(done.stderr.decode(errors="replace"))
    return done.stdout
