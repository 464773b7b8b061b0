"""A real HTTPS server on loopback.

It can serve pages, and do everything to its client that a server can do.
"""

import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple, Self

Behaviour = Callable[[ssl.SSLSocket, threading.Event], None]
"""Does what it likes with a connection whose request was read, until the event is set."""


class Request(NamedTuple):
    """What a client asked."""

    server_name: str | None
    target: str
    fields: dict[str, str]


def page(octets: bytes, status: int = 200, fields: Mapping[str, str] | None = None) -> Behaviour:
    """Return an ordinary reply."""
    told = {"Content-Length": str(len(octets)), **(fields or {})}
    return raw(_head(status, told) + octets)


def redirect(location: str, status: int = 302) -> Behaviour:
    """Return a reply that sends the client elsewhere."""
    return page(b"", status, {"Location": location})


def raw(octets: bytes) -> Behaviour:
    """Return exactly `octets`, then close."""

    def send(connection: ssl.SSLSocket, _: threading.Event) -> None:
        connection.sendall(octets)

    return send


def endless(head: bytes, chunk: bytes, pause: float = 0.0) -> Behaviour:
    """Return `head`, then `chunk` again and again, `pause` seconds apart."""

    def send(connection: ssl.SSLSocket, stopping: threading.Event) -> None:
        connection.sendall(head)
        while not stopping.wait(pause):
            connection.sendall(chunk)

    return send


def silence(connection: ssl.SSLSocket, _: threading.Event) -> None:
    """Return nothing until the client goes."""
    while connection.recv(4096):
        pass


def _head(status: int, fields: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Reason", *(f"{name}: {body}" for name, body in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode()


class HTTPSPeer:
    """Listens on a free loopback port while its context lasts; serves `pages` by path."""

    def __init__(
        self, context: ssl.SSLContext, pages: Mapping[str, bytes | Behaviour] | None = None
    ) -> None:
        self.pages = dict(pages or {})
        self.requests: list[Request] = []
        self.connections = 0
        self._context = context
        self._stopping = threading.Event()
        self._names: dict[object, str | None] = {}
        context.sni_callback = self._note_name

    def __enter__(self) -> Self:
        peer = self

        class Conversation(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                peer._converse(self.request)

        self._server = _Server(("127.0.0.1", 0), Conversation)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def _note_name(self, connection: ssl.SSLObject, name: str | None, _: object) -> None:
        self._names[connection] = name

    def _converse(self, plain: socket.socket) -> None:
        self.connections += 1
        plain.settimeout(20)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with self._context.wrap_socket(plain, server_side=True) as connection:
                request = self._read(connection)
                self.requests.append(request)
                behaviour = self.pages.get(request.target.partition("?")[0], page(b"", 404))
                if isinstance(behaviour, bytes):
                    behaviour = page(behaviour)
                behaviour(connection, self._stopping)
                connection.unwrap()
        except OSError:
            return  # the client had enough

    def _read(self, connection: ssl.SSLSocket) -> Request:
        received = b""
        while not received.endswith(b"\r\n\r\n"):
            more = connection.recv(4096)
            if not more:
                raise ConnectionError
            received += more
        start, *lines = received.decode("latin-1").split("\r\n")[:-2]
        fields = {name.lower(): body.strip() for name, _, body in (s.partition(":") for s in lines)}
        return Request(self._names.get(connection), start.split(" ")[1], fields)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 32
