"""One folder of a Maildir, in which others may rename and unlink files at any moment."""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from letterlock.durable import sync
from letterlock.reencryption import uidlist
from letterlock.reencryption.store import MessageFailed, StoreFailed

_PARTS = ("new", "cur")
"""In the order in which messages pass them."""

_CHASES_MAX = 100


def folders_below(root: Path) -> Iterator[Path]:
    """Yield the directories of all folders, however they are nested; links are not followed.

    Raises OSError where it cannot look.
    """
    for path, directories, _ in os.walk(root, onerror=_raise):
        if "cur" in directories:
            yield Path(path)
        directories[:] = sorted(name for name in directories if name not in (*_PARTS, "tmp"))


def _raise(error: OSError) -> None:
    # A folder that goes meanwhile is none any more; one that cannot be read would be passed over.
    if not isinstance(error, FileNotFoundError):
        raise error


class Place(NamedTuple):
    """Where a file is in a folder."""

    part: str
    name: str

    @property
    def info(self) -> str:
        """What the name says of flags, from the colon on."""
        _, colon, flags = self.name.partition(":")
        return colon + flags


class Pair(NamedTuple):
    """Base file names."""

    old: str
    new: str


class Folder:
    """A directory with `new`, `cur` and `tmp`.

    `names` is what was there when it was last looked at, and what we have done since.
    """

    def __init__(self, path: Path) -> None:
        """`path` of the directory."""
        self.path = path
        self.names: dict[str, Place] = {}

    def locked(self) -> AbstractContextManager[None]:
        """Keep Dovecot from changing anything, if it is Dovecot's."""
        is_dovecots = (self.path / uidlist.UIDLIST).exists()
        return uidlist.locked(self.path) if is_dovecots else nullcontext()

    def look(self) -> None:
        """Find out what is there, by base file name."""
        self.names = {}
        for part in _PARTS:
            with suppress(FileNotFoundError), os.scandir(self.path / part) as entries:
                for entry in entries:
                    if entry.name[0] != "." and entry.is_file(follow_symlinks=False):
                        self.names[entry.name.partition(":")[0]] = Place(part, entry.name)

    def open(self, base: str) -> BinaryIO | None:
        """Return the message, wherever its flags have moved it; None if it has gone.

        Raises MessageFailed.
        """
        for _ in range(_CHASES_MAX):
            if base not in self.names:
                self.look()
            place = self.names.get(base)
            if place is None:
                return None
            try:
                return open(os.open(self._path(place), os.O_RDONLY | os.O_NOFOLLOW), "rb")
            except FileNotFoundError:
                del self.names[base]
            except OSError as error:
                raise MessageFailed(error.strerror or "cannot be read") from None
        raise MessageFailed("somebody keeps renaming it")

    def is_unchanged(self, base: str, then: os.stat_result) -> bool:
        """Whether the file is the one that was read."""
        place = self.names.get(base)
        try:
            return place is not None and _identity(self._path(place).lstat()) == _identity(then)
        except FileNotFoundError:
            return False

    def link(self, source: Path, pair: Pair) -> None:
        """Put `source` beside the original, with its flags, unless the name is taken."""
        target = self._beside(pair)
        with suppress(FileExistsError):
            os.link(source, self._path(target))
            self.names[pair.new] = target

    def finish(self, pairs: Sequence[Pair]) -> list[Pair]:
        """Let the new ones, which are linked, have the UIDs, and unlink the old ones.

        Does no harm a second time. Returns those that are done; of the others the original
        has gone meanwhile, and the new one with it.
        """
        self._sync()
        uidlist.rename(self.path, dict(pairs))
        # What is gone by now was unlinked by an earlier run; what goes later, by somebody else.
        retired = {pair for pair in pairs if pair.old not in self.names}
        done = [pair for pair in pairs if pair in retired or self._retire(pair)]
        self._sync()
        return done

    def _retire(self, pair: Pair) -> bool:
        """Unlink the original, once the new file has its flags."""
        for _ in range(_CHASES_MAX):
            old, new = self.names.get(pair.old), self.names.get(pair.new)
            if new is None:
                return False
            if old is None:
                # Whoever removed it did not mean to keep an encrypted one.
                self._path(new).unlink(missing_ok=True)
                return False
            with suppress(FileNotFoundError):
                target = self._beside(pair)
                self._path(new).rename(self._path(target))
                self.names[pair.new] = target
                self._path(old).unlink()
                del self.names[pair.old]
                return True
            self.look()
        raise StoreFailed(f"{self.path}: somebody keeps renaming {pair.old}")

    def _beside(self, pair: Pair) -> Place:
        old = self.names[pair.old]
        return Place(old.part, pair.new + old.info)

    def _path(self, place: Place) -> Path:
        return self.path / place.part / place.name

    def _sync(self) -> None:
        for part in _PARTS:
            sync(self.path / part)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
