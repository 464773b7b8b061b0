"""A Dovecot with mail in it, stored before there was Letterlock, and who changes it meanwhile."""

import hashlib
import imaplib
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from canary import Canaries
from fake_keyservice import FakeKeyService, MemoryOwner
from letterlock.message import split
from letterlock.reencryption.imap_syntax import octets_of, pairs, values
from letterlock.restore import encrypted_header, restore
from stack import PASSWORD, dovecot
from stack.layout import Layout
from stack.processes import Session

FIRST_DAY = 1_600_000_000
FLAGS = ("", "S", "RS", "FS", "T", "FRSa", "Sab")
"""What Dovecot writes behind `:2,`; small letters are keywords."""


class Seen(NamedTuple):
    """A message as an IMAP client sees it."""

    uid: int
    flags: frozenset[str]
    date: str
    size: int
    octets: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the command printed."""

    status: int
    output: str
    errors: str


class MailStore:
    """A context manager: Dovecot with mail for one owner, and a key service that knows him.

    `kind`: maildir, sdbox or mdbox. `settings`: further ones of Dovecot's.
    """

    def __init__(self, directory: Path, kind: str = "maildir", settings: str = "") -> None:
        """Lay it out; nothing runs yet."""
        self.kind = kind
        self._settings = settings
        self.layout = Layout.create(directory)
        self.owner = MemoryOwner("alice@example.test")
        self.keyservice = FakeKeyService(self.layout.run / "keys.sock", self.owner)
        self.canaries = Canaries()
        self.home = self.layout.mail / "example.test" / "alice"
        self.maildir = self.home / "Maildir"
        self._dovecot: Session | None = None

    def __enter__(self) -> Self:
        """Start both."""
        location = "maildir:~/Maildir" if self.kind == "maildir" else f"{self.kind}:~/{self.kind}"
        self.keyservice.__enter__()
        self._dovecot = dovecot.start(self.layout, f"{location}\n{self._settings}")
        return self

    def __exit__(self, *_: object) -> None:
        """End both."""
        self.keyservice.__exit__()
        if self._dovecot is not None:
            self._dovecot.stop()
        shutil.rmtree(self.layout.run, ignore_errors=True)

    def original(self, number: int, body_octets: int = 300) -> bytes:
        """Return a message with canaries in it, by which it is told from all others."""
        message = self.canaries.message(body_octets=body_octets, number=number)
        # The same each time.
        section, body = split(message)
        fields = [f.octets for f in section if f.key != b"message-id"]
        return b"".join(fields) + b"Message-ID: <%d@outside.test>\r\n\r\n" % number + body

    def deliver(self, numbers: range, folder: str = ".", flags: Sequence[str] = FLAGS) -> None:
        """Put messages into a Maildir, as a program of long ago has: LF, and no index."""
        path = self.maildir / folder
        for part in ("cur", "new", "tmp"):
            (path / part).mkdir(parents=True, exist_ok=True)
        if folder != ".":
            (path / "maildirfolder").touch()
        for number in numbers:
            octets = self.original(number).replace(b"\r\n", b"\n")
            size = f",S={len(octets)}" if number % 3 else ""
            name = f"{FIRST_DAY + number}.M{number}P1.old{size}:2,{flags[number % len(flags)]}"
            (path / "cur" / name).write_bytes(octets)
            os.utime(path / "cur" / name, (FIRST_DAY + number, FIRST_DAY + number))
        (self.maildir / "dovecot-keywords").write_text("0 one\n1 $Forwarded\n")
        subprocess.run(["chown", "-R", "nobody:nogroup", str(self.home)], check=True)

    def append(self, numbers: range, folder: str = "INBOX") -> None:
        """Put messages into any store by IMAP."""
        with self.client() as client:
            client.create(folder)
            for number in numbers:
                date = imaplib.Time2Internaldate(FIRST_DAY + number)
                flags = (r"(\Seen one)", r"(\Flagged)", r"(\Deleted)", "()")[number % 4]
                kind, data = client.append(folder, flags, date, self.original(number))
                assert kind == "OK", data

    @contextmanager
    def client(self, folder: str | None = None) -> Iterator[imaplib.IMAP4]:
        """Yield a client that has logged in, and opened `folder`."""
        with imaplib.IMAP4(*self.layout.address("imap"), timeout=120) as client:
            client.login(self.owner.address, PASSWORD)
            if folder is not None:
                assert client.select(folder)[0] == "OK"
            yield client

    def seen(self, folder: str = "INBOX") -> list[Seen]:
        """Return what a client sees that has not been there before; it fills all caches."""
        with self.client(folder) as client:
            client.fetch("1:*", "(ENVELOPE BODYSTRUCTURE)")
            _, data = client.fetch("1:*", "(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])")
        return [_seen(pairs(response[-1])) for response in values(filter(None, data))]

    def folders(self) -> list[str]:
        """Return all."""
        with self.client() as client:
            return [octets_of(row[-1]).decode() for row in values(client.list()[1])]

    def run(self, *arguments: str, store: str = "", mailbox: str = "") -> Outcome:
        """Run `letterlock re-encrypt` to its end; it is not asked whether it may."""
        with self.started("--yes", *arguments, store=store, mailbox=mailbox) as process:
            output, errors = process.communicate(timeout=600)
        return Outcome(process.returncode, output, errors)

    @contextmanager
    def started(
        self, *arguments: str, store: str = "", mailbox: str = "", stderr: int = subprocess.PIPE
    ) -> Iterator["subprocess.Popen[str]"]:
        """Yield the running command; it is killed in the end."""
        command = [
            *(sys.executable, "-c", "from letterlock.cli import main; main()", "re-encrypt"),
            *(store or self.address, "--mailbox", mailbox or self.owner.address),
            *("--service", f"unix:{self.keyservice.path}", "--authserv-id", "mx.example.test"),
            *arguments,
        ]
        environment = {
            **os.environ,
            "CONFIG_FILE": str(self.layout.config / "dovecot.conf"),
            "XDG_STATE_HOME": str(self.layout.state),
        }
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=environment,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def is_at_work(self) -> bool:
        """Whether the command has begun to replace something."""
        tried = self.maildir.glob("tmp/*"), self.layout.state.rglob("*.journal")
        return any(path for paths in tried for path in paths)

    @property
    def address(self) -> str:
        """How the command is told of this store."""
        return str(self.maildir) if self.kind == "maildir" else f"doveadm:{self.owner.address}"

    def originals(self, stored: bytes) -> bytes:
        """Return what `letterlock decrypt --original` makes of a stored message."""
        section, body = split(stored.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
        header = encrypted_header(section)
        if header is not None:
            return restore(self.owner.open(header) + body).octets
        return restore(self.owner.decrypt(stored)).octets

    def is_encrypted(self, stored: bytes) -> bool:
        """Whether it is one of ours."""
        return bool(split(stored)[0].named(b"letterlock"))

    def numbers(self, messages: Sequence[Seen]) -> Counter[int]:
        """Return how often each message is there, encrypted or not."""
        return Counter(self.number(message.octets) for message in messages)

    def number(self, stored: bytes) -> int:
        """Return which one it is. Fails if it was wrapped twice."""
        original = self.originals(stored) if self.is_encrypted(stored) else stored
        assert not self.is_encrypted(original)
        (field,) = split(original)[0].named(b"message-id")
        return int(field.unfolded.strip(b"<").partition(b"@")[0])

    def files(self) -> Iterator[Path]:
        """Yield every file of the store, indexes and all."""
        return (path for path in self.home.rglob("*") if path.is_file())

    def snapshot(self) -> dict[str, str]:
        """Return the digest of every file but those that Dovecot writes whenever it likes."""
        return {
            str(path.relative_to(self.home)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.files()
            if not path.name.startswith("dovecot")
        }


def _seen(items: dict[bytes, object]) -> Seen:
    flags = {octets_of(flag).decode() for flag in items[b"FLAGS"]}
    return Seen(
        uid=int(octets_of(items[b"UID"])),
        flags=frozenset(flags - {"\\Recent"}),
        date=octets_of(items[b"INTERNALDATE"]).decode(),
        size=int(octets_of(items[b"RFC822.SIZE"])),
        octets=octets_of(items[b"BODY[]"]),
    )
