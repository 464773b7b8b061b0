"""One folder of a Maildir, in which others may rename and unlink files at any moment."""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from letterlock.reencryption import uidlist
from letterlock.reencryption.journal import sync_directory
from letterlock.reencryption.maildir_name import MaildirName
from letterlock.reencryption.store import MessageFailed, StoreFailed

_PARTS = ("new", "cur")
"""In the order in which messages pass them."""

_CHASES_MAX = 100

Names = Mapping[str, Path]
"""Files by base file name."""


class Pair(NamedTuple):
    """Base file names."""

    old: str
    new: str


class Folder:
    """A directory with `new`, `cur` and `tmp`."""

    def __init__(self, path: Path) -> None:
        """`path` of the directory."""
        self.path = path
        self._seen: Names = {}

    def locked(self) -> AbstractContextManager[None]:
        """Keep Dovecot from changing anything, if it is Dovecot's."""
        is_dovecots = (self.path / uidlist.UIDLIST).exists()
        return uidlist.locked(self.path) if is_dovecots else nullcontext()

    def names(self) -> Names:
        """Return what is there now."""
        found = {}
        for part in _PARTS:
            with suppress(FileNotFoundError), os.scandir(self.path / part) as entries:
                for entry in entries:
                    if entry.name[0] != "." and entry.is_file(follow_symlinks=False):
                        found[MaildirName.parse(entry.name).base] = Path(entry.path)
        self._seen = found
        return found

    def open(self, base: str) -> BinaryIO | None:
        """Return the message, wherever its flags have moved it; None if it has gone.

        Raises MessageFailed.
        """
        for _ in range(_CHASES_MAX):
            path = self._seen.get(base) or self.names().get(base)
            if path is None:
                return None
            try:
                return open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")
            except FileNotFoundError:
                self.names()
            except OSError as error:
                raise MessageFailed(error.strerror or "cannot be read") from None
        raise MessageFailed("somebody keeps renaming it")

    def is_unchanged(self, path: Path | None, then: os.stat_result) -> bool:
        """Whether the file is the one that was read."""
        if path is None:
            return False
        try:
            now = path.lstat()
        except FileNotFoundError:
            return False
        return _identity(now) == _identity(then)

    def link(self, source: Path, pair: Pair, names: Names) -> Path:
        """Put `source` beside the original, with its flags; return where. Raises OSError."""
        target = _beside(names[pair.old], pair.new)
        os.link(source, target)
        return target

    def finish(self, pairs: Sequence[Pair], names: Names) -> list[Pair]:
        """Let the new ones, which are linked, have the UIDs, and unlink the old ones.

        Does no harm a second time. `names`: where both are. Returns those that are done; of
        the others the original has gone meanwhile, and the new one with it.
        """
        self._sync()
        uidlist.rename(self.path, dict(pairs))
        done = [pair for pair in pairs if pair.old not in names or self._retire(pair, names)]
        self._sync()
        return done

    def _retire(self, pair: Pair, names: Names) -> bool:
        """Unlink the original, once the new file has its flags."""
        for _ in range(_CHASES_MAX):
            old, new = names.get(pair.old), names.get(pair.new)
            if new is None:
                return False
            if old is None:
                # Whoever removed it did not mean to keep an encrypted one.
                new.unlink(missing_ok=True)
                return False
            with suppress(FileNotFoundError):
                new.rename(_beside(old, pair.new))
                old.unlink()
                return True
            names = self.names()
        raise StoreFailed(f"{self.path}: somebody keeps renaming {pair.old}")

    def _sync(self) -> None:
        for part in _PARTS:
            sync_directory(self.path / part)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _beside(old: Path, base: str) -> Path:
    return old.with_name(base + MaildirName.parse(old.name).info)
