"""The passphrase that the authorities' private keys rest under, from a file of the operator."""

import stat
from pathlib import Path

from keyservice.client_ca.errors import CALocked
from keyservice.service_manager import credential

OCTETS_MIN = 32
"""It must be random: PKCS#8's encryption as it is written here hardly slows guessing down."""

_KEY = "client_ca.passphrase_file"


def read(path: str) -> bytes:
    """Return what is in `path`, without its final line end. Raises CALocked.

    Read at each use, so that it can come later than the service, and is in memory no longer
    than needed.
    """
    if not path:
        raise CALocked(f"{_KEY} is not configured")
    try:
        file = credential(Path(path))
        mode = file.stat().st_mode
        passphrase = file.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise CALocked(f"{_KEY}: {path}: {error.strerror}") from None
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise CALocked(f"{_KEY}: {path}: everybody may read or write it")
    if len(passphrase) < OCTETS_MIN:
        raise CALocked(f"{_KEY}: {path}: shorter than {OCTETS_MIN} octets")
    return passphrase
