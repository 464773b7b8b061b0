"""One ciphertext that several copies share: plaintext goes in, only ciphertext is kept.

It collects in memory and, above a threshold, in a file that has no name. Each copy is
read from it again, with a PKESK of its own in front.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from letterlock.errors import SpillFailed
from letterlock.openpgp import Armor, EncryptedData, RecipientSubkey, SEIPDVersion, SessionKey

READ_OCTETS = 48 * 1024
"""A multiple of 48, so that armor lines end where the pieces do, and close to the
65,535 octets that a milter may send at once when it is base64."""


@dataclass(frozen=True, slots=True)
class Spill:
    """Where ciphertext goes that is larger than `threshold_octets`."""

    directory: str
    threshold_octets: int


class Ciphertext:
    """An SEIPD packet under a fresh session key."""

    def __init__(self, version: SEIPDVersion, spill: Spill) -> None:
        self._version = version
        self._session_key = SessionKey.generate()
        self._encrypted = EncryptedData(self._session_key, version)
        # SpooledTemporaryFile moves to an unlinked file by itself (O_TMPFILE where possible).
        self._spool = tempfile.SpooledTemporaryFile(
            max_size=spill.threshold_octets, dir=spill.directory
        )

    def write(self, plaintext: bytes) -> None:
        """Encrypt some more. Raises SpillFailed."""
        self._keep(self._encrypted.write(plaintext))

    def close(self) -> None:
        """Finish the packet. Raises SpillFailed."""
        self._keep(self._encrypted.close())
        # What is still buffered would otherwise meet the full disk while a copy is read.
        try:
            self._spool.flush()
        except OSError as error:
            raise _full(error) from None

    def discard(self) -> None:
        """Give memory or disk back."""
        # Closing writes what is still buffered, which nobody wants any more.
        with suppress(OSError):
            self._spool.close()

    def armored_for(self, subkeys: Sequence[RecipientSubkey]) -> "Armored":
        """Return the OpenPGP message for the holders of `subkeys`."""
        # A PKESK per subkey, then the SEIPD packet (RFC 9580 §10.3).
        pkesks = b"".join(s.pkesk(self._session_key, self._version) for s in subkeys)
        return Armored(pkesks, self._spool)

    def _keep(self, octets: bytes) -> None:
        try:
            self._spool.write(octets)
        except OSError as error:
            raise _full(error) from None


class Armored:
    """An OpenPGP message in armor, in pieces; the same octets each time it is read."""

    def __init__(self, pkesks: bytes, spool: IO[bytes]) -> None:
        self._pkesks = pkesks
        self._spool = spool

    def __iter__(self) -> Iterator[bytes]:
        """Yield the pieces."""
        armor = Armor(len(self._pkesks) + self._spool.seek(0, os.SEEK_END))
        yield armor.write(self._pkesks)
        self._spool.seek(0)
        while piece := self._spool.read(READ_OCTETS):
            yield armor.write(piece)
        yield armor.close()


def _full(error: OSError) -> SpillFailed:
    return SpillFailed(f"spill file: {error.strerror}")


def one_off(octets: bytes, subkeys: Sequence[RecipientSubkey], version: SEIPDVersion) -> bytes:
    """Return `octets`, which are small, as a binary OpenPGP message."""
    session_key = SessionKey.generate()
    encrypted = EncryptedData(session_key, version)
    pkesks = b"".join(s.pkesk(session_key, version) for s in subkeys)
    return pkesks + encrypted.write(octets) + encrypted.close()
