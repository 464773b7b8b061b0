"""A table of Postfix that is a file, read as a whole with postmap -s when the file changes.

One process per change of the file, instead of one per address that is seen for the first
time: that costs some milliseconds, more than all the rest of a message.
"""

import os
import threading
from collections.abc import Callable

from letterlock.errors import TablesUnavailable

FILE_OCTETS_MAX = 16 * 1024 * 1024
"""Larger ones are asked address by address: every worker holds what it has read."""

_SUFFIXES = {"hash": ".db", "btree": ".db", "texthash": ""}
"""What postmap adds to the name (DATABASE_README); those that it can list."""

_Version = tuple[int, int, int]


class ListedTable:
    """The rows of one table, as they are in its file now."""

    def __init__(self, path: str, read: Callable[[], dict[str, str]]) -> None:
        """`read` returns all rows, keys in lower case."""
        self._path = path
        self._read = read
        self._lock = threading.Lock()
        self._rows: dict[str, str] = {}
        self._version: _Version | None = None

    def rows(self) -> dict[str, str] | None:
        """Return the rows; None where the file is too large to be held.

        Raises TablesUnavailable where there is no such file, or `read` does.
        """
        version, octets = self._look()
        if octets > FILE_OCTETS_MAX:
            return None
        if version != self._version:
            with self._lock:
                # The version first: a change while reading is then seen the next time.
                self._rows, self._version = self._read(), version
        return self._rows

    def _look(self) -> tuple[_Version, int]:
        try:
            found = os.stat(self._path)
        except OSError:
            raise TablesUnavailable("a table's file is not there") from None
        return (found.st_ino, found.st_mtime_ns, found.st_size), found.st_size


def file_of(table: str) -> str | None:
    """Return the file of `table` (type:name), or None if it is of a kind not listed here."""
    kind, _, name = table.partition(":")
    return name + _SUFFIXES[kind] if kind in _SUFFIXES and name.startswith("/") else None
