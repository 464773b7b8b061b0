"""A real HTTPS server on loopback with a certification authority of its own.

It can serve pages, and do everything to its client that a server can do.
"""

import datetime
import socket
import socketserver
import ssl
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Behaviour = Callable[[ssl.SSLSocket, threading.Event], None]
"""Does what it likes with a connection whose request was read, until the event is set."""


class Request(NamedTuple):
    """What a client asked."""

    server_name: str | None
    target: str
    fields: dict[str, str]


class Authority:
    """Issues certificates that only those who have `trust` trust."""

    def __init__(self) -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        self._certificate = self._issue(self._name, self._private.public_key(), None)

    def trust(self) -> ssl.SSLContext:
        """Return a client's context that trusts this authority and no other."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(
            cadata=self._certificate.public_bytes(serialization.Encoding.PEM).decode()
        )
        return context

    def server(self, names: tuple[str, ...]) -> ssl.SSLContext:
        """Return a server's context for `names`."""
        private = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test server")])
        issued = self._issue(subject, private.public_key(), names)
        pem = issued.public_bytes(serialization.Encoding.PEM) + private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "server.pem")
            path.write_bytes(pem)
            context.load_cert_chain(path)
        return context

    def _issue(
        self, subject: x509.Name, public: ec.EllipticCurvePublicKey, names: tuple[str, ...] | None
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=names is None, path_length=None), True)
        )
        if names is not None:
            hosts = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
            builder = builder.add_extension(hosts, False)
        return builder.sign(self._private, hashes.SHA256())


def page(octets: bytes, status: int = 200, fields: Mapping[str, str] | None = None) -> Behaviour:
    """Return an ordinary reply."""
    told = {"Content-Length": str(len(octets)), **(fields or {})}
    return raw(_head(status, told) + octets)


def redirect(location: str, status: int = 302) -> Behaviour:
    """Return a reply that sends the client elsewhere."""
    return page(b"", status, {"Location": location})


def raw(octets: bytes) -> Behaviour:
    """Return exactly `octets`, then close."""

    def send(connection: ssl.SSLSocket, _: threading.Event) -> None:
        connection.sendall(octets)

    return send


def endless(head: bytes, chunk: bytes, pause: float = 0.0) -> Behaviour:
    """Return `head`, then `chunk` again and again, `pause` seconds apart."""

    def send(connection: ssl.SSLSocket, stopping: threading.Event) -> None:
        connection.sendall(head)
        while not stopping.wait(pause):
            connection.sendall(chunk)

    return send


def silence(connection: ssl.SSLSocket, _: threading.Event) -> None:
    """Return nothing until the client goes."""
    while connection.recv(4096):
        pass


def _head(status: int, fields: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Reason", *(f"{name}: {body}" for name, body in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode()


class HTTPSPeer:
    """Listens on a free loopback port while its context lasts; serves `pages` by path."""

    def __init__(
        self, context: ssl.SSLContext, pages: Mapping[str, bytes | Behaviour] | None = None
    ) -> None:
        self.pages = dict(pages or {})
        self.requests: list[Request] = []
        self.connections = 0
        self._context = context
        self._stopping = threading.Event()
        self._names: dict[object, str | None] = {}
        context.sni_callback = self._note_name

    def __enter__(self) -> Self:
        peer = self

        class Conversation(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                peer._converse(self.request)

        self._server = _Server(("127.0.0.1", 0), Conversation)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def _note_name(self, connection: ssl.SSLObject, name: str | None, _: object) -> None:
        self._names[connection] = name

    def _converse(self, plain: socket.socket) -> None:
        self.connections += 1
        plain.settimeout(20)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with self._context.wrap_socket(plain, server_side=True) as connection:
                request = self._read(connection)
                self.requests.append(request)
                behaviour = self.pages.get(request.target.partition("?")[0], page(b"", 404))
                if isinstance(behaviour, bytes):
                    behaviour = page(behaviour)
                behaviour(connection, self._stopping)
                connection.unwrap()
        except OSError:
            return  # the client had enough

    def _read(self, connection: ssl.SSLSocket) -> Request:
        received = b""
        while not received.endswith(b"\r\n\r\n"):
            more = connection.recv(4096)
            if not more:
                raise ConnectionError
            received += more
        start, *lines = received.decode("latin-1").split("\r\n")[:-2]
        fields = {name.lower(): body.strip() for name, _, body in (s.partition(":") for s in lines)}
        return Request(self._names.get(connection), start.split(" ")[1], fields)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 32
