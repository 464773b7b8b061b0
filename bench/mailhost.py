"""A host with three doors for mail from outside: no milter, the yardstick, and ours."""

import subprocess
from collections.abc import Sequence
from enum import Enum
from pathlib import Path

import load
from host import Cost, Host

_HERE = Path(__file__).parent
_CC = ("gcc", "-O2", "-Wall")


class Door(Enum):
    """What Postfix does with what comes in."""

    NO_MILTER = "no milter"
    YARDSTICK = "C yardstick"
    LETTERLOCK = "Letterlock"


class MailHost(Host):
    """A context manager. `slow_fsync`: on a disk that takes 10 ms to sync."""

    def __init__(self, *, slow_fsync: bool = False, workers: int = 2) -> None:
        """Lay everything out; nothing runs yet."""
        super().__init__(workers=workers)
        if slow_fsync:
            preloaded = self._compile("slow_fsync.c", "-shared", "-fPIC")
            # Postfix passes nothing on that this parameter does not name (postconf(5)).
            passed = f"MAIL_CONFIG MAIL_LOGTAG TZ LD_PRELOAD={preloaded}"
            self.set_parameters({"import_environment": passed})
        program = self._compile("yardstick.c", libraries=("-lmilter", "-lpthread"))
        yardstick = self.add_milter(lambda _, socket: [program, f"unix:{socket}"])
        self._doors = {
            Door.LETTERLOCK: self.stack.layout.ports["smtp"],
            Door.NO_MILTER: self.add_door("smtpd_milters="),
            Door.YARDSTICK: self.add_door(f"smtpd_milters={yardstick}"),
        }

    def message(self, body_octets: int) -> Path:
        """Return a file with a message of that size."""
        file = self.directory / f"message-{body_octets}"
        if not file.exists():
            file.write_bytes(load.message(body_octets))
        return file

    def round(
        self,
        door: Door,
        file: Path,
        recipients: Sequence[str],
        messages: int,
        sessions: int,
        *,
        numbered: bool = False,
    ) -> Cost:
        """Send through `door`; return what it cost until the queue was empty again."""
        port = self._doors[door]

        def send() -> float:
            return load.send(port, file, recipients, messages, sessions, numbered=numbered)

        return self.measured(send, messages)

    def _compile(self, source: str, *options: str, libraries: Sequence[str] = ()) -> str:
        program = str(self.directory / source.removesuffix(".c"))
        subprocess.run([*_CC, *options, "-o", program, str(_HERE / source), *libraries], check=True)
        return program
