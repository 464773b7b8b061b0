"""Further copies enter Postfix again by SMTP, through a loopback port without milters.

All copies of a transaction share one connection. A copy counts as accepted when the
port answered 250 to its final dot (RFC 5321 §4.1.1.4), and only then.
"""

import re
import smtplib
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from letterlock.errors import ReentryFailed

_TIMEOUT_SECONDS = 120.0
_LINE_START_DOT = re.compile(rb"\n\.")
_QUEUED = re.compile(rb"queued as ([0-9A-Za-z]{1,40})")
_ORDINARY = ("RET=", "ENVID=", "NOTIFY=", "ORCPT=")


@dataclass(frozen=True, slots=True)
class Copy:
    """A complete message for one mailbox."""

    reverse_path: str
    parameters: tuple[str, ...]
    recipients: tuple[tuple[str, tuple[str, ...]], ...]
    """Addresses with their RCPT parameters."""

    octets: Iterable[bytes]
    """Header section, blank line and body; CRLF."""


class ReentryPort:
    """Where copies enter."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)

    def connect(self) -> "ReentrySession":
        """Open a connection. Raises ReentryFailed."""
        return ReentrySession(*self._address)


class ReentrySession:
    """A connection to the port; closes itself as a context manager."""

    def __init__(self, host: str, port: int) -> None:
        try:
            self._smtp = smtplib.SMTP(host, port, "localhost", timeout=_TIMEOUT_SECONDS)
            # A copy is many small writes without a reply between them: Nagle's algorithm
            # would have each wait for the delayed acknowledgement of the one before (40 ms).
            if connection := self._smtp.sock:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._expect(self._smtp.ehlo(), 250)
        except OSError as error:
            raise ReentryFailed(f"re-entry port: {type(error).__name__}") from None

    def __enter__(self) -> "ReentrySession":
        return self

    def __exit__(self, *_: object) -> None:
        self._smtp.close()

    def send(self, copy: Copy) -> str:
        """Have `copy` accepted, or raise ReentryFailed. Never tries twice.

        Returns its queue ID; empty if the port does not tell.
        """
        try:
            options = [p for p in copy.parameters if self._offered(p)]
            self._expect(self._smtp.mail(copy.reverse_path, options), 250)
            for address, parameters in copy.recipients:
                kept = [p for p in parameters if self._offered(p)]
                self._expect(self._smtp.rcpt(address, kept), 250)
            self._expect(self._smtp.docmd("DATA"), 354)
            for piece in dot_stuffed(copy.octets):
                self._smtp.send(piece)
            reply = self._smtp.getreply()
            self._expect(reply, 250)
        except OSError as error:  # smtplib's own exceptions are OSErrors too
            raise ReentryFailed(f"re-entry port: {type(error).__name__}") from None
        queued = _QUEUED.search(reply[1])
        return queued[1].decode() if queued else ""

    def _offered(self, parameter: str) -> bool:
        name = parameter.partition("=")[0].upper()
        if parameter.upper().startswith(_ORDINARY):
            name = "DSN"
        return self._smtp.has_extn("8bitmime" if name == "BODY" else name)

    @staticmethod
    def _expect(reply: tuple[int, bytes], code: int) -> None:
        if reply[0] != code:
            # The text may hold the address; the code is enough for the log.
            raise ReentryFailed(f"re-entry port answered {reply[0]} where {code} was due")


def dot_stuffed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield `pieces` for DATA: dots doubled, final dot added (RFC 5321 §4.5.2)."""
    end = b"\r\n"
    for piece in pieces:
        if not piece:
            continue
        stuffed = _LINE_START_DOT.sub(b"\n..", piece)
        # The line may have begun in the piece before.
        yield b"." + stuffed if piece[:1] == b"." and end[-1:] == b"\n" else stuffed
        end = (end + piece)[-2:]
    yield b".\r\n" if end == b"\r\n" else b"\r\n.\r\n"
