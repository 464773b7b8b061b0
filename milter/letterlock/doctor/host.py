"""What is read of a host: files, above all of /proc and /sys, and the clock's state."""

import array
import ctypes
import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePath

_FS_IOC_GETFLAGS = 0x80086601
_FS_ENCRYPT_FL = 0x800
_TIMEX_OCTETS = 512
_TIME_ERROR = 5


class Host:
    """One host, or a directory that looks like one; what is not there, or hidden, is None."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Take every path as below `root`."""
        self._root = root

    def read(self, path: str | PurePath) -> str | None:
        """Return a file's text without the blanks around it."""
        try:
            return self._at(path).read_text(errors="replace").strip()
        except OSError:
            return None

    def status(self, path: str | PurePath) -> os.stat_result | None:
        """Return stat(2) of it."""
        try:
            return self._at(path).stat()
        except OSError:
            return None

    def names_in(self, directory: str | PurePath) -> list[str]:
        """Return what a directory holds; nothing if there is none."""
        with suppress(OSError):
            return sorted(os.listdir(self._at(directory)))
        return []

    def block_device(self, path: str | PurePath) -> str | None:
        """Return `MAJOR:MINOR` of the block device at `path`."""
        found = self.status(path)
        return f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}" if found else None

    def is_encrypted_by_directory(self, path: str | PurePath) -> bool:
        """Whether the file system encrypts this directory (fscrypt)."""
        flags = array.array("L", [0])
        try:
            descriptor = os.open(self._at(path), os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return False
        try:
            fcntl.ioctl(descriptor, _FS_IOC_GETFLAGS, flags)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return bool(flags[0] & _FS_ENCRYPT_FL)

    def is_clock_synchronised(self) -> bool:
        """Whether the kernel was told so by whoever sets the clock (adjtimex(2))."""
        timex = ctypes.create_string_buffer(_TIMEX_OCTETS)  # no modes: it is only read
        return bool(ctypes.CDLL(None, use_errno=True).adjtimex(timex) != _TIME_ERROR)

    def processes(self) -> Iterator[tuple[int, list[str]]]:
        """Yield process IDs with their command lines."""
        for name in self.names_in("/proc"):
            line = self.read(f"/proc/{name}/cmdline") if name.isdecimal() else None
            if line:
                yield int(name), line.split("\0")

    def _at(self, path: str | PurePath) -> Path:
        return self._root / str(path).lstrip("/")
