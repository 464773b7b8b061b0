"""Octets set aside for a while and read again, on disk only as ciphertext.

For the body of a message whose sender says it is encrypted. Until its end nobody knows
whether it is, so a file of it must not be readable: it has no name, and its key dies with
the object.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_KEY_OCTETS = 32
_PIECE_OCTETS = 65_536


class Scratch:
    """Written once from start to end, then read as often as needed."""

    def __init__(self, directory: str, threshold_octets: int) -> None:
        """Above `threshold_octets` the ciphertext goes to an unlinked file in `directory`."""
        # A fresh key for a single stream, so the counter may start at zero (NIST SP 800-38A §6.5).
        # Nobody but this process writes the file, so no authentication is needed.
        self._cipher = Cipher(algorithms.AES(os.urandom(_KEY_OCTETS)), modes.CTR(bytes(16)))
        self._encryptor = self._cipher.encryptor()
        self._spool = tempfile.SpooledTemporaryFile(max_size=threshold_octets, dir=directory)

    def write(self, octets: bytes) -> None:
        """Set some more aside. Raises OSError when the disk takes no more."""
        self._spool.write(self._encryptor.update(octets))

    def read(self) -> Iterator[bytes]:
        """Yield all that was written, in pieces."""
        decryptor = self._cipher.decryptor()
        self._spool.seek(0)
        while piece := self._spool.read(_PIECE_OCTETS):
            yield decryptor.update(piece)

    def discard(self) -> None:
        """Give memory or disk back."""
        # Closing writes what is still buffered, which nobody wants any more.
        with suppress(OSError):
            self._spool.close()
