"""Socket activation as a service manager does it: `activate.py SOCKET COMMAND...`.

Listens on SOCKET and becomes COMMAND, which finds the socket as descriptor 3
(sd_listen_fds(3)).
"""

import os
import socket
import sys


def main() -> None:
    """Listen, hand over."""
    path, *command = sys.argv[1:]
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen(128)
    if listening.fileno() == 3:
        os.set_inheritable(3, True)
    else:
        os.dup2(listening.fileno(), 3)
    os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
