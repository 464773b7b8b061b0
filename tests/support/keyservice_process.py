"""The real key service and a real Redis, each in a directory of its own, ended by process ID."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

import msgspec
import redis
from sqlalchemy import Table

from keyservice import schema
from keyservice.client import ClientConfig, KeyServiceClient, OperatorClient
from keyservice.database import Database
from keyservice.transport import Endpoint, TransportError, exchange
from keyservice.vet import vet
from ports import free_port

SECRET = b"a secret of these tests, 32 octets or more"
START_DEADLINE = 60.0


def wait_until(condition: Callable[[], bool], what: str, deadline: float = START_DEADLINE) -> None:
    """Return as soon as `condition` holds; fail if it never does."""
    until = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"{what}: not within {deadline:g} s")
        time.sleep(0.02)


class _Process:
    """A daemon that this test run started."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        raise NotImplementedError

    @property
    def log(self) -> Path:
        """What the process wrote to stdout and stderr."""
        return self.directory / "log"

    def start(self) -> Self:
        """Return when it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        wait_until(lambda: self._is_up(), f"{type(self).__name__} up")
        return self

    def stop(self) -> None:
        """End it properly."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it hang: connections are taken by the kernel, nothing answers."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def cpu_seconds(self) -> float:
        """Return what it has used so far."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _is_up(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"ended at once:\n{self.log.read_text()}")
        return self.is_ready()

    def _end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


class RedisProcess(_Process):
    """Redis on a unix socket; keeps nothing on disk unless asked to."""

    @property
    def socket(self) -> Path:
        return self.directory / "redis.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def dump(self) -> Path:
        return self.directory / "dump.rdb"

    def client(self) -> redis.Redis:
        """Return a connection for looking and for meddling; close it."""
        return redis.Redis.from_url(self.url, socket_timeout=5)

    def command(self) -> list[str]:
        program = shutil.which("redis-server")
        assert program is not None, "redis-server is not installed"
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "660",
            "dir": str(self.directory),
            "save": "",
            "appendonly": "no",
        }
        return [program, *(word for k, v in options.items() for word in (f"--{k}", v))]

    def is_ready(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


class KeyServiceProcess(_Process):
    """The key service on a unix socket, with metrics on a free port.

    `domains` is the `[domains]` table: name to settings. `redis_url` "" means no cache.
    `sections`: further tables of the configuration, such as `public`; `settings`: further keys.
    """

    def __init__(
        self,
        directory: Path,
        domains: Mapping[str, Mapping[str, object]] | None = None,
        redis_url: str = "",
        *,
        tcp: bool = False,
        secret: bytes = SECRET,
        sections: Mapping[str, Mapping[str, object]] | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(directory)
        self.sections = sections or {}
        self.settings = settings or {}
        self.redis_url = redis_url
        self.secret = secret
        self.socket = directory / "keyservice.sock"
        self.database = directory / "keyservice.sqlite"
        self.config = directory / "keyservice.toml"
        self.secret_file = directory / "cache.key"
        self.metrics = f"127.0.0.1:{free_port()}"
        self.tcp = f"127.0.0.1:{free_port()}" if tcp else ""
        self.domains = domains if domains is not None else {"example.org": {}}
        self.write_config()

    def write_config(self) -> None:
        """Write the configuration and the secret; takes effect at the next start."""
        self.secret_file.touch(mode=0o640)
        self.secret_file.write_bytes(self.secret + b"\n")
        settings = {"database": str(self.database), **self.settings}
        lines = [
            f"socket = {json.dumps(str(self.socket))}",
            f"tcp = {json.dumps(self.tcp)}",
            f"metrics = {json.dumps(self.metrics)}",
            *(f"{key} = {json.dumps(value)}" for key, value in settings.items()),
            "[redis]",
            f"url = {json.dumps(self.redis_url)}",
            f"secret_file = {json.dumps(str(self.secret_file))}",
            "[discovery]",  # nothing that a test starts asks the world
            "methods = []",
        ]
        tables = dict(self.sections)
        tables |= {f"domains.{json.dumps(name)}": table for name, table in self.domains.items()}
        for name, settings in tables.items():
            lines.append(f"[{name}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
        self.config.write_text("\n".join(lines) + "\n")

    def fill(self, number: int, octets: bytes) -> None:
        """Enrol `number` mailboxes m0@, m1@ … of example.org, each with its own certificate.

        Into a new database, before `start`. All have the facts of the certificate in `octets`:
        so many key pairs would take hours.
        """
        certificate, minimised = vet(octets, time.time())
        database = Database(self.database)
        now = int(time.time())
        facts = [
            msgspec.structs.replace(
                certificate, fingerprint=f"{index:040x}", user_ids=(f"m{index}@example.org",)
            )
            for index in range(number)
        ]
        rows: dict[Table, list[dict[str, object]]] = {
            schema.mailbox: [
                {"id": index + 1, "address": one.user_ids[0], "first_certificate_at": now}
                for index, one in enumerate(facts)
            ],
            schema.certificate: [
                {
                    "fingerprint": one.fingerprint,
                    "octets": minimised,
                    "facts": msgspec.json.encode(one),
                    "vetted_at": now,
                    "vet_at": now + 86_400,
                }
                for one in facts
            ],
            schema.binding: [
                {
                    "mailbox_id": index + 1,
                    "fingerprint": one.fingerprint,
                    "state": "active",
                    "since": now,
                }
                for index, one in enumerate(facts)
            ],
        }
        with database.writing() as connection:
            for table, values in rows.items():
                connection.execute(table.insert(), values)
        database.close()

    @property
    def url(self) -> str:
        return f"unix:{self.socket}"

    @property
    def operator(self) -> OperatorClient:
        return OperatorClient(self.url)

    @property
    def metrics_url(self) -> str:
        return f"http://{self.metrics}/metrics"

    def client(self, **changes: object) -> KeyServiceClient:
        """Return what a milter would use."""
        settings: dict[str, object] = {
            "service": self.url,
            "redis_url": self.redis_url,
            "secret": self.secret if self.redis_url else b"",
            "deadline": 5.0,
        }
        return KeyServiceClient(ClientConfig(**(settings | changes)))  # type: ignore[arg-type]

    def metric(self, sample: str) -> float:
        """Return the value of a sample, written as in the text format, 0 if it is not there."""
        with urllib.request.urlopen(self.metrics_url, timeout=10) as reply:
            for line in reply.read().decode().splitlines():
                name, _, value = line.rpartition(" ")
                if name == sample:
                    return float(value)
        return 0.0

    def command(self) -> list[str]:
        return [sys.executable, "-m", "keyservice", "--config", str(self.config)]

    def is_ready(self) -> bool:
        try:
            endpoint = Endpoint.parse(self.url)
            return exchange(endpoint, "GET", "/health", deadline=5).status == 200
        except TransportError:
            return False
