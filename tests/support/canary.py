"""Looking for what must not be there: words of a message in whatever a computer has stored.

A canary is a word that occurs nowhere else. It is searched as it is and in every
encoding in which mail carries text.
"""

import base64
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import redis

from stack import Stack


@dataclass(frozen=True, slots=True)
class Canaries:
    """A word for each part of a message."""

    subject: str = field(default_factory=lambda: word("subject"))
    body: str = field(default_factory=lambda: word("body"))
    attachment_name: str = field(default_factory=lambda: word("name"))
    attachment: str = field(default_factory=lambda: word("content"))
    author: str = "Eve <eve@outside.test>"
    """What From says; no canary."""

    @property
    def words(self) -> tuple[str, ...]:
        """All of them."""
        return self.subject, self.body, self.attachment_name, self.attachment

    def message(self, *, body_octets: int = 0, number: int = 0) -> bytes:
        """Return a message with the canaries in it, padded by `body_octets` of text."""
        lines = (f"{self.body} line {i:06d} of message {number}" for i in range(body_octets // 60))
        padding = "".join(f"{line}\r\n" for line in lines)
        attachment = base64.encodebytes(self.attachment.encode()).decode().replace("\n", "\r\n")
        return (
            f"From: {self.author}\r\n"
            "To: undisclosed-recipients:;\r\n"
            f"Subject: {self.subject}\r\n"
            "Date: Fri, 20 Nov 2026 08:00:00 +0100\r\n"
            f"Message-ID: <{number}.{secrets.token_hex(8)}@outside.test>\r\n"
            "MIME-Version: 1.0\r\n"
            'Content-Type: multipart/mixed; boundary="b"\r\n'
            "\r\n"
            f"--b\r\nContent-Type: text/plain\r\n\r\n{self.body}\r\n{padding}"
            "--b\r\nContent-Type: application/octet-stream\r\n"
            "Content-Transfer-Encoding: base64\r\n"
            f'Content-Disposition: attachment; filename="{self.attachment_name}.pdf"\r\n\r\n'
            f"{attachment}--b--\r\n"
        ).encode()


def word(kind: str) -> str:
    """Return a word that nobody has ever written."""
    return f"canary{kind}{secrets.token_hex(8)}"


def forms(canary: str) -> dict[str, bytes]:
    """Return the octets that betray `canary`, by the name of their encoding."""
    octets = canary.encode()
    return {
        "plain": octets,
        "upper case": octets.upper(),
        "quoted-printable": b"".join(b"=%02X" % octet for octet in octets),
        "hexadecimal": octets.hex().encode(),
        "UTF-16LE": canary.encode("utf-16-le"),
        "UTF-16BE": canary.encode("utf-16-be"),
        **{f"base64 at {offset}": _base64_core(octets, offset) for offset in range(3)},
    }


def betrayals(octets: bytes, canaries: Iterable[str]) -> list[str]:
    """Return which canaries `octets` betray, and how."""
    # Encoded text is broken into lines anywhere; quoted-printable marks it by `=`.
    joined = octets.replace(b"=\r\n", b"").replace(b"=\n", b"")
    joined = joined.replace(b"\r", b"").replace(b"\n", b"")
    return [
        f"{canary} ({name})"
        for canary in canaries
        for name, form in forms(canary).items()
        # What has no line break in it is not lost by joining lines: one search is enough.
        if form in (octets if b"\r" in form or b"\n" in form else joined)
    ]


def found(files: Iterable[Path], canaries: Iterable[str]) -> list[str]:
    """Return where canaries are, one line for each; what vanished meanwhile is not stored."""
    words = tuple(canaries)
    lines = []
    for file in files:
        with suppress(FileNotFoundError, ProcessLookupError):
            lines += [f"{file}: {betrayal}" for betrayal in betrayals(file.read_bytes(), words)]
    return lines


def stored_files(stack: Stack) -> Iterator[Path]:
    """Yield every file in which something of `stack` rests, but Postfix's queue.

    Mailboxes, logs, databases, Redis' dump, spill and metrics directories, and files that
    are open but have no name.
    """
    layout = stack.layout
    with suppress(redis.RedisError):
        _save(stack)
    for folder in (layout.mail, layout.logs, layout.state, layout.redis, layout.config):
        yield from (path for path in folder.rglob("*") if path.is_file())
    for name in ("milter", "keyservice"):
        for pid in stack.pids(name):
            yield from open_files(pid)
            yield from _metrics(pid)


def open_files(pid: int) -> Iterator[Path]:
    """Yield the regular files, with a name or without, that a process holds open."""
    folder = Path(f"/proc/{pid}/fd")
    with suppress(OSError):
        for descriptor in os.listdir(folder):
            path = folder / descriptor
            if path.is_file():
                yield path


def open_in(pid: int, folder: Path) -> list[Path]:
    """Return the files below `folder` that a process holds open, though they may have no name."""
    found = []
    for file in open_files(pid):
        # Meanwhile it may have closed it.
        with suppress(OSError):
            if os.readlink(file).startswith(f"{folder}/"):
                found.append(file)
    return found


def _save(stack: Stack) -> None:
    client = redis.Redis.from_url(stack.redis_url, socket_timeout=5)
    # Compressed, a dump would hide what is searched for.
    client.config_set("rdbcompression", "no")
    client.save()
    client.close()


def _metrics(pid: int) -> list[Path]:
    with suppress(OSError):
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        for variable in environment:
            name, _, value = variable.partition(b"=")
            if name == b"PROMETHEUS_MULTIPROC_DIR":
                return list(Path(value.decode()).glob("*.db"))
    return []


def _base64_core(octets: bytes, offset: int) -> bytes:
    """Return the part of the encoding that does not depend on what stands around `octets`."""
    encoded = base64.b64encode(bytes(offset) + octets)
    first = -(-offset * 8 // 6)
    last = (offset + len(octets)) * 8 // 6
    return encoded[first:last]
