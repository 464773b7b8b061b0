"""Between the milter and the key service: a place to falsify the answers to single questions."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

Ask = Callable[[], bytes]
"""Asks the key service; returns its reply, as HTTP has it."""

Way = Callable[[Ask], bytes | None]
"""What is said in its place; None: nothing, and nobody hangs up."""


def silence(_: Ask) -> None:
    """Say nothing, as a process does that hangs."""


def nothing(_: Ask) -> bytes:
    """Hang up."""
    return b""


def half(ask: Ask) -> bytes:
    """Hang up too early."""
    reply = ask()
    return reply[: len(reply) // 2]


def status(code: int) -> Way:
    """Say that it went wrong."""
    return lambda _: b"HTTP/1.1 %d Wrong\r\nContent-Length: 2\r\n\r\n{}" % code


def body(change: Callable[[bytes], bytes]) -> Way:
    """Say something else."""

    def way(ask: Ask) -> bytes:
        changed = change(ask().partition(b"\r\n\r\n")[2])
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(changed) + changed

    return way


class KeyServiceProxy:
    """Listens at `path` and passes everything on to the key service at `target`."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self.asked: list[str] = []
        """Targets of the requests, in order."""

        self._target = str(target)
        self._ways: dict[str, Way] = {}

    @contextmanager
    def answering(self, start: str, way: Way) -> Iterator[None]:
        """Answer requests whose target begins with `start` that way."""
        self._ways[start] = way
        try:
            yield
        finally:
            del self._ways[start]

    @contextmanager
    def gone(self) -> Iterator[None]:
        """Let nobody connect."""
        away = self.path.with_suffix(".away")
        self.path.rename(away)
        try:
            yield
        finally:
            away.rename(self.path)

    def __enter__(self) -> Self:
        self._server = _Server(str(self.path), _connection(self))
        self.path.chmod(0o666)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _reply(self, request: bytes) -> bytes | None:
        target = request.split(b" ", 2)[1].decode()
        self.asked.append(target)
        ways = (way for start, way in self._ways.items() if target.startswith(start))
        way = next(ways, _honestly)
        return way(lambda: self._pass_on(request))

    def _pass_on(self, request: bytes) -> bytes:
        reply = b""
        # Down: then whoever asked is hung up on.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as service:
            service.connect(self._target)
            service.sendall(request)
            while octets := service.recv(65_536):
                reply += octets
        return reply


def _honestly(ask: Ask) -> bytes:
    return ask()


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


def _connection(proxy: KeyServiceProxy) -> type[socketserver.StreamRequestHandler]:
    class Connection(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                reply = proxy._reply(_request(self))
                if reply is None:
                    self.rfile.read(1)  # until the other side gives up
                else:
                    self.wfile.write(reply)

    return Connection


def _request(peer: socketserver.StreamRequestHandler) -> bytes:
    lines, length = [], 0
    while (line := peer.rfile.readline()) not in (b"\r\n", b""):
        lines.append(line)
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return b"".join(lines) + b"\r\n" + peer.rfile.read(length)
