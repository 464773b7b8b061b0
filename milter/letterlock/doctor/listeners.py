"""Which TCP ports this host listens on, and for whom (/proc/net/tcp, tcp6). Pure over `Host`."""

import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from letterlock.config import host_and_port
from letterlock.doctor.host import Host
from letterlock.postfix_findings import Finding, Severity

_LISTEN = "0A"


class Listener(NamedTuple):
    """One listening socket."""

    address: IPv4Address | IPv6Address
    port: int

    @property
    def is_local(self) -> bool:
        """Whether this host alone reaches it."""
        mapped = getattr(self.address, "ipv4_mapped", None)
        return bool((mapped or self.address).is_loopback)


def listeners(host: Host) -> list[Listener]:
    """Return all of them."""
    rows = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in (host.read(f"/proc/net/{name}") or "").splitlines()[1:]
    ]
    return [_listener(row[1]) for row in rows if len(row) > 3 and row[3] == _LISTEN]


def reentry(listening: list[Listener], reentry: str) -> Iterator[Finding]:
    """The re-entry port is there, for this host alone."""
    _, port = host_and_port(reentry, "postfix.reentry")
    ours = [one for one in listening if one.port == port]
    if not ours:
        yield Finding(
            f"port {port}",
            "the lines of that port from postfix-conf/master.cf.in, then `postfix reload`",
            "copies for further mailboxes cannot re-enter; mail to several is deferred",
            Severity.FAULT,
            "nothing listens at the re-entry port",
        )
    for one in ours:
        if not one.is_local:
            yield Finding(
                f"port {port}",
                f"{reentry} as the service name in master.cf, then `postfix reload`",
                "whoever reaches it hands in mail that no milter sees",
                what=f"the re-entry port listens on {one.address}",
            )


def for_this_host(listening: list[Listener], address: str, what: str) -> Iterator[Finding]:
    """The port of `address`, HOST:PORT on loopback, is not open for others as well."""
    host, port = host_and_port(address, what)
    if host not in ("127.0.0.1", "::1", "localhost"):
        return
    for one in listening:
        if one.port == port and not one.is_local:
            yield Finding(
                f"port {port}",
                f"let nothing but {address} listen there",
                "there is no password on it",
                Severity.FAULT,
                f"the port of {what} is open on {one.address}",
            )


def _listener(field: str) -> Listener:
    address, _, port = field.partition(":")
    # proc(5): words of 32 bits in the byte order of the host.
    words = [int(address[i : i + 8], 16) for i in range(0, len(address), 8)]
    octets = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
    kind = IPv4Address if len(octets) == 4 else IPv6Address
    return Listener(kind(octets), int(port, 16))
