"""A SOCKS proxy (RFC 1928, 1929) on loopback that knows names, and notes what it was told."""

import socket
import socketserver
import threading
from collections.abc import Mapping
from typing import NamedTuple, Self


class Asked(NamedTuple):
    """What a client wanted."""

    username: bytes
    host: str
    port: int


class SocksPeer:
    """Leads to a loopback port for each name in `names`; a number as reply code otherwise."""

    def __init__(self, names: Mapping[str, int], refuse_with: int = 4) -> None:
        self.asked: list[Asked] = []
        self.methods = b"\x02"
        """The authentication method that it chooses."""

        self._names = names
        self._refuse_with = refuse_with

    def __enter__(self) -> Self:
        peer = self

        class Conversation(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                try:
                    peer._converse(self.request)
                except (OSError, EOFError):
                    return

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Conversation)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def _converse(self, client: socket.socket) -> None:
        client.settimeout(20)
        _receive(client, _receive(client, 2)[1])
        client.sendall(b"\x05" + self.methods)
        username = _receive(client, _receive(client, 2)[1])
        _receive(client, _receive(client, 1)[0])
        client.sendall(b"\x01\x00")
        assert _receive(client, 4) == b"\x05\x01\x00\x03"
        host = _receive(client, _receive(client, 1)[0]).decode()
        port = int.from_bytes(_receive(client, 2), "big")
        self.asked.append(Asked(username, host, port))
        if host not in self._names:
            client.sendall(bytes([5, self._refuse_with, 0, 1]) + bytes(6))
            return
        with socket.create_connection(("127.0.0.1", self._names[host])) as server:
            client.sendall(b"\x05\x00\x00\x03\x09localhost\x00\x00")
            back = threading.Thread(target=_pump, args=(server, client))
            back.start()
            _pump(client, server)
            back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while octets := source.recv(65536):
            sink.sendall(octets)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return


def _receive(source: socket.socket, octets: int) -> bytes:
    received = b""
    while len(received) < octets:
        more = source.recv(octets - len(received))
        if not more:
            raise EOFError
        received += more
    return received
