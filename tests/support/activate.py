"""A service manager with socket activation: `activate.py SOCKET COMMAND...`.

Listens on SOCKET, which COMMAND finds as descriptor 3 (sd_listen_fds(3)). On SIGUSR1 it
stops COMMAND and starts it again, on the same socket.
"""

import os
import signal
import socket
import sys

LISTENING = 3


def start(command: list[str], listening: int) -> int:
    """Start COMMAND; return its process ID."""
    pid = os.fork()
    if pid:
        return pid
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.dup2(listening, LISTENING)
    os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
    return os.execv(command[0], command)


def main() -> None:
    """Listen, and keep COMMAND running."""
    path, *command = sys.argv[1:]
    made = socket.socket(socket.AF_UNIX)
    made.bind(path)
    made.listen(128)
    # Its own number is never 3, so that dup2() makes it inheritable.
    listening = os.dup(made.fileno()) if made.fileno() == LISTENING else made.fileno()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    while True:
        running = start(command, listening)
        signal.sigwait([signal.SIGUSR1])
        os.kill(running, signal.SIGTERM)
        os.waitpid(running, 0)


if __name__ == "__main__":
    main()
