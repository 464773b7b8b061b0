"""Where the parts of a stack keep their things, and on which ports they listen."""

import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ports import free_port

PORTS = (
    "smtp",
    "reentry",
    "submission",
    "submissions",
    "imap",
    "redis",
    "milter_metrics",
    "keyservice_metrics",
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths and ports of one stack."""

    directory: Path
    """What the caller named: `stack.json` is there."""

    base: Path
    """Everything else: `directory`, unless other accounts cannot reach it."""

    run: Path
    """Unix sockets. Short, because their paths end at 107 octets (unix(7))."""

    ports: dict[str, int]

    @classmethod
    def create(cls, directory: Path) -> Self:
        """Make the directories and choose free ports."""
        directory = directory.resolve()
        directory.mkdir(parents=True, exist_ok=True)
        run = Path(tempfile.mkdtemp(prefix="ll-", dir="/tmp"))
        run.chmod(0o755)
        base = directory if _reachable(directory) else run / "base"
        layout = cls(directory, base, run, free_ports())
        for path in (base, layout.config, layout.logs, layout.mail, layout.redis, layout.state):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o755)
        shutil.chown(layout.mail, "nobody", "nogroup")
        for path in (directory / "run", directory / "base"):
            path.unlink(missing_ok=True)
        (directory / "run").symlink_to(run)
        if base != directory:
            (directory / "base").symlink_to(base)
        return layout

    @property
    def config(self) -> Path:
        """The daemons' configuration files; Postfix and Dovecot have their own below it."""
        return self.base / "config"

    @property
    def logs(self) -> Path:
        """One file per daemon."""
        return self.base / "log"

    @property
    def mail(self) -> Path:
        """Homes of the mailboxes: `domain/local/Maildir`."""
        return self.base / "mail"

    @property
    def redis(self) -> Path:
        """Where a dump goes if somebody asks Redis for one."""
        return self.base / "redis"

    @property
    def state(self) -> Path:
        """Database of the key service, spill files of the milter, secrets."""
        return self.base / "state"

    @property
    def postfix(self) -> Path:
        """`etc`, `spool` and `data` of the Postfix instance."""
        return self.base / "postfix"

    @property
    def queue(self) -> Path:
        """Postfix's queue_directory."""
        return self.postfix / "spool"

    @property
    def ledger(self) -> Path:
        """What was started (`processes.enter`)."""
        return self.directory / "started.jsonl"

    def address(self, port: str) -> tuple[str, int]:
        """Loopback address of one of `PORTS`."""
        return "127.0.0.1", self.ports[port]


def free_ports() -> dict[str, int]:
    """Return a free loopback port for each of `PORTS`."""
    return {name: free_port() for name in PORTS}


def _reachable(directory: Path) -> bool:
    # Postfix and Dovecot give up root for accounts of their own. The directory itself
    # is the stack's to open; those above it are not.
    if directory.stat().st_uid == os.geteuid():
        directory.chmod(directory.stat().st_mode | 0o755)
    return all(path.stat().st_mode & stat.S_IXOTH for path in (directory, *directory.parents))
