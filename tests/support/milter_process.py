"""The real `letterlock-milter` alone, between peers that are made for the test."""

import contextlib
import json
import os
import re
import shutil
import signal
import socketserver
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from dkim_directory import write_keys
from fake_keyservice import FakeKeyService, MemoryOwner
from letterlock.roles import Role
from milterproto import TIMEOUT_SECONDS, MilterClient
from stack.layout import free_ports
from stack.processes import Session, greets, spawn, wait_until

SUPPORT = Path(__file__).parent
SECRET = "a secret of these tests, 32 octets or more\n"

_CONFIG = """\
socket = {socket}
socket_group = {group}
socket_mode = {mode}
workers = {workers}
drain_seconds = {drain}
metrics = "127.0.0.1:{metrics}"
authserv_id = "mx.example.test"

[postfix]
config_directory = {postfix}
reentry = "127.0.0.1:{reentry}"

[keyservice]
socket = {keyservice}
deadline_seconds = 20
stale_seconds = {stale}

[redis]
url = {redis}
secret_file = {secret}

[spill]
directory = {spill}
threshold_octets = 65536

{more}
"""

_SUBMISSION = """
[submission]
socket = "unix:{directory}/submission.sock"
workers = {submission}
dkim_directory = "{directory}/dkim"
"""

_MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {directory}
myhostname = mx.example.test
myorigin = mx.example.test
mydestination =
alias_maps =
recipient_delimiter = +
"""


class MilterProcess:
    """One daemon in a directory of its own; a context manager.

    `program`: another program in place of the daemon; it is given `--config` too.
    `redis_url`: empty for a Redis that is down. `activated`: the listening sockets are
    made here and handed over, as a service manager does. `more`: further sections; by
    default nobody vouches for mail, which would take a DNS. `submission`: workers of that
    role; 0: it is not taken. `keyservice`: the class of the one that is asked.
    """

    def __init__(
        self,
        *owners: MemoryOwner,
        workers: int = 1,
        drain_seconds: float = 20.0,
        stale_seconds: int = 0,
        program: Sequence[str] = (sys.executable, "-m", "letterlock"),
        redis_url: str = "",
        group: str = "",
        mode: int = 0o660,
        activated: bool = False,
        environment: Mapping[str, str] | None = None,
        more: str = "[authentication]\nenabled = false",
        submission: int = 0,
        keyservice: type[FakeKeyService] = FakeKeyService,
    ) -> None:
        # Not pytest's directory: the socket's path must be short (unix(7)).
        self.directory = Path(tempfile.mkdtemp(prefix="ll-m-", dir="/tmp"))
        self.socket = str(self.directory / "milter.sock")
        self.sockets = {Role.INBOUND: self.socket}
        if submission:
            self.sockets[Role.SUBMISSION] = str(self.directory / "submission.sock")
            write_keys(self.directory / "dkim", "example.test")
        self.dkim_directory = self.directory / "dkim"
        self._more = more
        self.log_file = self.directory / "log"
        self.spill = self.directory / "spill"
        self.spill.mkdir()
        self.ports = free_ports()
        self.keyservice = keyservice(self.directory / "ks.sock", *owners)
        self.reentry = ReentrySink(self.ports["reentry"])
        self._program = [*program, "--config", str(self.config)]
        self._activated = activated
        self.names = {role.value: role for role in self.sockets}
        """What the service manager calls the sockets, in the order in which it hands them over."""

        self._environment = dict(environment or {})
        self._session: Session | None = None
        (self.directory / "main.cf").write_text(_MAIN_CF.format(directory=self.directory))
        (self.directory / "master.cf").write_text("")
        (self.directory / "cache.key").write_text(SECRET)
        self._settings = {
            "socket": f"unix:{self.socket}",
            "group": group,
            "mode": mode,
            "workers": workers,
            "drain": drain_seconds,
            "stale": stale_seconds,
            "postfix": str(self.directory),
            "keyservice": str(self.keyservice.path),
            "redis": redis_url or f"unix://{self.directory}/redis.sock",
            "secret": str(self.directory / "cache.key"),
            "spill": str(self.spill),
            "submission": submission,
        }
        self.write_config()

    @property
    def config(self) -> Path:
        """The daemon's configuration."""
        return self.directory / "letterlock.toml"

    def write_config(self, **changes: object) -> None:
        """Write it, with some settings changed from now on."""
        self._settings |= changes
        quoted = {name: json.dumps(value) for name, value in self._settings.items()}
        ports = {name: self.ports[name] for name in ("reentry",)}
        text = _CONFIG.format(
            metrics=self.ports["milter_metrics"], more=self._more, **ports, **quoted
        )
        if self._settings["submission"]:
            text += _SUBMISSION.format(directory=self.directory, **quoted)
        self.config.write_text(text)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as peers:
            peers.enter_context(self.keyservice)
            peers.enter_context(self.reentry)
            peers.callback(self.end)
            self.start()
            self._peers = peers.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._peers.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self) -> None:
        """Start it and return when it serves."""
        program = self._program
        if self._activated:
            named = ",".join(f"{name}={self.sockets[role]}" for name, role in self.names.items())
            program = [sys.executable, str(SUPPORT / "activate.py"), named, *program]
        ledger = self.directory / "started.jsonl"
        said_before = len(self.log) if self.log_file.exists() else 0
        self._session = spawn("milter", program, self.log_file, ledger, self._environment)
        # A test's own program says nothing; to accept a connection is enough.
        wait_until(lambda: self._serves(said_before), "milter", log=self.log_file)

    def end(self) -> None:
        """End it at once, and everything that it started."""
        if self._session is not None:
            self._session.stop(0)

    def client(self, timeout: float = TIMEOUT_SECONDS, role: Role = Role.INBOUND) -> MilterClient:
        """Return a new connection, as negotiated with Postfix."""
        return self.stranger(timeout, role).negotiate()

    def stranger(self, timeout: float = TIMEOUT_SECONDS, role: Role = Role.INBOUND) -> MilterClient:
        """Return a new connection on which nothing was said yet."""
        return MilterClient(self.sockets[role], timeout)

    @property
    def pids(self) -> list[int]:
        """The living processes."""
        assert self._session is not None
        return self._session.members()

    @property
    def supervisor(self) -> int:
        """The first process."""
        assert self._session is not None
        return self._session.leader

    @property
    def workers(self) -> list[int]:
        """The processes that serve."""
        return [
            pid for pid in self.pids if pid != self.supervisor and b"--worker" in _command_line(pid)
        ]

    def workers_of(self, role: Role) -> list[int]:
        """Those that serve in `role`."""
        wanted = f"--role\0{role.value}\0".encode()
        return [pid for pid in self.workers if wanted in _command_line(pid)]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the first process."""
        os.kill(self.supervisor, number)

    @property
    def log(self) -> str:
        """All that was logged so far."""
        return self.log_file.read_text(errors="replace")

    def events(self, name: str) -> list[dict[str, object]]:
        """Return the log lines of one event."""
        # The last one may be in work.
        whole = [line for line in self.log.splitlines(True) if line.endswith("\n")]
        lines = (json.loads(line) for line in whole if line.startswith("{"))
        return [line for line in lines if line["event"] == name]

    def _serves(self, said_before: int) -> bool:
        assert self._session is not None
        if not self._session.members():
            raise AssertionError(f"the milter ended by itself:\n{self.log}")
        # Not by a connection: a worker that was just killed holds the old socket until its
        # last thread is gone, and a connection made to that is reset.
        if "letterlock" in self._program:
            return '"serving"' in self.log[said_before:]
        return greets(self.socket)


class ReentrySink:
    """Takes the copies that re-enter, and keeps them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.received: list[tuple[list[str], bytes]] = []

    def __enter__(self) -> Self:
        self._server = _TCP(("127.0.0.1", self._port), _reentry_session(self))
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _TCP(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


def _reentry_session(sink: ReentrySink) -> type[socketserver.StreamRequestHandler]:
    class Conversation(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self._converse()

        def _converse(self) -> None:
            self._say("220 sink")
            recipients: list[str] = []
            while line := self.rfile.readline():
                verb = line[:4].upper()
                if verb == b"RCPT":
                    recipients.append(re.search(r"<(.*?)>", line.decode())[1])  # type: ignore[index]
                if verb == b"DATA":
                    self._say("354 go on")
                    sink.received.append((recipients, self._message()))
                    recipients = []
                self._say("250 ok")

        def _message(self) -> bytes:
            lines = []
            while (line := self.rfile.readline()) not in (b".\r\n", b""):
                lines.append(line.removeprefix(b"."))
            return b"".join(lines)

        def _say(self, text: str) -> None:
            self.wfile.write(text.encode() + b"\r\n")

    return Conversation


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
