"""An owner of a mailbox: a key in gpg, in a home of its own."""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self


class Owner:
    """Has a secret key for `address` and reads what is encrypted to it.

    A context manager: the key, its directory and its agent are gone afterwards.
    """

    def __init__(
        self,
        address: str,
        primary: str = "ed25519",
        subkey: str = "cv25519",
        expires: str = "never",
    ) -> None:
        """Make the key; algorithms and expiry as gpg --quick-add-key has them, e.g. rsa2048."""
        self.address = address
        # The agent's socket is in it, whose path must be short (unix(7)).
        self.home = Path(tempfile.mkdtemp(prefix="ll-gpg-", dir="/tmp"))
        self.gpg("--quick-generate-key", f"Owner <{address}>", primary, "cert,sign", expires)
        self.gpg("--quick-add-key", self.fingerprint, subkey, "encr", expires)

    @property
    def certificate(self) -> bytes:
        """The certificate, armored."""
        return self.gpg("--armor", "--export", self.address)

    @property
    def fingerprint(self) -> str:
        """Of the primary key, in lower-case hexadecimal."""
        return self._fingerprints()[0]

    @property
    def subkey_fingerprint(self) -> str:
        """Of the encryption subkey."""
        return self._fingerprints()[1]

    def decrypt(self, message: bytes) -> bytes:
        """Return the plaintext of the OpenPGP message in `message` (armored or binary)."""
        return self.gpg("--decrypt", stdin=message)

    def read(self, mail: bytes) -> bytes:
        """Return the plaintext of the encrypted part of `mail`, a multipart/encrypted."""
        begin, end = b"-----BEGIN PGP MESSAGE-----", b"-----END PGP MESSAGE-----"
        return self.decrypt(mail[mail.index(begin) : mail.index(end) + len(end)] + b"\r\n")

    def gpg(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """Run gpg in the owner's home; raise CalledProcessError with what it said."""
        options = ["--batch", "--quiet", "--passphrase", "", "--pinentry-mode", "loopback"]
        line = ["gpg", "--homedir", str(self.home), *options, "--trust-model", "always", *arguments]
        done = subprocess.run(line, input=stdin, capture_output=True, check=False)
        if done.returncode:
            error = subprocess.CalledProcessError(done.returncode, line, done.stdout, done.stderr)
            error.add_note(done.stderr.decode(errors="replace"))
            raise error
        return done.stdout

    def close(self) -> None:
        """End the agent and forget the key."""
        line = ["gpgconf", "--homedir", str(self.home), "--kill", "all"]
        subprocess.run(line, capture_output=True, check=False)
        shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self) -> Self:
        """Return the owner."""
        return self

    def __exit__(self, *_: object) -> None:
        """See `close`."""
        self.close()

    def _fingerprints(self) -> list[str]:
        listing = self.gpg("--with-colons", "--list-keys", self.address).decode()
        rows = (line.split(":") for line in listing.splitlines())
        return [row[9].lower() for row in rows if row[0] == "fpr"]
