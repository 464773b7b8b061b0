"""The way from one mail server to another: seen from a public address, and read along."""

import contextlib
import socket
import socketserver
import threading
from typing import Self


class MailRoute:
    """Leads from a port of its own to the SMTP server at `target`; a context manager.

    With a `source` the server is told by XCLIENT that mail comes from there, since of a client
    on loopback nothing can be known (SPF). It must allow that: `smtpd_authorized_xclient_hosts`.
    """

    def __init__(self, target: tuple[str, int], source: str = "") -> None:
        self.messages: list[bytes] = []
        """What was handed over, octet for octet, without doubled dots (RFC 5321 §4.5.2)."""
        route = self

        class Connection(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(target) as server:
                    if source:
                        # It greets once more.
                        server.makefile("rb").readline()
                        server.sendall(f"XCLIENT ADDR={source} NAME=[UNAVAILABLE]\r\n".encode())
                    back = threading.Thread(target=_pass_on, args=(server, self.request))
                    back.start()
                    route._read_along(self.request, server)
                    back.join()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Connection)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        """Where it begins, HOST:PORT."""
        return "{}:{}".format(*self._server.server_address)

    def close(self) -> None:
        """Lead nowhere any more."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        """Return the route."""
        return self

    def __exit__(self, *_: object) -> None:
        """See `close`."""
        self.close()

    def _read_along(self, client: socket.socket, server: socket.socket) -> None:
        message: list[bytes] | None = None
        with contextlib.suppress(OSError), client.makefile("rb") as lines:
            for line in lines:
                if message is None:
                    message = [] if line.upper() == b"DATA\r\n" else None
                elif line == b".\r\n":
                    # Before it goes on: whoever sees the mail arrive finds it here, too.
                    self.messages.append(b"".join(message))
                    message = None
                else:
                    message.append(line.removeprefix(b"."))
                server.sendall(line)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while octets := source.recv(65_536):
            sink.sendall(octets)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
