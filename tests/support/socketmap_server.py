"""A socketmap (socketmap_table(5)) whose answers a test decides, right or wrong."""

import socketserver
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self


class SocketmapServer:
    """Listens on a unix socket that everybody may use; a context manager."""

    def __init__(self, path: Path) -> None:
        self.tables: dict[str, dict[str, str]] = {}
        """By the map's name: key to value."""

        self.fault = ""
        """A reply to give in place of any other, such as `TEMP later`."""

        self.is_down = False
        """Whether every connection is closed without an answer."""

        self.asked: list[tuple[str, str]] = []
        server = self

        class Conversation(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with suppress(OSError, ValueError):
                    while True:
                        reply = server._answer(_netstring(self)).encode()
                        self.wfile.write(b"%d:%s," % (len(reply), reply))

        self._path = path
        self._path.unlink(missing_ok=True)
        self._server = _Server(str(path), Conversation)
        self._path.chmod(0o666)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._path.unlink(missing_ok=True)

    def _answer(self, request: str) -> str:
        name, _, key = request.partition(" ")
        self.asked.append((name, key))
        if self.is_down:
            raise ValueError("hang up")
        if self.fault:
            return self.fault
        found = self.tables.get(name, {}).get(key)
        return "NOTFOUND " if found is None else f"OK {found}"


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    # Where the queue of a unix socket is full, Postfix is refused at once.
    request_queue_size = 128


def _netstring(peer: socketserver.StreamRequestHandler) -> str:
    digits = b""
    while (octet := peer.rfile.read(1)) != b":":
        digits += octet
        if not octet:
            raise ValueError("the client hung up")
    text = peer.rfile.read(int(digits))
    peer.rfile.read(1)
    return text.decode()
