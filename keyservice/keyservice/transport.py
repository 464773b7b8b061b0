"""One HTTP exchange with the key service under one deadline, over a unix socket or loopback TCP.

A timeout per read is no deadline: a peer that sends one octet a second would hold a
milter thread for hours. Here every read gets only what is left of the whole.
"""

import contextlib
import http.client
import io
import socket
import time
from typing import NamedTuple, TypeVar

import msgspec

REPLY_OCTETS_MAX = 1_048_576

_Record = TypeVar("_Record", bound=msgspec.Struct)


class TransportError(Exception):
    """No usable reply; the text names what failed, never content."""


class DeadlinePassed(TransportError):
    """The peer was too slow."""


class NotPermitted(TransportError):
    """The socket is not for this account."""


class Reply(NamedTuple):
    """Status code and body."""

    status: int
    body: bytes


class Endpoint(NamedTuple):
    """Where the key service listens."""

    family: socket.AddressFamily
    address: str | tuple[str, int]

    @classmethod
    def parse(cls, text: str) -> "Endpoint":
        """Return the endpoint of `unix:/path`, `/path` or `http://host:port`.

        Raises ValueError.
        """
        if text.startswith("http://"):
            host, _, port = text.removeprefix("http://").rstrip("/").rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65536:
                raise ValueError("expected http://HOST:PORT")
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            return cls(family, (host.strip("[]"), int(port)))
        path = text.removeprefix("unix:")
        if not path.startswith("/"):
            raise ValueError("expected unix:/PATH or http://HOST:PORT")
        return cls(socket.AF_UNIX, path)


def exchange(
    endpoint: Endpoint, method: str, target: str, body: bytes = b"", *, deadline: float
) -> Reply:
    """Return the reply to one request, complete within `deadline` seconds or not at all.

    `target` is percent-encoded already. Raises TransportError.
    """
    until = time.monotonic() + deadline
    request = (
        f"{method} {target} HTTP/1.1\r\nHost: keyservice\r\nConnection: close\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode("ascii") + body
    try:
        with socket.socket(endpoint.family, socket.SOCK_STREAM) as peer:
            peer.settimeout(_left(until))
            peer.connect(endpoint.address)
            octets = _send_and_receive(peer, request, until)
    except TimeoutError:
        raise DeadlinePassed("too slow") from None
    except PermissionError as error:
        raise NotPermitted(error.strerror) from None
    except OSError as error:
        # One that Python itself found has no number: a path that is too long.
        raise TransportError(error.strerror or str(error)) from None
    return _parse(octets)


def ask(
    endpoint: Endpoint,
    method: str,
    target: str,
    record: type[_Record],
    body: bytes = b"",
    *,
    deadline: float,
) -> _Record:
    """Return the record that one request is answered with; else as `exchange`."""
    reply = exchange(endpoint, method, target, body, deadline=deadline)
    if reply.status != 200:
        raise TransportError(f"status {reply.status}")
    try:
        return msgspec.json.decode(reply.body, type=record)
    except msgspec.MsgspecError:
        raise TransportError("answer not understood") from None


def _send_and_receive(peer: socket.socket, request: bytes, until: float) -> bytes:
    peer.settimeout(_left(until))
    # A request that is too large is answered before it is read to its end.
    with contextlib.suppress(BrokenPipeError):
        peer.sendall(request)
    received = bytearray()
    while True:
        peer.settimeout(_left(until))
        chunk = peer.recv(65_536)
        if not chunk:
            return bytes(received)
        received += chunk
        if len(received) > REPLY_OCTETS_MAX:
            raise TransportError("reply too large")


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise DeadlinePassed("too slow")
    return left


class _Received(io.BytesIO):
    """What `http.client` takes for a socket: all of the reply is here already."""

    def makefile(self, _mode: str) -> io.BytesIO:
        return self


def _parse(octets: bytes) -> Reply:
    response = http.client.HTTPResponse(_Received(octets))  # type: ignore[arg-type]  # see _Received
    try:
        response.begin()
        return Reply(response.status, response.read())
    except (http.client.HTTPException, ValueError, OSError) as error:
        raise TransportError(f"not HTTP: {type(error).__name__}") from None
