"""Ports of loopback for servers that this test run is about to start."""

import random
import socket
from collections import deque
from pathlib import Path

_given: deque[int] = deque(maxlen=2_000)
"""To somebody who may not listen there yet."""


def free_port() -> int:
    """Return a port that is free for TCP and UDP, and was not given to anybody else of late.

    Below the range from which the kernel takes ports of outgoing connections: one of
    those could otherwise take the port between this look and the daemon's bind(2).
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(min(20_000, lowest - 5_000), lowest)
        if port not in _given and _is_free(port):
            _given.append(port)
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as over_tcp, socket.socket(type=socket.SOCK_DGRAM) as over_udp:
        try:
            over_tcp.bind(("127.0.0.1", port))
            over_udp.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
