"""A key service made of a few lines, which says what a test wants said: sense or nonsense."""

import contextlib
import os
import socketserver
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Self
from urllib.parse import unquote

import msgspec
import pysequoia

from keyservice.client import Answer, EncryptionSubkey, Mailbox, Outcome
from openpgp_content import packets
from openpgp_tools import usable_subkeys


class MemoryOwner:
    """A mailbox owner whose key is in this process only."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.key = Mailbox.parse(address).key
        secret = pysequoia.Tsk.generate(f"Owner <{address}>")
        self.certificate = secret.extract_certificate()
        self._decryptor = secret.decryptor()

    def answer(self) -> Answer:
        """Return what a key service would say."""
        binary = bytes(self.certificate)
        bodies = {packet for kind, packet in packets(binary) if kind == 14}
        (subkey,) = (s for s in usable_subkeys(binary))
        (body,) = (b for b in bodies if b[5] == subkey.algorithm)
        now = int(time.time())
        return Answer(
            mailbox=self.key,
            outcome=Outcome.FOUND,
            had_certificate=True,
            fingerprint=self.certificate.fingerprint,
            subkeys=(EncryptionSubkey(subkey.fingerprint.hex(), body),),
            issued_at=now,
            expires_at=now + 60,
        )

    def decrypt(self, message: bytes) -> bytes:
        """Return the plaintext of the armored OpenPGP message somewhere in `message`."""
        begin, end = b"-----BEGIN PGP MESSAGE-----", b"-----END PGP MESSAGE-----"
        return self.open(message[message.index(begin) : message.index(end) + len(end)])

    def open(self, message: bytes) -> bytes:
        """Return the plaintext of an OpenPGP message, armored or not."""
        plaintext: bytes = pysequoia.decrypt(message, decryptor=self._decryptor).bytes
        return plaintext


class FakeKeyService:
    """Serves `owners` on a unix socket; a context manager."""

    def __init__(self, path: Path, *owners: MemoryOwner) -> None:
        """`say`: replaces the body of every answer; `status`: of every reply."""
        self.path = path
        self.owners = {owner.key: owner for owner in owners}
        self.say: Callable[[str], bytes] = self._sense
        self.status = 200

    def __enter__(self) -> Self:
        self.path.unlink(missing_ok=True)
        self._server = _Server(str(self.path), _request(self))
        self.path.chmod(0o666)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def reply(self, what: str, key: str) -> bytes:
        """Return what is said to a question about `key`; `what`: the path's second part."""
        return self.say(key)

    def _sense(self, key: str) -> bytes:
        owner = self.owners.get(key)
        now = int(time.time())
        nobody = Answer(key, Outcome.NOT_FOUND, issued_at=now, expires_at=now + 60)
        return msgspec.json.encode(owner.answer() if owner else nobody)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


def _request(service: FakeKeyService) -> type[BaseHTTPRequestHandler]:
    class Request(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            _, _, what, *_, key = self.path.split("/")
            body = service.reply(what, unquote(key))
            self.close_connection = True
            with contextlib.suppress(OSError):  # who asked has gone
                self.send_response(service.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body)

        def address_string(self) -> str:
            return "unix"

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Request
