"""Signing keys on disk: `DIRECTORY/DOMAIN/keys.json` and a file `SELECTOR.pem` for each key.

Every change is one rename, so that whoever reads finds the old state or the new one.
What is made belongs to the group of the directory around it: the account that signs is given
its way in once, where DIRECTORY is made.
"""

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated

import msgspec

from letterlock.dkim.signer import KeyType, Signer
from letterlock.durable import sync
from letterlock.errors import SigningImpossible

LISTING = "keys.json"

_FILE_OCTETS_MAX = 65_536
_FILE_MODE = 0o640
_FOLDER_MODE = 0o750

_DOMAIN = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")


class State(Enum):
    """What becomes of a key, in this order."""

    NEW = "new"
    """Its record is to be published; nothing is signed with it yet."""

    ACTIVE = "active"
    RETIRED = "retired"
    """Nothing is signed with it any more; its record is still needed by mail on its way."""


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of a key without reading it."""

    # A label of the DNS (RFC 6376 §3.1), and therefore a harmless file name.
    selector: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")]
    key_type: KeyType
    state: State
    since: int
    """When it came into that state: seconds since the epoch."""


class _Listing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: tuple[Key, ...]


def folder_of(directory: Path, domain: str) -> Path:
    """Return where the keys of `domain` (lower case, A-labels) are. Raises SigningImpossible."""
    if not _DOMAIN.fullmatch(domain):
        raise SigningImpossible("a domain that is none")
    return directory / domain


def key_file(folder: Path, key: Key) -> Path:
    """Return the file of the private key."""
    return folder / f"{key.selector}.pem"


def read_keys(folder: Path) -> tuple[Key, ...]:
    """Return the keys of a domain; () where it has none. Raises SigningImpossible."""
    path = folder / LISTING
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Listing).keys
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise SigningImpossible(f"{path}: {error.strerror}") from None
    except msgspec.MsgspecError as error:
        raise SigningImpossible(f"{path}: {error}") from None


def read_signer(folder: Path, key: Key) -> Signer:
    """Return the key itself. Raises SigningImpossible: also if others could have read it."""
    path = key_file(folder, key)
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            pem = file.read(_FILE_OCTETS_MAX)
    except OSError as error:
        raise SigningImpossible(f"{path}: {error.strerror}") from None
    if mode & ~_FILE_MODE:
        raise SigningImpossible(f"{path}: mode {mode:o}; chmod {_FILE_MODE:o}, or make a new key")
    signer = Signer.from_pem(key.selector, pem)
    if signer.key_type is not key.key_type:
        raise SigningImpossible(f"{path}: not of the type that {LISTING} names")
    return signer


def domains_in(directory: Path) -> list[str]:
    """Return the domains that have keys. Raises OSError."""
    return sorted(path.name for path in directory.iterdir() if (path / LISTING).exists())


def make_folder(folder: Path) -> None:
    """Make the directory and those above it, where they are not there yet. Raises OSError."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir()
    os.chown(folder, -1, folder.parent.stat().st_gid)
    folder.chmod(_FOLDER_MODE)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other commands from changing the same domain meanwhile. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_keys(folder: Path, keys: tuple[Key, ...]) -> None:
    """Replace what is known of the keys. Raises OSError."""
    octets = msgspec.json.format(msgspec.json.encode(_Listing(keys)))
    _write(folder / LISTING, octets + b"\n")


def write_signer(folder: Path, signer: Signer) -> None:
    """Store a private key. Raises OSError."""
    _write(folder / f"{signer.selector}.pem", signer.pem)


def _write(path: Path, octets: bytes) -> None:
    """Write, sync, rename: after a power cut there is the old file or the new one."""
    folder = path.parent
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchown(descriptor, -1, folder.stat().st_gid)
            os.fchmod(descriptor, _FILE_MODE)
            file.write(octets)
            file.flush()
            os.fsync(descriptor)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync(folder)
