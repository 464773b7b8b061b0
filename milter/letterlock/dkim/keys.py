"""The keys a domain signs with now, held in memory until their files change."""

import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from letterlock.dkim.key_files import (
    LISTING,
    State,
    folder_of,
    key_file,
    read_keys,
    read_signer,
)
from letterlock.dkim.signer import Signer
from letterlock.errors import SigningImpossible

_Version = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class _Loaded:
    signers: tuple[Signer, ...]
    files: tuple[Path, ...]
    version: _Version


class KeyDirectory:
    """What `letterlock dkim-key` keeps in a directory. Safe for threads."""

    def __init__(self, path: str | Path) -> None:
        """Nothing is read yet."""
        self._path = Path(path)
        self._lock = threading.Lock()
        self._loaded: dict[str, _Loaded] = {}

    def signers(self, domain: str) -> tuple[Signer, ...]:
        """Return the active keys of `domain` (lower case, A-labels), RSA first.

        Raises SigningImpossible where there is none, or one cannot be used: rather no mail
        for an hour, which is noticed, than mail without a signature that it should have.
        """
        loaded = self._loaded.get(domain)
        # A look at each file, so that what would fail at the next start fails now.
        if loaded is None or loaded.version != _version(loaded.files):
            with self._lock:
                loaded = self._loaded[domain] = _load(folder_of(self._path, domain))
        return loaded.signers


def _load(folder: Path) -> _Loaded:
    # The version first: a change while reading is then seen the next time.
    listing = folder / LISTING
    version = _version([listing])
    active = [key for key in read_keys(folder) if key.state is State.ACTIVE]
    if not active:
        raise SigningImpossible(f"{folder}: no active key")
    # Old verifiers look at the first signature only, and know no Ed25519.
    active.sort(key=lambda key: key.key_type.value, reverse=True)
    files = [key_file(folder, key) for key in active]
    version += _version(files)
    signers = tuple([read_signer(folder, key) for key in active])
    return _Loaded(signers, (listing, *files), version)


def _version(files: Iterable[Path]) -> _Version:
    try:
        found = [os.stat(path) for path in files]
    except OSError as error:
        raise SigningImpossible(f"{error.filename}: {error.strerror}") from None
    # The time of the last change of anything: content, owner, permissions.
    return tuple([(one.st_ino, one.st_ctime_ns, one.st_size) for one in found])
