"""Dovecot's `dovecot-uidlist`: which base file name has which UID.

    3 V<uidvalidity> N<next uid> G<mailbox>
    <uid> [<key><value> ...] :<base file name>

Whoever changes files of a folder holds `dovecot-uidlist.lock`, and whoever replaces the list
writes a new one and renames it. Processes that have the folder open notice, and read it again.
"""

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from letterlock.reencryption.store import StoreFailed

UIDLIST = "dovecot-uidlist"

WAIT_SECONDS = 130.0
STALE_SECONDS = 120.0
"""Dovecot's own. Until then it waits for a holder that neither touches the file nor dies."""

FRESH_SECONDS = 2.0
POLL_SECONDS = 0.1
_VERSION = b"3"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep Dovecot from changing `folder`; raises StoreFailed if the lock cannot be had."""
    lock = folder / f"{UIDLIST}.lock"
    _take(lock)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def rename(folder: Path, renamed: Mapping[str, str]) -> None:
    """Give new base file names (values) the UIDs of old ones (keys). Hold the lock.

    A list in another form than the one above stays: then the new files get new UIDs.
    """
    path = folder / UIDLIST
    try:
        old = path.read_bytes()
    except FileNotFoundError:
        return
    new = _renamed(old, {os.fsencode(k): os.fsencode(v) for k, v in renamed.items()})
    if new == old:
        return
    temporary = folder / f"{UIDLIST}.tmp"
    with temporary.open("wb") as file:
        was = path.stat()
        os.fchmod(file.fileno(), was.st_mode & 0o777)
        with suppress(PermissionError):
            os.fchown(file.fileno(), -1, was.st_gid)
        file.write(new)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _renamed(old: bytes, renamed: Mapping[bytes, bytes]) -> bytes:
    header, *records = old.split(b"\n")
    if header.split(b" ")[0] != _VERSION:
        return old
    known = {_base(record) for record in records}
    # A crash may have let Dovecot meet both files, and give the new one a UID of its own.
    superseded = {new for was, new in renamed.items() if was in known}
    kept = [record for record in records if _base(record) not in superseded]
    return b"\n".join([header, *(_record(record, renamed) for record in kept)])


def _base(record: bytes) -> bytes:
    return record.partition(b" :")[2].partition(b":")[0]


def _record(record: bytes, renamed: Mapping[bytes, bytes]) -> bytes:
    was = _base(record)
    if not was or was not in renamed:
        return record
    uid, *extensions = record.partition(b" :")[0].split(b" ")
    # S and W are sizes. G is the GUID and P the POP3 UIDL: both default to the file name.
    kept = [e if e != b"P" else b"P" + was for e in extensions if e[:1] not in (b"S", b"W")]
    if not any(e[:1] == b"G" for e in kept) and b" " not in was:
        kept.append(b"G" + was)
    return b" ".join([uid, *kept, b":" + renamed[was]])


def _take(lock: Path) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            if time.monotonic() > deadline:
                raise StoreFailed(f"{lock}: somebody holds it") from None
            _break_if_stale(lock)
            time.sleep(POLL_SECONDS)
        except OSError as error:
            raise StoreFailed(f"{lock}: {error.strerror}") from None
        else:
            with open(descriptor, "w") as file:
                file.write(f"{os.getpid()}:{socket.gethostname()}")
            return


def _break_if_stale(lock: Path) -> None:
    """Do what Dovecot does with the lock of a process that has died."""
    with suppress(FileNotFoundError):
        before = lock.stat()
        age = time.time() - before.st_mtime
        pid = _local_pid(lock.read_text(errors="replace"))
        if age > (STALE_SECONDS if pid is None else FRESH_SECONDS) and not _lives(pid):
            after = lock.stat()
            if (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns):
                # Dovecot waits after this, too, so nobody removes a lock that was just taken.
                lock.unlink()


def _local_pid(holder: str) -> int | None:
    pid, _, host = holder.partition(":")
    return int(pid) if host == socket.gethostname() and pid.isdecimal() else None


def _lives(pid: int | None) -> bool:
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
