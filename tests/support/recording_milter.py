"""A milter that lets everything pass and remembers what Postfix told it."""

import socketserver
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from milterproto import CONTINUE, VERSION, packet

_SILENT = b"DAQ"
"""Macros, abort and quit get no reply (mfdef.h)."""


@dataclass
class Told:
    """One transaction; names and values are Postfix's."""

    macros: dict[str, str] = field(default_factory=dict)
    """Those of connection, HELO and MAIL: the names of certificates come with HELO."""

    reverse_path: str = ""
    forward_paths: list[str] = field(default_factory=list)
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    is_complete: bool = False


class RecordingMilter:
    """Listens on a unix socket that everybody may use; a context manager."""

    def __init__(self, path: Path) -> None:
        self.transactions: list[Told] = []
        milter = self

        class Session(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with suppress(OSError, struct.error):
                    milter._serve(self)

        path.unlink(missing_ok=True)
        self._server = _Server(str(path), Session)
        path.chmod(0o666)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, peer: socketserver.StreamRequestHandler) -> None:
        told = Told()
        macros: dict[bytes, dict[str, str]] = {}
        while True:
            (length,) = struct.unpack(">I", peer.rfile.read(4))
            octets = peer.rfile.read(length)
            command, rest = octets[:1], octets[1:]
            if command == b"O":
                peer.wfile.write(packet(b"O", struct.pack(">III", VERSION, 0, 0)))
                continue
            if command == b"D":
                macros[rest[:1]] = _macros(rest[1:])
            if command == b"M":
                told = Told(macros.get(b"C", {}) | macros.get(b"H", {}) | macros.get(b"M", {}))
                self.transactions.append(told)
            _remember(told, command, rest)
            if command == b"Q":
                return
            if command not in _SILENT:
                peer.wfile.write(packet(CONTINUE))


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    # Where the queue of a unix socket is full, Postfix is refused at once.
    request_queue_size = 128


def _remember(told: Told, command: bytes, octets: bytes) -> None:
    strings = octets.split(b"\0")
    match command:
        case b"M":
            told.reverse_path = strings[0].decode()
        case b"R":
            told.forward_paths.append(strings[0].decode())
        case b"L":
            told.fields.append((strings[0], strings[1]))
        case b"E":
            told.is_complete = True
        case _:
            pass


def _macros(octets: bytes) -> dict[str, str]:
    strings = [text.decode() for text in octets.split(b"\0")]
    return dict(zip(strings[0::2], strings[1::2], strict=False))
