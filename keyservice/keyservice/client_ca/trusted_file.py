"""The file from which Postfix learns whom to trust (`smtpd_tls_CAfile`)."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

_MODE = 0o644
"""There is nothing secret in it, and a chrooted reader may be anybody."""


def write(path: Path, certificates: str) -> None:
    """Put `certificates` (PEM) in `path`, all or nothing, durable. Raises OSError.

    Whoever reads meanwhile sees the old file or the new one: half a file would switch TLS off
    in Postfix. What is there already is left alone.
    """
    with suppress(OSError):
        if path.read_bytes() == certificates.encode("ascii"):
            return
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            os.fchmod(file.fileno(), _MODE)
            file.write(certificates)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
