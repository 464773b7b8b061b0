"""An SMTP server of somebody else that keeps what it is given, octet for octet."""

import socketserver
import threading
import time
from dataclasses import dataclass
from typing import Self

_EXTENSIONS = b"250-sink\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250 ENHANCEDSTATUSCODES\r\n"


@dataclass(frozen=True, slots=True)
class Taken:
    """One message."""

    commands: tuple[str, ...]
    """MAIL and the RCPT that were taken, with their parameters."""

    octets: bytes
    """Header section and body as they were before dots were doubled (RFC 5321 §4.5.2)."""

    @property
    def reverse_path(self) -> str:
        """The address in MAIL, without its brackets."""
        return _address(self.commands[0])

    @property
    def forward_paths(self) -> list[str]:
        """Those in RCPT, likewise."""
        return [_address(command) for command in self.commands[1:]]


class SMTPSink:
    """Listens from its creation to `close`: on a free loopback port, unless told where.

    It takes mail for everybody but mailboxes whose name begins with `gone` (550) or `later` (451).
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.messages: list[Taken] = []
        sink = self

        class Conversation(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                sink._converse(self)

        self._server = _Server((host, port), Conversation)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        """Where it listens, HOST:PORT."""
        return "{}:{}".format(*self._server.server_address)

    def wait_for(self, count: int, seconds: float = 90) -> list[Taken]:
        """Return all messages as soon as there are `count`."""
        deadline = time.monotonic() + seconds
        while len(self.messages) < count:
            assert time.monotonic() < deadline, f"{len(self.messages)} of {count} messages"
            time.sleep(0.02)
        return self.messages

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        """Return the sink."""
        return self

    def __exit__(self, *_: object) -> None:
        """See `close`."""
        self.close()

    def _converse(self, peer: socketserver.StreamRequestHandler) -> None:
        commands: list[str] = []
        peer.wfile.write(b"220 sink\r\n")
        while line := peer.rfile.readline():
            verb = line[:4].upper()
            reply = b"250 2.0.0 ok\r\n"
            if verb == b"EHLO":
                reply = _EXTENSIONS
            elif verb == b"MAIL":
                commands = [line.decode().strip()]
            elif verb == b"RCPT":
                reply = _reply_to_rcpt(line)
                commands += [line.decode().strip()] if reply.startswith(b"250") else []
            elif verb == b"DATA":
                peer.wfile.write(b"354 go on\r\n")
                self.messages.append(Taken(tuple(commands), _message(peer)))
            elif verb == b"QUIT":
                peer.wfile.write(b"221 2.0.0 bye\r\n")
                return
            peer.wfile.write(reply)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128


def _address(command: str) -> str:
    return command.partition("<")[2].partition(">")[0]


def _reply_to_rcpt(line: bytes) -> bytes:
    local_part = _address(line.decode()).lower()
    if local_part.startswith("gone"):
        return b"550 5.1.1 gone\r\n"
    if local_part.startswith("later"):
        return b"451 4.3.0 later\r\n"
    return b"250 2.1.5 ok\r\n"


def _message(peer: socketserver.StreamRequestHandler) -> bytes:
    lines = []
    while (line := peer.rfile.readline()) not in (b".\r\n", b""):
        lines.append(line.removeprefix(b"."))
    return b"".join(lines)
