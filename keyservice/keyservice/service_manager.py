"""What systemd and this process tell each other: sd_notify(3), "Credentials" in systemd.exec(5).

Without a service manager nothing is told, and there are no credentials.
"""

import os
import socket
import time
from contextlib import suppress
from pathlib import Path


def tell(*assignments: str) -> None:
    """Say `READY=1` and the like."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # unix(7): an abstract name
        address = "\0" + address[1:]
    # If nobody listens, nobody wants to know.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, suppress(OSError):
        manager.sendto("\n".join(assignments).encode(), address)


def tell_reloading() -> None:
    """Say that a reload has begun; `READY=1` ends it."""
    # A newer systemd (Type=notify-reload) tells by the time which reload is meant.
    tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_seconds() -> float | None:
    """Return how often to say `WATCHDOG=1`; None: nobody waits for it (sd_watchdog_enabled(3))."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 4e6 if microseconds.isdecimal() else None


def credential(path: Path) -> Path:
    """Return where to read the secret of the file `path`: a credential of that name goes first.

    A blank one stands for a file that the service manager did not find (SetCredential=).
    """
    if directory := os.environ.get("CREDENTIALS_DIRECTORY"):
        handed_over = Path(directory, path.name)
        with suppress(OSError):
            if handed_over.read_bytes().strip():
                return handed_over
    return path
