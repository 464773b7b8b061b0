"""A private stack whose Postfix has three doors: without a milter, with the yardstick, with ours.

One Postfix with the same settings serves all of them; mail is thrown away after the queue
(discard(8)), so that nothing but receiving it is measured.
"""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Self

import accounting
import load
import population

from keyservice.mailbox import Mailbox
from stack import Stack
from stack.layout import free_ports
from stack.processes import Session, greets, spawn, wait_for, wait_until

_HERE = Path(__file__).parent
_YARDSTICK_SOCKET = "letterlock/yardstick.sock"
_CC = ("gcc", "-O2", "-Wall")


class Door(Enum):
    """What Postfix does with what comes in."""

    NO_MILTER = "no milter"
    YARDSTICK = "C yardstick"
    LETTERLOCK = "Letterlock"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one round of load took."""

    messages: int
    seconds: float
    postfix_ms: float
    milter_ms: float
    lookup_ms: float
    """Redis and key service."""

    @property
    def per_second(self) -> float:
        """Messages accepted in a second."""
        return self.messages / self.seconds

    @property
    def cpu_ms(self) -> float:
        """CPU time of Postfix and milter for one message."""
        return (self.postfix_ms + self.milter_ms) / self.messages


class MailHost:
    """A context manager. `slow_fsync`: on a disk that takes 10 ms to sync."""

    def __init__(self, *, slow_fsync: bool = False, workers: int = 2) -> None:
        """Lay everything out; nothing runs yet."""
        self._exit = ExitStack()
        directory = self._exit.enter_context(tempfile.TemporaryDirectory(prefix="ll-bench-"))
        self._directory = Path(directory)
        self._directory.chmod(0o755)
        # A process that ends after 100 sessions would put its start on some rounds' bill.
        parameters = {"virtual_transport": "discard:", "max_use": "100000"}
        if slow_fsync:
            preloaded = self._compile("slow_fsync.c", "-shared", "-fPIC")
            # Postfix passes nothing on that this parameter does not name (postconf(5)).
            parameters["import_environment"] = f"MAIL_CONFIG MAIL_LOGTAG TZ LD_PRELOAD={preloaded}"
        self.stack = Stack(self._directory / "stack", parameters=parameters, workers=workers)
        free = free_ports()
        self._ports = {
            Door.LETTERLOCK: self.stack.layout.ports["smtp"],
            Door.NO_MILTER: free["smtp"],
            Door.YARDSTICK: free["reentry"],
        }
        self._add_door(Door.NO_MILTER, "")
        self._add_door(Door.YARDSTICK, f"unix:{_YARDSTICK_SOCKET}")
        self._sessions: dict[str, int] = {}

    def __enter__(self) -> Self:
        """Start everything."""
        try:
            self.stack.start()
            self._exit.callback(self.stack.stop)
            self._sessions = json.loads(self._description.read_text())["pids"]
            self._sessions["yardstick"] = self._start_yardstick().leader
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything and remove it."""
        self._exit.close()

    def session(self, name: str) -> int:
        """Return the session of one daemon."""
        return self._sessions[name]

    def message(self, body_octets: int) -> Path:
        """Return a file with a message of that size."""
        file = self._directory / f"message-{body_octets}"
        if not file.exists():
            file.write_bytes(load.message(body_octets))
        return file

    def enrol_like(self, address: str, others: Sequence[str]) -> None:
        """Enrol `others` as `address` is already, straight into the database."""
        database = self.stack.layout.state / "keyservice.sqlite"
        population.enrol(database, Mailbox.parse(address), others)

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
        before = self._used()
        seconds = load.send(
            self._ports[door], file, recipients, messages, sessions, numbered=numbered
        )
        wait_until(lambda: not self.stack.queue_files(), "queue empty", seconds=60)
        used = {name: ms - before[name] for name, ms in self._used().items()}
        return Cost(
            messages,
            seconds,
            used["postfix"],
            used["milter"] + used["yardstick"],
            used["redis"] + used["keyservice"],
        )

    def _used(self) -> dict[str, float]:
        return {name: accounting.cpu_ms(leader) for name, leader in self._sessions.items()}

    @property
    def _description(self) -> Path:
        return self.stack.layout.directory / "stack.json"

    def _add_door(self, door: Door, milters: str) -> None:
        # As our own line in postfix-conf/master.cf.in, but for the milter.
        service = (
            f"127.0.0.1:{self._ports[door]} inet n - n - - smtpd\n"
            f"  -o cleanup_service_name=letterlock-cleanup\n"
            f"  -o smtpd_milters={milters}\n"
        )
        with (self.stack.layout.postfix / "etc" / "master.cf").open("a") as file:
            file.write(service)

    def _start_yardstick(self) -> Session:
        program = self._compile("yardstick.c", libraries=("-lmilter", "-lpthread"))
        layout = self.stack.layout
        socket = str(layout.queue / _YARDSTICK_SOCKET)
        log = self.stack.log_file("yardstick")
        # Postfix's servers connect as the user `postfix`: hence group and others.
        command = ["sh", "-c", 'umask 0; exec "$@"', "sh", program, f"unix:{socket}"]
        session = spawn("yardstick", command, log, layout.ledger, {})
        wait_for(session, lambda: greets(socket), log)
        return session

    def _compile(self, source: str, *options: str, libraries: Sequence[str] = ()) -> str:
        program = str(self._directory / source.removesuffix(".c"))
        subprocess.run([*_CC, *options, "-o", program, str(_HERE / source), *libraries], check=True)
        return program
