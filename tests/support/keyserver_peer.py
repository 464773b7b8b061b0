"""A keyserver on loopback: what VKS, HKP version 1 and Nicknym servers say, over real HTTPS.

Written from the protocols' own documents, apart from the client that it is asked by; gpg
judges its HKP. Queries decide its replies, and gpg wants it without TLS: therefore it is no
`https_peer.HTTPSPeer`, whose pages are fixed.
"""

import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit

from pysequoia.packet import PacketPile, Tag

from certificates import armored, packet_groups


class Page(NamedTuple):
    """A reply."""

    status: int
    octets: bytes = b""
    content_type: str = "text/plain"


class Keyserver:
    """Holds certificates by address; those in `unverified` show user IDs by HKP only."""

    def __init__(self, *certificates: bytes, unverified: tuple[bytes, ...] = ()) -> None:
        self.certificates = {fingerprint(each): each for each in (*certificates, *unverified)}
        self.unverified = {fingerprint(each) for each in unverified}
        self.pages: dict[str, Page] = {}
        """By request target, before anything else."""

        self.targets: list[str] = []
        """What was asked for, in order."""

    def answer(self, target: str) -> Page:
        """Return the reply to a GET."""
        self.targets.append(target)
        if target in self.pages:
            return self.pages[target]
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
        if path.startswith("/vks/v1/"):
            return self._vks(*path.removeprefix("/vks/v1/").split("/", 1))
        if path == "/pks/lookup":
            return self._hkp({name: values[-1] for name, values in query.items()})
        if path == "/":
            return self._nicknym({name: values[-1] for name, values in query.items()})
        return Page(404)

    def _vks(self, by: str, what: str) -> Page:
        for identity, octets in self.certificates.items():
            is_verified = identity not in self.unverified
            match by:
                case "by-email" if is_verified and unquote(what) in addresses(octets):
                    return _armored(octets)
                case "by-fingerprint" if what == identity.upper():
                    return _armored(octets if is_verified else without_user_ids(octets))
                case "by-keyid" if what == identity[-16:].upper():
                    return _armored(octets if is_verified else without_user_ids(octets))
        return Page(404, b"No certificate found\n")

    def _hkp(self, query: Mapping[str, str]) -> Page:
        search = query["search"]
        found = {
            identity: octets
            for identity, octets in self.certificates.items()
            if f"0x{identity}" == search.lower()
            or f"0x{identity[-16:]}" == search.lower()
            or any(search in address for address in addresses(octets))
        }
        if not found:
            return Page(404, b"No results found\n")
        if query["op"] == "get":
            return _armored(b"".join(found.values()))
        lines = [f"info:1:{len(found)}"]
        for identity, octets in found.items():
            body = key_body(octets)
            made, algorithm = int.from_bytes(body[1:5]), body[5]
            lines.append(f"pub:{identity.upper()}:{algorithm}::{made}::")
            lines += [f"uid:{quote(user_id)}:{made}::" for user_id in user_ids(octets)]
        return Page(200, "\r\n".join([*lines, ""]).encode())

    def _nicknym(self, query: Mapping[str, str]) -> Page:
        for identity, octets in self.certificates.items():
            named = addresses(octets)
            if query.get("address") in named or query.get("fingerprint") == identity:
                content = {"address": named[0], "openpgp": armored(octets).decode()}
                return Page(200, json.dumps(content).encode(), "application/json")
        return Page(404, json.dumps({"status": 404, "message": "Not Found"}).encode())


def _armored(octets: bytes) -> Page:
    return Page(200, armored(octets), "application/pgp-keys")


def fingerprint(certificate: bytes) -> str:
    """Return the fingerprint of the primary key, as Sequoia says it."""
    return str(next(iter(PacketPile.from_bytes(certificate))).fingerprint).lower()


def key_body(certificate: bytes) -> bytes:
    """Return the body of the primary key packet."""
    return bytes(next(iter(PacketPile.from_bytes(certificate))).body)


def user_ids(certificate: bytes) -> list[str]:
    """Return the text of all user IDs, bound or not."""
    packets = PacketPile.from_bytes(certificate)
    return [bytes(each.body).decode() for each in packets if each.tag == Tag.UserID]


def addresses(certificate: bytes) -> list[str]:
    """Return the addresses in the user IDs."""
    return [each.rpartition("<")[2].rstrip(">").lower() for each in user_ids(certificate)]


def without_user_ids(certificate: bytes) -> bytes:
    """Return what a verifying server shows while nobody has verified an address."""
    first, *others = packet_groups(certificate)
    tags = [next(iter(PacketPile.from_bytes(group[0]))).tag for group in others]
    kept = [each for tag, each in zip(tags, others, strict=True) if tag != Tag.UserID]
    return b"".join(packet for group in (first, *kept) for packet in group)


@contextmanager
def served(keyserver: Keyserver, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve on a port of loopback, which is the value; without `tls` as plain HTTP."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = keyserver.answer(self.path)
            self.send_response(page.status)
            self.send_header("Content-Type", page.content_type)
            self.send_header("Content-Length", str(len(page.octets)))
            self.end_headers()
            self.wfile.write(page.octets)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
