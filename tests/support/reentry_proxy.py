"""Between the milter and Postfix' re-entry port: a place to break the connection at will."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable
from typing import Self

OnLine = Callable[[bytes], bool | bytes]
"""Asked before a line goes on; False ends the connection in both directions.

Octets are the answer to it in place of the other side's, and the line is lost.
"""


def always(_: bytes) -> bool:
    """Let everything through."""
    return True


class ReentryProxy:
    """Passes lines between a port of its own and `target`; a context manager."""

    def __init__(self, target: tuple[str, int], port: int) -> None:
        """`from_milter`, `from_postfix`: asked about every line."""
        self.target = target
        self.port = port
        self.from_milter: OnLine = always
        self.from_postfix: OnLine = always
        self._server: socketserver.ThreadingTCPServer | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Listen."""
        self.from_milter = self.from_postfix = always
        self._server = _Server(("127.0.0.1", self.port), _connection(self))
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Refuse connections from now on."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


def _connection(proxy: ReentryProxy) -> type[socketserver.BaseRequestHandler]:
    class Connection(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(proxy.target) as postfix:
                back = threading.Thread(
                    target=_pass_on,
                    args=(postfix, self.request, lambda line: proxy.from_postfix(line)),
                )
                back.start()
                _pass_on(self.request, postfix, lambda line: proxy.from_milter(line))
                back.join()

    return Connection


def _pass_on(source: socket.socket, sink: socket.socket, may_pass: OnLine) -> None:
    with contextlib.suppress(OSError), source.makefile("rb") as lines:
        for line in lines:
            decision = may_pass(line)
            if isinstance(decision, bytes):
                source.sendall(decision)
            elif decision:
                sink.sendall(line)
            else:
                break
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
