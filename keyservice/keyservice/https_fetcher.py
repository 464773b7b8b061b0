"""The only outbound HTTP: HTTPS GET of what a stranger's domain publishes.

Each URL, also one that is redirected to, is vetted as text; its host is resolved once, all
its addresses are vetted, and one of those is connected to. One request a connection; no
cookies, no credentials, nothing from the environment, no content coding. httpcore alone does
the HTTP, since what httpx adds to it is what must be absent here.
"""

import asyncio
import secrets
import ssl
from collections.abc import Callable, Collection
from urllib.parse import urljoin

import httpcore

from keyservice.address_rules import Place, place, require_public_addresses
from keyservice.dns import DnsUnavailable, Resolver
from keyservice.fetch import HTTPS_PORT, Cause, FetchFailed, FetchRefused, Forbidden, Response
from keyservice.pinned_backend import OneStream, PinnedBackend, is_own_address
from keyservice.socks_backend import Proxy, SocksBackend, circuit_token

DEADLINE = 5.0
"""Seconds for one `get` in all, redirects included."""

REDIRECTS_MAX = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONTENT_TYPE_OCTETS_MAX = 200

_FIELDS = [("Accept", "*/*"), ("Accept-Encoding", "identity"), ("User-Agent", "letterlock")]


def webpki() -> ssl.SSLContext:
    """Return a context that trusts the machine's certification authorities, TLS 1.2 and later.

    Not ssl.create_default_context: that one writes session secrets to SSLKEYLOGFILE if it is
    in the environment.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


def _uncounted(_: Cause | Forbidden) -> None:
    """Count nothing."""


class HTTPSFetcher:
    """See `fetch.Fetcher`."""

    def __init__(
        self,
        resolver: Resolver,
        *,
        deadline: float = DEADLINE,
        proxy: Proxy | None = None,
        count: Callable[[Cause | Forbidden], None] = _uncounted,
        trust: ssl.SSLContext | None = None,
        network: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        """`count` is told why, once for each `get` that raised.

        With `proxy`, every request goes through it and `resolver` is never asked. `trust` and
        `network`, which connects to an address, are for tests: their addresses are vetted
        like any other, and lead to loopback only there.
        """
        self._resolver = resolver
        self._deadline = deadline
        self._proxy = proxy
        self._count = count
        self._trust = trust or webpki()
        self._network = network or httpcore.AnyIOBackend()
        # New with each start: who watches the proxy cannot link circuits over restarts.
        self._circuit_secret = secrets.token_bytes(32)

    async def get(
        self,
        url: str,
        *,
        limit_octets: int,
        accept_status: Collection[int] = (200, 404),
        port: int = HTTPS_PORT,
        looked_up: str = "",
    ) -> Response:
        """See `fetch.Fetcher`."""
        try:
            async with asyncio.timeout(self._deadline):
                return await self._follow(url, port, looked_up, limit_octets, accept_status)
        except TimeoutError:
            self._count(Cause.DEADLINE)
            raise FetchFailed(Cause.DEADLINE) from None
        except FetchFailed as failure:
            self._count(failure.cause)
            raise
        except FetchRefused as refusal:
            self._count(refusal.reason)
            raise

    async def _follow(
        self, url: str, port: int, looked_up: str, limit: int, accepted: Collection[int]
    ) -> Response:
        onion = self._proxy is not None
        here = place(url, port, onion=onion)
        looked_up = looked_up or here.host
        reply = await self._ask(here, looked_up, limit, accepted)
        for _ in range(REDIRECTS_MAX):
            if isinstance(reply, Response):
                return reply
            here = place(_target(here, reply), port, onion=onion)
            try:
                reply = await self._ask(here, looked_up, limit, accepted)
            except FetchFailed as failure:
                if failure.cause is Cause.NO_SUCH_HOST:
                    raise FetchFailed(Cause.REDIRECT) from None
                raise
        if isinstance(reply, Response):
            return reply
        raise FetchFailed(Cause.REDIRECT)

    async def _ask(
        self, here: Place, looked_up: str, limit: int, accepted: Collection[int]
    ) -> Response | bytes:
        """Return the response, or the Location of a redirect."""
        origin = httpcore.Origin(b"https", here.host.encode(), here.port)
        url = httpcore.URL(
            scheme=b"https", host=origin.host, port=here.port, target=here.target.encode()
        )
        backend = await self._backend(here.host, looked_up)
        connection = httpcore.AsyncHTTPConnection(
            origin, ssl_context=self._trust, network_backend=backend
        )
        try:
            async with connection.stream("GET", url, headers=_FIELDS) as reply:
                return await _read(reply, here, limit, accepted)
        except (httpcore.ConnectError, httpcore.ConnectTimeout, ssl.SSLError):
            # The backend has its own exceptions, so this is what comes after connecting.
            raise FetchFailed(Cause.TLS) from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError):
            raise FetchFailed(Cause.PROTOCOL) from None
        finally:
            await connection.aclose()
            await backend.aclose()

    async def _backend(self, host: str, looked_up: str) -> OneStream:
        if self._proxy is not None:
            token = circuit_token(self._circuit_secret, looked_up)
            return SocksBackend(self._network, self._proxy, token)
        try:
            addresses = await self._resolver.addresses(host)
        except DnsUnavailable:
            raise FetchFailed(Cause.DNS) from None
        if not addresses:
            raise FetchFailed(Cause.NO_SUCH_HOST)
        return PinnedBackend(self._network, require_public_addresses(addresses, is_own_address))


def _target(here: Place, location: bytes) -> str:
    try:
        return urljoin(here.url, location.decode("ascii"))
    except ValueError:  # also what urljoin raises
        raise FetchRefused(Forbidden.URL) from None


async def _read(
    reply: httpcore.Response, here: Place, limit: int, accepted: Collection[int]
) -> Response | bytes:
    fields = {name.lower(): body for name, body in reply.headers}
    if reply.status in _REDIRECTS:
        if b"location" not in fields:
            raise FetchFailed(Cause.REDIRECT)
        return fields[b"location"]
    if reply.status not in accepted:
        raise FetchFailed(Cause.STATUS)
    octets = await _content(reply, fields, limit) if reply.status == 200 else b""
    content_type = fields.get(b"content-type", b"")[:_CONTENT_TYPE_OCTETS_MAX]
    return Response(reply.status, octets, here.url, content_type.decode("ascii", "replace"))


async def _content(reply: httpcore.Response, fields: dict[bytes, bytes], limit: int) -> bytes:
    if fields.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise FetchFailed(Cause.ENCODED)
    # Content that ends with the connection could be cut short by anybody on the path, before
    # a revocation for instance (RFC 9112 §9.8).
    if not fields.keys() & {b"content-length", b"transfer-encoding"}:
        raise FetchFailed(Cause.PROTOCOL)
    received = bytearray()
    async for chunk in reply.aiter_stream():
        received += chunk
        if len(received) > limit:
            raise FetchFailed(Cause.TOO_LARGE)
    return bytes(received)
