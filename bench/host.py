"""A private stack whose Postfix has further doors, and what goes through them costs.

All doors are smtpd services of one Postfix and differ in their milters only. Mail is thrown
away after the queue (discard(8)), so that nothing but receiving it is measured.
"""

import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import accounting
import population

from keyservice.mailbox import Mailbox
from stack import Stack, postfix
from stack.layout import free_ports
from stack.processes import greets, spawn, wait_for, wait_until

_DISCARD = {
    "virtual_transport": "discard:",
    "default_transport": "discard:",
    # A process that ends after 100 sessions would put its start on some rounds' bill.
    "max_use": "100000",
}

Command = Callable[[Path, Path], Sequence[str]]

# What the stack starts besides, and which is no milter.
_LOOKUPS = ("redis", "keyservice")
_OTHERS = ("postfix", "dovecot", *_LOOKUPS)


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


class Host:
    """A context manager; doors and milters are added before it is entered."""

    def __init__(self, **options: Any) -> None:
        """Lay everything out; nothing runs yet. `options`: see `Stack`."""
        self._exit = ExitStack()
        directory = self._exit.enter_context(tempfile.TemporaryDirectory(prefix="ll-bench-"))
        self.directory = Path(directory)
        self.directory.chmod(0o755)
        self.stack = Stack(self.directory / "stack", **options)
        self.set_parameters(_DISCARD)
        self._ports = set(self.stack.layout.ports.values())
        self._milters: dict[str, tuple[Path, Sequence[str]]] = {}
        self._sessions: dict[str, int] = {}

    def __enter__(self) -> Self:
        """Start everything."""
        try:
            self.stack.start()
            self._exit.callback(self.stack.stop)
            description = self.stack.layout.directory / "stack.json"
            self._sessions = json.loads(description.read_text())["pids"]
            for name, (socket, command) in self._milters.items():
                self._sessions[name] = self._start(name, socket, command)
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything and remove it."""
        self._exit.close()

    def set_parameters(self, parameters: Mapping[str, str]) -> None:
        """Write further settings into main.cf."""
        etc = self.stack.layout.postfix / "etc"
        settings = [f"{name} = {value}" for name, value in parameters.items()]
        subprocess.run(["postconf", "-c", str(etc), "-e", *settings], check=True)
        postfix.age(etc)

    def add_door(self, *options: str) -> int:
        """Let Postfix listen once more, with `options` as in master.cf; return the port."""
        port = self.free_port()
        # As our own line in postfix-conf/master.cf.in, if the options do not say otherwise.
        chosen = ("cleanup_service_name=letterlock-cleanup", *options)
        lines = [f"127.0.0.1:{port} inet n - n - - smtpd", *(f"  -o {each}" for each in chosen)]
        with (self.stack.layout.postfix / "etc" / "master.cf").open("a") as file:
            file.write("\n".join(lines) + "\n")
        return port

    def add_milter(self, command: Command) -> str:
        """Have what `command` returns started, too; return what Postfix calls it.

        `command` is given a folder of its own, and the socket to listen at.
        """
        name = f"milter-{len(self._milters)}"
        # Where Postfix finds its other milters, too.
        socket = self.stack.layout.queue / "letterlock" / f"{name}.sock"
        self._milters[name] = (socket, command(self.directory / name, socket))
        return f"unix:letterlock/{name}.sock"

    def free_port(self) -> int:
        """Return a port that nothing of this host has."""
        port = next(port for port in free_ports().values() if port not in self._ports)
        self._ports.add(port)
        return port

    def session(self, name: str) -> int:
        """Return the session of one daemon."""
        return self._sessions[name]

    def enrol_like(self, address: str, others: Sequence[str]) -> None:
        """Enrol `others` as `address` is already, straight into the database."""
        database = self.stack.layout.state / "keyservice.sqlite"
        population.enrol(database, Mailbox.parse(address), others)

    def measured(self, send: Callable[[], float], messages: int) -> Cost:
        """Return what it costs to `send`, until the queue is empty again."""
        before = self._used()
        seconds = send()
        wait_until(lambda: not self.stack.queue_files(), "queue empty", seconds=60)
        used = {name: ms - before[name] for name, ms in self._used().items()}
        return Cost(
            messages,
            seconds,
            used["postfix"],
            sum(ms for name, ms in used.items() if name not in _OTHERS),
            sum(used[name] for name in _LOOKUPS),
        )

    def _used(self) -> dict[str, float]:
        return {name: accounting.cpu_ms(leader) for name, leader in self._sessions.items()}

    def _start(self, name: str, socket: Path, command: Sequence[str]) -> int:
        layout = self.stack.layout
        log = self.stack.log_file(name)
        # Postfix's servers connect as the user `postfix`: hence group and others.
        opened = ["sh", "-c", 'umask 0; exec "$@"', "sh", *command]
        session = spawn(name, opened, log, layout.ledger, {})
        wait_for(session, lambda: greets(str(socket)), log)
        return session.leader
