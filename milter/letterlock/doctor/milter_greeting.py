"""Whether a milter answers to Postfix: from its chroot, as its account, in its protocol.

That something accepts a connection says little: under socket activation it is systemd.
"""

import encodings.idna  # noqa: F401 (inside the chroot it cannot be loaded any more)
import socket
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from letterlock.doctor.accounts import NotPossible, as_account
from letterlock.postfix import Settings, milters
from letterlock.postfix_findings import Expected, Finding, Severity

_SECONDS = 10.0
_OPTNEG = b"O" + struct.pack("!III", 6, 0x1FF, 0x1FFFFF)
"""SMFIC_OPTNEG: version, actions and protocol steps, as Postfix 3.7 offers them."""

_QUIT = b"Q"


class Way(NamedTuple):
    """How a daemon of Postfix reaches the milter."""

    address: str
    """As in smtpd_milters: `unix:PATH` or `inet:HOST:PORT`."""

    chrooted: bool


Greet = Callable[[Way, Settings], str]
"""Returns what is wrong, in a few words; nothing if it answers. Raises NotPossible."""


def ways(settings: Settings, expected: Expected) -> list[Way]:
    """Return every way on which our milter is used."""
    used = [
        (service, settings.of(service, parameter))
        for service in settings.services
        if (parameter := _CHAINS.get(service.program))
    ]
    found = {
        Way(entry.address, service.chrooted): None
        for service, chain in used
        for entry in milters(chain)
        if expected.milter in entry.address
    }
    return list(found)


_CHAINS = {"smtpd": "smtpd_milters", "cleanup": "non_smtpd_milters"}


def reachable(settings: Settings, expected: Expected, greet: Greet) -> Iterator[Finding]:
    """The milter answers on each of its ways."""
    for way in ways(settings, expected):
        inside = f" inside {settings.parameters['queue_directory']}" if way.chrooted else ""
        try:
            wrong = greet(way, settings)
        except NotPossible as error:
            reason = f"whether Postfix reaches the milter{inside} was not tried: {error}"
            yield Finding(way.address, "sudo letterlock doctor", reason, Severity.NOTE)
            continue
        if wrong:
            yield Finding(
                way.address,
                "systemctl restart letterlock-inbound.socket letterlock; journalctl -u letterlock",
                "until it answers there, mail is deferred (451 4.7.1)",
                Severity.FAULT,
                f"Postfix does not reach the milter{inside}: {wrong}",
            )


def greet(way: Way, settings: Settings) -> str:
    """See `Greet`."""
    owner = settings.parameters.get("mail_owner", "postfix")
    queue = settings.parameters["queue_directory"]
    return as_account(owner, lambda: _negotiate(way.address), directory=queue, chroot=way.chrooted)


def _negotiate(address: str) -> str:
    kind, _, rest = address.partition(":")
    with _connected(kind, rest) as milter:
        milter.sendall(struct.pack("!I", len(_OPTNEG)) + _OPTNEG)
        answer = milter.recv(5)
        milter.sendall(struct.pack("!I", len(_QUIT)) + _QUIT)
    return "" if answer[4:] == b"O" else "it hung up" if not answer else "it is no milter"


def _connected(kind: str, rest: str) -> socket.socket:
    if kind == "inet":
        host, _, port = rest.rpartition(":")
        return socket.create_connection((host, int(port)), _SECONDS)
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(_SECONDS)
    try:
        client.connect(rest)
    except OSError:
        client.close()
        raise
    return client
