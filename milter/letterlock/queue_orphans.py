"""What a killed cleanup(8) has left in Postfix's queue: plaintext that no command lists.

cleanup writes a message to `incoming` in a file of mode 0600, before any milter sees its end,
and makes it 0700 when it is complete; nothing but that process will ever touch it before. If
that is killed, the file stays, for a week at least (postsuper(1) calls it stale then).

Whether a process still has a file open is asked of the kernel by a lease (fcntl(2)): a write
lease is granted only if nobody has, and from then on whoever opens the file has to wait for us.
So what was found holds until it is removed, whatever the queue is doing meanwhile.
"""

import errno
import fcntl
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from letterlock import postfix


class QueueUnreadable(Exception):
    """It cannot be told what is an orphan; the text says why."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """A file that nobody will finish."""

    path: Path
    octets: int
    modified_at: float
    """Seconds since 1970."""

    is_removed: bool


def queue_directories(config_directory: str) -> list[Path]:
    """Return those of all instances that belong to this one. Raises PostfixUnreadable."""
    parameters = postfix.read(config_directory).parameters
    others = postfix.elements(parameters.get("multi_instance_directories", ""))
    all_of_them = [parameters, *(postfix.read(other).parameters for other in others)]
    return [Path(each["queue_directory"]) for each in all_of_them]


def sweep(queue: Path, before: float, *, remove: bool) -> Iterator[Orphan]:
    """Yield the orphans of `queue` that were last written to before `before`.

    Raises QueueUnreadable.
    """
    with _lease_breaks_ignored():
        for path in _files(queue / "incoming"):
            orphan = _judged(path, before, remove=remove)
            if orphan is not None:
                yield orphan


def _files(incoming: Path) -> Iterator[Path]:
    """Yield the files that are not complete, in however many levels (`hash_queue_names`)."""
    try:
        entries = list(os.scandir(incoming))
    except FileNotFoundError:
        return
    except OSError as error:
        raise QueueUnreadable(f"{incoming}: {error.strerror}: run as root or postfix") from None
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path))
        elif entry.is_file(follow_symlinks=False):
            yield Path(entry.path)


def _judged(path: Path, before: float, *, remove: bool) -> Orphan | None:
    try:
        if not _is_unfinished(path.lstat(), before):
            return None
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise QueueUnreadable(f"{path}: {error.strerror}") from None
    try:
        if not _is_ours_alone(descriptor, path):
            return None
        status = os.fstat(descriptor)
        # Now that nobody has it open, this cannot change any more.
        if not _is_unfinished(status, before):
            return None
        if remove:
            path.unlink(missing_ok=True)
        return Orphan(path, status.st_size, status.st_mtime, remove)
    finally:
        # The lease ends with it.
        os.close(descriptor)


def _is_unfinished(status: os.stat_result, before: float) -> bool:
    is_complete = status.st_mode & stat.S_IXUSR  # MAIL_QUEUE_STAT_READY
    return stat.S_ISREG(status.st_mode) and not is_complete and status.st_mtime < before


def _is_ours_alone(descriptor: int, path: Path) -> bool:
    """Whether no other descriptor of the file is open, in any process. Then we have a lease."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno == errno.EACCES:
            raise QueueUnreadable(f"{path}: only root and its owner may ask") from None
        raise QueueUnreadable(f"{path}: its file system does not say who has it open") from None
    return True


@contextmanager
def _lease_breaks_ignored() -> Iterator[None]:
    # Sent when somebody opens a file under lease; it would end this process.
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGIO, before)
