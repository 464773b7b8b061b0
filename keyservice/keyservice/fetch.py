"""What may be asked of the one outbound HTTP client, and how it ends. No I/O.

`https_fetcher` does it. Methods know this contract only.
"""

from collections.abc import Collection
from enum import Enum
from typing import Protocol

import msgspec

HTTPS_PORT = 443


class Forbidden(Enum):
    """Why a URL is not contacted. Also the metric label."""

    URL = "url"
    """Not of the form https://name[:port][/path][?query] in printable ASCII."""

    SCHEME = "scheme"
    USERINFO = "userinfo"
    PORT = "port"
    NAME = "name"
    """An address literal in any notation, a single label, or no host name at all."""

    SPECIAL_USE = "special_use"
    """A name that means something local, or nothing (RFC 6761), or .onion without a proxy."""

    ADDRESS = "address"
    """One of the addresses behind the name is not public, or is our own."""


class Cause(Enum):
    """Why nothing usable came. Also the metric label."""

    NO_SUCH_HOST = "no_such_host"
    """The name in the URL has no address. Not used for the target of a redirect."""

    DNS = "dns"
    """Nobody could say which addresses it has."""

    PROXY = "proxy"
    CONNECT = "connect"
    TLS = "tls"
    PROTOCOL = "protocol"
    """Not HTTP, closed midway, or its end could be forged."""

    DEADLINE = "deadline"
    TOO_LARGE = "too_large"
    ENCODED = "encoded"
    """A content coding, which nobody asked for: it can unpack to any size."""

    REDIRECT = "redirect"
    """More than three, to nowhere, or to a name without an address."""

    STATUS = "status"


class FetchRefused(Exception):
    """The URL, one it redirects to, or an address behind it must not be contacted: permanent."""

    def __init__(self, reason: Forbidden) -> None:
        """Hold no text that a peer wrote."""
        super().__init__(f"must not be contacted: {reason.value}")
        self.reason = reason


class FetchFailed(Exception):
    """Network, TLS, time or size: another time it may work."""

    def __init__(self, cause: Cause) -> None:
        """Hold no text that a peer wrote."""
        super().__init__(f"not fetched: {cause.value}")
        self.cause = cause


class Response(msgspec.Struct, frozen=True):
    """What came from whom the name in `url` belongs to."""

    status: int
    octets: bytes
    """The content if `status` is 200, else none."""

    url: str
    """Where it came from in the end, after redirects."""

    content_type: str = ""
    """As the peer says; up to 200 octets of it."""


class Fetcher(Protocol):
    """Gets what is at a URL that a stranger may have chosen."""

    async def get(
        self,
        url: str,
        *,
        limit_octets: int,
        accept_status: Collection[int] = (200, 404),
        port: int = HTTPS_PORT,
        looked_up: str = "",
    ) -> Response:
        """Return what is at `url`, which must name `port`, if with one of `accept_status`.

        `looked_up` is the domain for whose sake it is asked, by default the host in the URL:
        different ones go through different circuits of the proxy, if there is one.
        Raises FetchRefused and FetchFailed; content of more than `limit_octets` is a failure.
        """
        ...
