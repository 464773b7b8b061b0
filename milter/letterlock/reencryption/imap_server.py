"""The IMAP server to work on: reached over the network, or as a child of `doveadm exec`."""

import getpass
import imaplib
import ipaddress
import ssl
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Self, cast
from urllib.parse import unquote, urlsplit

from letterlock.reencryption.store import StoreFailed

_DOVEADM = "doveadm:"
_PORTS = {"imap": 143, "imaps": 993}
_TIMEOUT_SECONDS = 300.0
"""A large folder takes Dovecot a while to index, and a large message to store."""


class BadAddress(ValueError):
    """Not an address of a server; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Address:
    """`imap://USER@HOST[:PORT]`, `imaps://…`, or `doveadm:USER` for Dovecot on this host."""

    scheme: str
    user: str
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return None where `text` does not claim to be one. Raises BadAddress."""
        if text.startswith(_DOVEADM):
            return cls("doveadm", text.removeprefix(_DOVEADM))
        parts = urlsplit(text)
        if parts.scheme not in _PORTS:
            return None
        try:
            port = parts.port or _PORTS[parts.scheme]
        except ValueError:
            raise BadAddress("the port is no port") from None
        if parts.password is not None:
            raise BadAddress("no password belongs here: everybody on this host could read it")
        if not parts.username or not parts.hostname or parts.path.strip("/") or parts.query:
            raise BadAddress(f"expected {parts.scheme}://USER@HOST[:PORT]")
        return cls(parts.scheme, unquote(parts.username), parts.hostname, port)

    def __str__(self) -> str:
        """Return what is the same for the same store."""
        if self.scheme == "doveadm":
            return f"doveadm:{self.user}"
        return f"imap://{self.user}@{self.host}:{self.port}"


def connect(address: Address, password: Callable[[], str] = getpass.getpass) -> imaplib.IMAP4:
    """Return a server that knows who we are. Raises StoreFailed."""
    try:
        if address.scheme == "doveadm":
            return _child(["doveadm", "exec", "imap", "-u", address.user])
        with ExitStack() as resources:
            server = _server(address, resources)
            _log_in(server, address.user, password())
            resources.pop_all()
    except (OSError, imaplib.IMAP4.error) as error:
        raise StoreFailed(f"{address}: {_text(error)}") from None
    else:
        return server


def _server(address: Address, resources: ExitStack) -> imaplib.IMAP4:
    context = ssl.create_default_context()
    host, port = address.host, address.port
    if address.scheme == "imaps":
        server: imaplib.IMAP4 = imaplib.IMAP4_SSL(
            host, port, ssl_context=context, timeout=_TIMEOUT_SECONDS
        )
    else:
        server = imaplib.IMAP4(host, port, timeout=_TIMEOUT_SECONDS)
    resources.callback(server.shutdown)
    if address.scheme == "imap" and not _is_loopback(host):
        # RFC 8314 §4.1. Without TLS there is no password, and no mail, for anybody outside.
        server.starttls(context)
    return server


def _log_in(server: imaplib.IMAP4, user: str, password: str) -> None:
    if "AUTH=PLAIN" in server.capabilities:
        # Unlike LOGIN it takes any characters (RFC 4616).
        message = f"\0{user}\0{password}".encode()
        server.authenticate("PLAIN", lambda _challenge: message)
    else:
        server.login(user, password)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _text(error: Exception) -> str:
    first = error.args[0] if error.args else type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return first.decode(errors="replace") if isinstance(first, bytes) else str(first)


def _child(command: list[str]) -> imaplib.IMAP4:
    with tempfile.TemporaryFile() as said:
        try:
            return _Child(command, said)
        except imaplib.IMAP4.error:
            said.seek(0)
            *_, last = [b"", *said.read().splitlines()]
            raise StoreFailed(f"{command[0]}: {last.decode(errors='replace')}") from None


class _Child(imaplib.IMAP4_stream):
    """A server on standard input and output, which greets with PREAUTH (RFC 3501 §7.1.4)."""

    def __init__(self, command: list[str], errors: IO[bytes]) -> None:
        self._arguments = command
        self._errors = errors
        super().__init__(command[0])

    def open(
        self, host: str | None = None, port: int | None = None, timeout: float | None = None
    ) -> None:
        """Start it. Without a shell, unlike the base class."""
        self.host, self.port = "", 0
        process = self.process = subprocess.Popen(  # noqa: S603 (fixed; the user is one argument)
            self._arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
        )
        self.writefile = cast("IO[bytes]", process.stdin)
        self.readfile = cast("IO[bytes]", process.stdout)
