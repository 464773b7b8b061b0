"""Maildir and Maildir++: one file for each message, under a name that says its flags.

What replaces a message gets a name of its own, because its size is in it, and is linked
beside the original before that is unlinked. Dovecot's lock keeps Dovecot away meanwhile; other
programs may rename (flags) or unlink the original at any moment, which is met in `Folder`.
"""

import fcntl
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from letterlock.reencryption import derived, maildir_staging
from letterlock.reencryption.journal import Journal
from letterlock.reencryption.maildir_folder import Folder, Pair, folders_below
from letterlock.reencryption.maildir_name import MaildirName
from letterlock.reencryption.maildir_staging import MaildirMessage, Staged
from letterlock.reencryption.store import Done, MessageFailed, Reference, StoreFailed

JOURNAL = "letterlock-re-encrypt.journal"
BATCH = 64
_BATCH_SECONDS = 5.0


class Batch(msgspec.Struct, frozen=True):
    """What is replaced at once. Names are octets: they may be anything."""

    folder: bytes
    pairs: tuple[tuple[bytes, bytes], ...]


class Maildir:
    """A `Store`. One process at a time."""

    def __init__(self, root: Path) -> None:
        """Raises StoreFailed if this is no Maildir that can be worked on."""
        if not (root / "cur").is_dir():
            raise StoreFailed(f"{root} is no Maildir: there is no `cur` in it")
        self._root = root
        self._journal = Journal(root / JOURNAL, Batch)
        self._current = Folder(root)
        self._staged: list[Staged] = []
        self._staged_since = 0.0
        self._is_dovecots = derived.is_dovecots(self._paths())
        self._descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreFailed(f"{root}: another run is at work") from None

    def recover(self) -> int:
        """See `Store`."""
        try:
            batch = self._journal.unfinished()
        except ValueError as error:
            raise StoreFailed(str(error)) from None
        finished = 0 if batch is None else self._finish(batch)
        self._journal.settle()
        for path in self._paths():
            maildir_staging.clear(path)
        return finished

    def folders(self) -> Sequence[str]:
        """See `Store`; `.` is the inbox."""
        return [str(path.relative_to(self._root)) for path in self._paths()]

    def references(self, folder: str) -> Sequence[Reference]:
        """See `Store`."""
        found = self._folder(folder)
        found.look()
        return [Reference(folder, base) for base in sorted(found.names)]

    def read(self, reference: Reference) -> MaildirMessage | None:
        """See `Store`."""
        file = self._folder(reference.folder).open(reference.name)
        if file is None:
            return None
        with file:
            status = os.fstat(file.fileno())
            try:
                octets = file.read()
            except OSError as error:
                raise MessageFailed(error.strerror or "cannot be read") from None
        return MaildirMessage(reference, octets, status.st_mtime, status)

    def replace(self, message: MaildirMessage, octets: bytes) -> Done:
        """See `Store`."""
        done = Done()
        if self._staged and self._staged[0].replaces.folder != message.reference.folder:
            done = self.settle()
        if not self._staged:
            self._staged_since = time.monotonic()
        self._staged.append(self._stage(message, octets))
        is_old = time.monotonic() - self._staged_since > _BATCH_SECONDS
        if len(self._staged) >= BATCH or is_old:
            done = done.plus(self.settle())
        return done

    def settle(self) -> Done:
        """See `Store`."""
        staged, self._staged = self._staged, []
        if not staged:
            return Done()
        folder = self._folder(staged[0].replaces.folder)
        try:
            maildir_staging.sync(staged)
            with folder.locked():
                done = self._replace(folder, staged)
        except OSError as error:
            if folder.path.exists():
                raise StoreFailed(f"{folder.path}: {error.strerror}") from None
            return Done(gone=len(staged))
        finally:
            for each in staged:
                each.discard()
        # Not under the lock: one that a killed run has left is found by what the journal says.
        self._journal.settle()
        # It describes what is not there any more.
        derived.forget(folder.path)
        return done

    def finish(self) -> Iterator[str]:
        """See `Store`."""
        for path in self._paths():
            derived.forget(path)
        yield from derived.left_to_do(self._root, is_dovecots=self._is_dovecots)

    def close(self) -> None:
        """See `Store`."""
        for each in self._staged:
            each.discard()
        os.close(self._descriptor)

    def _finish(self, batch: Batch) -> int:
        folder = self._folder(os.fsdecode(batch.folder))
        if not folder.path.is_dir():
            return 0
        with folder.locked():
            folder.look()
            pairs = [Pair(os.fsdecode(old), os.fsdecode(new)) for old, new in batch.pairs]
            done = folder.finish([pair for pair in pairs if pair.new in folder.names])
        derived.forget(folder.path)
        return len(done)

    def _replace(self, folder: Folder, staged: Sequence[Staged]) -> Done:
        if not all(_is_unchanged(folder, each) for each in staged):
            # Flags have moved some: where to?
            folder.look()
        sources = {
            Pair(each.replaces.name, _free(each.name, folder)): each.path
            for each in staged
            if _is_unchanged(folder, each)
        }
        where = str(folder.path.relative_to(self._root))
        self._journal.begin(_batch(where, sources))
        for pair, source in sources.items():
            with suppress(FileNotFoundError):
                folder.link(source, pair)
        done = folder.finish([pair for pair in sources if pair.new in folder.names])
        replaced = tuple(Reference(where, pair.new) for pair in done)
        return Done(replaced, gone=len(staged) - len(done))

    def _stage(self, message: MaildirMessage, octets: bytes) -> Staged:
        folder = self._folder(message.reference.folder).path
        try:
            return maildir_staging.stage(folder, message, octets)
        except OSError as error:
            if not folder.exists():
                raise MessageFailed("its folder is gone") from None
            raise StoreFailed(f"{folder}: {error.strerror}") from None

    def _folder(self, name: str) -> Folder:
        path = self._root / name
        if self._current.path != path:
            self._current = Folder(path)
        return self._current

    def _paths(self) -> list[Path]:
        return list(folders_below(self._root))


def _is_unchanged(folder: Folder, staged: Staged) -> bool:
    return folder.is_unchanged(staged.replaces.name, staged.status)


def _free(name: MaildirName, folder: Folder) -> str:
    # A backup may have brought back a message that was replaced before.
    taken = name.base in folder.names
    return name.distinct(secrets.token_hex(8)).base if taken else name.base


def _batch(folder: str, pairs: Iterable[Pair]) -> Batch:
    encoded = tuple((os.fsencode(old), os.fsencode(new)) for old, new in pairs)
    return Batch(os.fsencode(folder), encoded)
