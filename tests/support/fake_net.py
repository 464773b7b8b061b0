"""A fetcher and a resolver without a network: what they say is what a test gave them."""

from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

import httpcore

from keyservice.dns import DnsAnswer, DnsCause, DnsUnavailable
from keyservice.fetch import Cause, FetchFailed, FetchRefused, Response


class FakeFetcher:
    """Holds pages by URL; a URL without its query answers for every query.

    A page is its content (status 200), a Response, or the exception to raise. Another path
    on a host that has pages is a 404; another host does not exist.
    """

    def __init__(
        self, pages: Mapping[str, bytes | Response | FetchFailed | FetchRefused] | None = None
    ) -> None:
        self.pages = dict(pages or {})
        self.asked: list[str] = []
        """URLs, in the order in which they were asked for."""

        self.looked_up: list[str] = []
        """For whose sake, one for each of `asked`."""

    async def get(
        self,
        url: str,
        *,
        limit_octets: int,
        accept_status: Collection[int] = (200, 404),
        port: int = 443,
        looked_up: str = "",
    ) -> Response:
        """See `keyservice.fetch.Fetcher`."""
        parts = urlsplit(url)
        assert parts.scheme == "https"
        assert (parts.port or 443) == port
        self.asked.append(url)
        self.looked_up.append(looked_up or str(parts.hostname))
        page = self.pages.get(url, self.pages.get(url.partition("?")[0], b""))
        if isinstance(page, Exception):
            raise page
        if not page:
            page = self._missing(url)
        response = page if isinstance(page, Response) else Response(200, page, url)
        if response.status not in accept_status:
            raise FetchFailed(Cause.STATUS)
        if len(response.octets) > limit_octets:
            raise FetchFailed(Cause.TOO_LARGE)
        return response

    def _missing(self, url: str) -> Response:
        hosts = {urlsplit(each).netloc for each in self.pages}
        if urlsplit(url).netloc not in hosts:
            raise FetchFailed(Cause.NO_SUCH_HOST)
        return Response(404, b"", url)


class FakeResolver:
    """Knows `hosts` and `records`; a name in `failing` cannot be resolved.

    A list in `rotating` gives its members in turn, one a question: a rebinding server.
    """

    def __init__(
        self,
        hosts: Mapping[str, list[str]] | None = None,
        records: Mapping[str, DnsAnswer] | None = None,
        failing: Mapping[str, DnsCause] | None = None,
        rotating: Mapping[str, list[list[str]]] | None = None,
    ) -> None:
        self.hosts = dict(hosts or {})
        self.records = dict(records or {})
        self.failing = dict(failing or {})
        self.rotating = dict(rotating or {})
        self.asked: list[str] = []

    async def addresses(self, host: str) -> list[str]:
        """See `keyservice.dns.Resolver`."""
        self._ask(host)
        if host in self.rotating:
            turn = self.asked.count(host) - 1
            return self.rotating[host][turn % len(self.rotating[host])]
        return self.hosts.get(host, [])

    async def openpgpkey(self, owner_name: str) -> DnsAnswer:
        """See `keyservice.dns.Resolver`."""
        self._ask(owner_name)
        return self.records.get(owner_name, DnsAnswer([], authentic=True))

    def _ask(self, name: str) -> None:
        self.asked.append(name)
        if name in self.failing:
            raise DnsUnavailable(self.failing[name])


class LoopbackNetwork(httpcore.AsyncNetworkBackend):
    """Connects to a port on loopback in place of each address in `routes`, to nothing else."""

    def __init__(self, routes: Mapping[str, int] | None = None) -> None:
        self.routes = dict(routes or {})
        self.attempts: list[tuple[str, int]] = []
        """Address and port of every attempt to connect."""

        self._real = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: object = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect, or fail as a network does."""
        self.attempts.append((host, port))
        if host not in self.routes:
            raise httpcore.ConnectError("no route")
        return await self._real.connect_tcp("127.0.0.1", self.routes[host], timeout)
