"""Starting daemons, waiting for them, and ending exactly those and no others."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

READY_SECONDS = 60.0
STOP_SECONDS = 10.0
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class NotReady(RuntimeError):
    """Something did not come up (or down) before its deadline; the text has the log's end."""


def wait_until(
    question: Callable[[], bool], what: str, seconds: float = READY_SECONDS, log: Path | None = None
) -> None:
    """Return as soon as `question` answers True; raise NotReady after `seconds`."""
    deadline = time.monotonic() + seconds
    while not question():
        if time.monotonic() > deadline:
            raise NotReady(f"{what}: not within {seconds:.0f} s{_log_end(log)}")
        time.sleep(0.02)


def wait_for(session: "Session", question: Callable[[], bool], log: Path) -> None:
    """Like `wait_until`, but give up at once when the daemon has ended by itself."""
    wait_until(lambda: question() or not session.members(), session.name, log=log)
    if not session.members():
        raise NotReady(f"{session.name}: ended by itself{_log_end(log)}")


def greets(address: tuple[str, int] | str, banner: bytes = b"") -> bool:
    """Say whether something accepts at `address` and, if asked for, begins with `banner`."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as peer, suppress(OSError):
        peer.settimeout(5)
        peer.connect(address)
        return peer.recv(512).startswith(banner) if banner else True
    return False


@dataclass(frozen=True, slots=True)
class Session:
    """A daemon with all its children: the session (setsid(2)) that its first process leads.

    A number that still names a session is not given to a new process, so `leader` alone
    tells ours from others as long as one of them lives; `started` tells whether the
    number was taken anew after that.
    """

    name: str
    leader: int
    started: int

    @classmethod
    def of(cls, name: str, leader: int) -> "Session":
        """Describe the session led by the running process `leader`."""
        started = {pid: start for pid, _, start in _living()}.get(leader, 0)
        return cls(name, leader, started)

    def members(self) -> list[int]:
        """Return the pids that are still alive, zombies left out."""
        living = list(_living())
        if any(pid == self.leader and start != self.started for pid, _, start in living):
            return []
        return [pid for pid, session, _ in living if session == self.leader]

    def signal(self, number: int) -> None:
        """Send a signal to every member."""
        for pid in self.members():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """End it: SIGTERM to its leader, after `seconds` SIGKILL to all that is left."""
        self.ask_to_end()
        self.end(seconds)

    def ask_to_end(self) -> None:
        """Send SIGTERM to its leader."""
        if self.leader in self.members():
            os.kill(self.leader, signal.SIGTERM)

    def end(self, seconds: float = STOP_SECONDS) -> None:
        """Wait for its end; after `seconds` SIGKILL to all that is left."""
        if self.leader in self.members():
            with suppress(NotReady):
                wait_until(lambda: not self.members(), self.name, seconds)
        self.signal(signal.SIGKILL)
        wait_until(lambda: not self.members(), f"{self.name}: end")


def spawn(
    name: str, command: Sequence[str], log: Path, ledger: Path, extra: Mapping[str, str]
) -> Session:
    """Start a daemon that stays in the foreground, in a session of its own."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            umask=0o022,
            env={**os.environ, **extra},
        )
    # Whoever started it need not wait for it: `down` may be another process.
    _children.append(process)
    return enter(ledger, Session.of(name, process.pid))


_children: list[subprocess.Popen[bytes]] = []


def enter(ledger: Path, session: Session) -> Session:
    """Write down what was started, at once, so that another process can end it."""
    line = json.dumps([_BOOT.read_text().strip(), session.name, session.leader, session.started])
    with ledger.open("a") as file:
        file.write(f"{line}\n")
    return session


def entered(ledger: Path) -> list[Session]:
    """Return what `enter` wrote since this machine was started."""
    if not ledger.exists():
        return []
    rows = [json.loads(line) for line in ledger.read_text().splitlines()]
    return [Session(*row) for boot, *row in rows if boot == _BOOT.read_text().strip()]


def _living() -> Iterator[tuple[int, int, int]]:
    for child in list(_children):
        if child.poll() is not None:
            _children.remove(child)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with suppress(OSError):
            # proc_pid_stat(5): the name in parentheses may hold anything, blanks included.
            fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            # A killed process is a zombie already while its last threads hold its sockets open.
            if fields[0] not in "ZX" or int(fields[17]) > 1:
                yield int(entry.name), int(fields[3]), int(fields[19])


def _log_end(log: Path | None) -> str:
    if log is None or not log.exists():
        return ""
    lines = log.read_text(errors="replace").splitlines()[-20:]
    return "\n".join([f"\n--- {log}", *lines])
