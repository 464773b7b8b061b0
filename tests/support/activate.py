"""A service manager with socket activation: `activate.py NAME=SOCKET,... COMMAND...`.

Listens on each SOCKET, which COMMAND finds as descriptors 3 and up, in this order, with their
names (sd_listen_fds(3)). On SIGUSR1 it stops COMMAND and starts it again, on the same sockets.
"""

import fcntl
import os
import signal
import socket
import sys

FIRST = 3
SPARE = 100
"""Their own numbers are from here on, so that dup2() makes them inheritable."""


def start(command: list[str], listening: dict[str, int]) -> int:
    """Start COMMAND; return its process ID."""
    pid = os.fork()
    if pid:
        return pid
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for at, descriptor in enumerate(listening.values(), FIRST):
        os.dup2(descriptor, at)
    os.environ |= {
        "LISTEN_FDS": str(len(listening)),
        "LISTEN_FDNAMES": ":".join(listening),
        "LISTEN_PID": str(os.getpid()),
    }
    return os.execv(command[0], command)


def listen(path: str) -> int:
    """Return the descriptor of a new socket."""
    made = socket.socket(socket.AF_UNIX)
    made.bind(path)
    made.listen(128)
    return fcntl.fcntl(made.detach(), fcntl.F_DUPFD_CLOEXEC, SPARE)


def main() -> None:
    """Listen, and keep COMMAND running."""
    sockets, *command = sys.argv[1:]
    pairs = (pair.partition("=") for pair in sockets.split(","))
    listening = {name: listen(path) for name, _, path in pairs}
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    while True:
        running = start(command, listening)
        signal.sigwait([signal.SIGUSR1])
        os.kill(running, signal.SIGTERM)
        os.waitpid(running, 0)


if __name__ == "__main__":
    main()
