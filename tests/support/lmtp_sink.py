"""An LMTP server (RFC 2033) that keeps the commands and messages that it is given."""

import socketserver
import threading
from typing import Self

_EXTENSIONS = b"250-sink\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250 ENHANCEDSTATUSCODES\r\n"


class LMTPSink:
    """Listens on a free loopback port from its creation to `close`; offers every extension.

    It takes mail for everybody but mailboxes whose name begins with `gone`.
    """

    def __init__(self) -> None:
        self.transactions: list[list[str]] = []
        """MAIL and RCPT of each message taken, in the order in which they ended."""
        sink = self

        class Conversation(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                sink._converse(self)

        self._server = _Server(("127.0.0.1", 0), Conversation)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

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
            if line.upper().startswith(b"RCPT TO:<GONE"):
                peer.wfile.write(b"550 5.1.1 gone\r\n")
                continue
            if verb in (b"MAIL", b"RCPT"):
                commands.append(line.decode().rstrip())
            if verb == b"LHLO":
                peer.wfile.write(_EXTENSIONS)
            elif verb == b"RSET":
                commands.clear()
                peer.wfile.write(b"250 2.0.0 ok\r\n")
            elif verb == b"DATA":
                peer.wfile.write(b"354 go on\r\n")
                while peer.rfile.readline() not in (b".\r\n", b""):
                    pass
                self.transactions.append(commands)
                # One reply for each recipient (RFC 2033 §4.2).
                peer.wfile.write(b"250 2.0.0 kept\r\n" * (len(commands) - 1))
                commands = []
            elif verb == b"QUIT":
                peer.wfile.write(b"221 2.0.0 bye\r\n")
                return
            else:
                peer.wfile.write(b"250 2.0.0 ok\r\n")


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128
