"""Connections through a SOCKS proxy (RFC 1928) that resolves the names: Tor.

Which addresses a name has only the proxy learns, so vetting them is the proxy's: Tor's exits
refuse private addresses (ClientRejectInternalAddresses, ExitPolicyRejectPrivate), and what
they reach is not our network. Names are vetted here as ever.
"""

import hashlib
import hmac

import httpcore
import msgspec

from keyservice.fetch import Cause, FetchFailed
from keyservice.pinned_backend import OneStream

_VERSION = b"\x05"
_USERNAME_PASSWORD = b"\x02"
_CONNECT_TO_NAME = _VERSION + b"\x01\x00\x03"
"""CONNECT, reserved, address type DOMAINNAME (RFC 1928 §4)."""

_ADDRESS_OCTETS = {1: 4, 4: 16}
_HOST_UNREACHABLE = 4
"""RFC 1928 §6; what Tor replies, too, when a name has no address."""


class Proxy(msgspec.Struct, frozen=True):
    """Where the SOCKS proxy listens; `host` is an address literal."""

    host: str
    port: int


def circuit_token(secret: bytes, looked_up: str) -> bytes:
    """Return what tells the lookups for one domain from those for others, and nothing else.

    Tor keeps streams with different usernames on different circuits (IsolateSOCKSAuth, its
    default), so no exit sees which domains one key service asks about.
    """
    return hmac.digest(secret, looked_up.encode(), hashlib.sha256).hex()[:32].encode()


class SocksBackend(OneStream):
    """Connects to a name through the proxy, on the circuit that `token` stands for."""

    def __init__(self, network: httpcore.AsyncNetworkBackend, proxy: Proxy, token: bytes) -> None:
        """`token`: 1 to 255 octets."""
        super().__init__(network)
        self._proxy = proxy
        self._token = token

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: object = None,
    ) -> httpcore.AsyncNetworkStream:
        """Return a connection to `host`. Raises FetchFailed."""
        try:
            stream = await self._connect(self._proxy.host, self._proxy.port)
            await self._authenticate(stream)
            await stream.write(
                _CONNECT_TO_NAME + _counted(host.encode("ascii")) + port.to_bytes(2, "big")
            )
            reply = await _receive_reply(stream)
        except (httpcore.NetworkError, httpcore.TimeoutException):
            raise FetchFailed(Cause.PROXY) from None
        if reply:
            raise FetchFailed(Cause.NO_SUCH_HOST if reply == _HOST_UNREACHABLE else Cause.CONNECT)
        return stream

    async def _authenticate(self, stream: httpcore.AsyncNetworkStream) -> None:
        # No other method is offered: without it all lookups would share a circuit.
        await stream.write(_VERSION + b"\x01" + _USERNAME_PASSWORD)
        if await _receive(stream, 2) != _VERSION + _USERNAME_PASSWORD:
            raise FetchFailed(Cause.PROXY)
        # RFC 1929 §2.
        await stream.write(b"\x01" + _counted(self._token) + _counted(self._token))
        if (await _receive(stream, 2))[1:] != b"\x00":
            raise FetchFailed(Cause.PROXY)


async def _receive_reply(stream: httpcore.AsyncNetworkStream) -> int:
    """Read to the end of the reply (RFC 1928 §6) and return its code; 0 is success."""
    version, code, _, address_type = await _receive(stream, 4)
    if version != _VERSION[0]:
        raise FetchFailed(Cause.PROXY)
    octets = _ADDRESS_OCTETS.get(address_type) or (await _receive(stream, 1))[0]
    await _receive(stream, octets + 2)
    return code


async def _receive(stream: httpcore.AsyncNetworkStream, octets: int) -> bytes:
    received = b""
    while len(received) < octets:
        more = await stream.read(octets - len(received))
        if not more:
            raise FetchFailed(Cause.PROXY)
        received += more
    return received


def _counted(octets: bytes) -> bytes:
    return bytes([len(octets)]) + octets
