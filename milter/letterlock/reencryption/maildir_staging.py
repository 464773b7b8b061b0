"""What is to replace messages, complete in `tmp` before it gets a name that others read."""

import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

from letterlock import durable
from letterlock.reencryption.maildir_name import MaildirName
from letterlock.reencryption.store import Reference, Stored

PREFIX = "letterlock-re-encrypt."
"""How the names of such files begin."""

_SYNCS = 8

_numbers = count()


@dataclass(frozen=True, slots=True)
class MaildirMessage(Stored):
    """A message as its file was when it was read."""

    status: os.stat_result


@dataclass(frozen=True, slots=True)
class Staged:
    """What replaces a message. Does not hold it."""

    replaces: Reference
    status: os.stat_result
    """Of the original, when it was read."""

    path: Path
    name: MaildirName

    def discard(self) -> None:
        """Remove it from `tmp`, if it is there."""
        self.path.unlink(missing_ok=True)


def stage(folder: Path, message: MaildirMessage, octets: bytes) -> Staged:
    """Write `octets`, with permissions and time of the original. Raises OSError."""
    name = MaildirName.parse(message.reference.name).sized(octets)
    path = folder / "tmp" / f"{PREFIX}{os.getpid()}.{next(_numbers)}"
    staged = Staged(message.reference, message.status, path, name)
    try:
        _write(path, octets, message.status)
    except OSError:
        staged.discard()
        raise
    return staged


def sync(staged: Sequence[Staged]) -> None:
    """Let all of it outlive a power cut. Raises OSError."""
    # Side by side: the file system then writes its journal once for several.
    with ThreadPoolExecutor(_SYNCS) as pool:
        synced = pool.map(
            partial(durable.sync, flags=os.O_NOFOLLOW), (each.path for each in staged)
        )
        deque(synced, maxlen=0)


def clear(folder: Path) -> None:
    """Remove what a run has left that was killed."""
    for leftover in folder.glob(f"tmp/{PREFIX}*"):
        leftover.unlink(missing_ok=True)


def _write(path: Path, octets: bytes, status: os.stat_result) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:
        with suppress(PermissionError):
            os.fchown(descriptor, -1, status.st_gid)
        os.fchmod(descriptor, status.st_mode & 0o777)
        file.write(octets)
        file.flush()
        # The INTERNALDATE (RFC 9051 §2.3.3) is the file's time.
        os.utime(descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))
