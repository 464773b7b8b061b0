"""A connection to exactly the addresses that were vetted.

The name is in the TLS handshake and in Host, and is resolved by nobody a second time: a server
that answers with another address the next time (DNS rebinding) is never asked again.
"""

import contextlib
import socket
from collections.abc import Sequence
from ipaddress import ip_address

import httpcore

from keyservice.fetch import Cause, FetchFailed

CONNECT_DEADLINE = 2.0
"""Seconds for one address: the next one should have its turn before the lookup ends."""


class OneStream(httpcore.AsyncNetworkBackend):
    """What `PinnedBackend` and `SocksBackend` share: one connection at most, closed for sure."""

    def __init__(self, network: httpcore.AsyncNetworkBackend) -> None:
        """`network` connects to an address literal."""
        self._network = network
        self._stream: httpcore.AsyncNetworkStream | None = None

    async def aclose(self) -> None:
        """Close the connection, also one whose TLS handshake was cut short by the deadline."""
        if self._stream is not None:
            await self._stream.aclose()

    async def _connect(self, address: str, port: int) -> httpcore.AsyncNetworkStream:
        stream = await self._network.connect_tcp(address, port, CONNECT_DEADLINE)
        self._stream = stream
        return stream


class PinnedBackend(OneStream):
    """Connects to the first of some vetted addresses that answers."""

    def __init__(self, network: httpcore.AsyncNetworkBackend, addresses: Sequence[str]) -> None:
        """`addresses`: literals, already vetted."""
        super().__init__(network)
        self._addresses = addresses

    async def connect_tcp(
        self,
        host: str,  # a name, which is not looked at: the addresses are known
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: object = None,
    ) -> httpcore.AsyncNetworkStream:
        """Return a connection. Raises FetchFailed."""
        for address in self._addresses:
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._connect(address, port)
        raise FetchFailed(Cause.CONNECT)


def is_own_address(address: str) -> bool:
    """Whether packets to `address` would stay on this machine. Sends none.

    The kernel is asked which address it would speak from: to an address of this machine it
    speaks from that address itself. What a NAT in front of us shows to others it cannot know.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            return ip_address(probe.getsockname()[0]) == ip_address(address)
    except OSError:
        return False  # no way there: connecting will fail as well
