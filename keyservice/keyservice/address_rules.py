"""Where the fetcher may go: which URLs, host names and addresses. Pure.

Whoever sends mail chooses the domain that is asked, and whoever answers chooses the next one
by a redirect. Neither may make the key service speak to what only it can reach.
"""

import re
from collections.abc import Callable, Collection
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import idna
import msgspec

from keyservice.fetch import HTTPS_PORT, FetchRefused, Forbidden

_NAME_OCTETS_MAX = 253
"""RFC 1035 §3.1, as text without the final dot."""

_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"

# The last label has letters only, or is an A-label: no notation of an IPv4 address that any
# resolver or library reads as one (decimal, octal, hexadecimal, one to four parts) ends so.
_NAME = re.compile(rf"(?:{_LABEL}\.)+(?:[a-z]{{2,63}}|xn--[a-z0-9-]{{1,58}}[a-z0-9])")

_URL = re.compile(
    r"https://(?P<host>[^/?#@:\[\]\\]+)(?::(?P<port>[0-9]{1,5}))?"
    r"""(?P<path>/[!"$->@-~]*)?(?P<query>\?[!"$-~]*)?(?:\#[!-~]*)?""",
    re.IGNORECASE,
)

_URL_OCTETS_MAX = 2_000
"""Ours are below 500; a redirect may be as long as a header section."""

_SPECIAL_USE = frozenset(
    {
        # IANA, Special-Use Domain Names; `internal`: ICANN, 2024.
        *("alt", "arpa", "example", "internal", "invalid", "local", "localhost", "onion", "test"),
        # Never to be delegated, and used inside many networks (ICANN, name collision).
        *("corp", "home", "intranet", "lan", "localdomain", "private"),
    }
)

# IANA IPv4 Special-Purpose Address Registry, and multicast. Python's `is_global` alone would
# not do: what it knows differs from release to release.
_FORBIDDEN_V4 = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
    *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
    *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
)

_GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")
"""RFC 4291 §2.4 as delegated so far: without IPv4-mapped, NAT64, local and multicast."""

# Protocol assignments with Teredo; documentation; 6to4: these lead to IPv4, or nowhere.
_FORBIDDEN_V6 = ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")

_FORBIDDEN = [ip_network(network) for network in (*_FORBIDDEN_V4, *_FORBIDDEN_V6)]


class Place(msgspec.Struct, frozen=True):
    """A URL taken apart once; nothing parses it a second time, perhaps differently."""

    host: str
    """Lower case."""

    port: int
    target: str
    """Path and query, as sent (RFC 9112 §3.2.1)."""

    @property
    def url(self) -> str:
        """Return it whole."""
        port = "" if self.port == HTTPS_PORT else f":{self.port}"
        return f"https://{self.host}{port}{self.target}"


def place(url: str, port: int, *, onion: bool = False) -> Place:
    """Return the parts of `url`, whose port must be `port`.

    Raises FetchRefused. With `onion`, names below .onion are let through.
    """
    _require_scheme(url)
    if "@" in re.split(r"[/?#]", url[len("https://") :], maxsplit=1)[0]:
        raise FetchRefused(Forbidden.USERINFO)
    match = _URL.fullmatch(url)
    if match is None or len(url) > _URL_OCTETS_MAX:
        raise FetchRefused(Forbidden.NAME if "[" in url else Forbidden.URL)
    if int(match["port"] or HTTPS_PORT) != port:
        raise FetchRefused(Forbidden.PORT)
    host = match["host"].lower()
    require_public_name(host, onion=onion)
    return Place(host, port, (match["path"] or "/") + (match["query"] or ""))


def _require_scheme(url: str) -> None:
    if url[: len("https://")].lower() != "https://":
        known = re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", url)
        raise FetchRefused(Forbidden.SCHEME if known else Forbidden.URL)


def require_public_name(host: str, *, onion: bool = False) -> None:
    """Raise FetchRefused unless `host` is a name of the public DNS (or below .onion)."""
    if len(host) > _NAME_OCTETS_MAX or not host.isascii() or not _NAME.fullmatch(host):
        raise FetchRefused(Forbidden.NAME)
    labels = host.split(".")
    if labels[-1] in _SPECIAL_USE and not (onion and labels[-1] == "onion"):
        raise FetchRefused(Forbidden.SPECIAL_USE)
    try:
        for label in labels:
            if label[2:4] == "--":  # RFC 5890 §2.3.1: only A-labels may look so
                idna.ulabel(label)
                idna.alabel(idna.ulabel(label))
    except idna.IDNAError:
        raise FetchRefused(Forbidden.NAME) from None


def require_public_addresses(
    addresses: Collection[str], is_own: Callable[[str], bool]
) -> tuple[str, ...]:
    """Return `addresses` in the form in which they may be connected to.

    Raises FetchRefused if even one of them is not public or is our own: an honest host has
    no such address, and which one is tried first should not decide.
    """
    vetted = []
    for text in addresses:
        address = _address(text)
        if not is_public(address) or is_own(str(address)):
            raise FetchRefused(Forbidden.ADDRESS)
        vetted.append(str(address))
    return tuple(vetted)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether anybody's host may be there, whatever network we are in."""
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST_V6:
        return False
    return address.is_global and not any(address in network for network in _FORBIDDEN)


def _address(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError:
        raise FetchRefused(Forbidden.ADDRESS) from None
