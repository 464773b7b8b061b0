"""A service manager that a daemon tells how it is (sd_notify(3))."""

import socket
import tempfile
import threading
from pathlib import Path
from typing import Self

from stack.processes import wait_until


class Notified:
    """Listens on a socket of its own; a context manager."""

    def __init__(self, watchdog_seconds: float | None = None) -> None:
        """`watchdog_seconds`: how often it wants a sign of life at least."""
        self._watchdog_seconds = watchdog_seconds
        self.told: list[str] = []
        """All assignments, in their order."""

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="ll-n-", dir="/tmp")
        self._path = Path(self._directory.name, "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._path))
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._directory.cleanup()

    @property
    def environment(self) -> dict[str, str]:
        """What the daemon must find in its environment."""
        environment = {"NOTIFY_SOCKET": str(self._path)}
        if self._watchdog_seconds is not None:
            environment["WATCHDOG_USEC"] = str(int(self._watchdog_seconds * 1e6))
        return environment

    def wait_for(self, assignment: str, times: int = 1) -> None:
        """Return when it was told so often."""
        wait_until(lambda: self.told.count(assignment) >= times, f"{assignment}, {times} times")

    def _listen(self) -> None:
        while True:
            try:
                self.told += self._socket.recv(4096).decode().split("\n")
            except OSError:
                return
