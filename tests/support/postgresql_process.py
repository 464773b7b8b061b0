"""A private PostgreSQL: loopback and a unix socket, ended by its process."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import psycopg
from psycopg import sql

from keyservice_process import wait_until
from ports import free_port

PROGRAMS = Path("/usr/lib/postgresql/15/bin")
OWNER, PASSWORD = "letterlock", "a password of the database's"


class PostgreSQLProcess:
    """A new cluster in a temporary directory; `OWNER` may make databases."""

    def __init__(self) -> None:
        # Not pytest's directory: the server refuses to run as root, and nobody else gets in there.
        self.directory = Path(tempfile.mkdtemp(prefix="letterlock-pg-", dir="/tmp"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._account = pwd.getpwnam("postgres") if os.getuid() == 0 else None
        if self._account is not None:
            os.chown(self.directory, self._account.pw_uid, self._account.pw_gid)
        self._data = self.directory / "data"
        self._run(
            "initdb", "--pgdata", str(self._data), "--no-sync", "--auth=trust", "--username=root",
            "--encoding=UTF8", "--locale=C",
        )  # fmt: skip
        (self._data / "pg_hba.conf").write_text(
            "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        )

    def start(self) -> Self:
        """Return when it answers."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.directory),
            "shared_buffers": "16MB",
            "max_connections": "60",
        }
        words = [word for k, v in options.items() for word in ("-c", f"{k}={v}")]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(PROGRAMS / "postgres"), "-D", str(self._data), *words],
                stdout=log,
                stderr=log,
                **self._as_account(),  # type: ignore[call-overload]
            )
        wait_until(self.is_up, "PostgreSQL up")
        return self

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT is PostgreSQL's fast shutdown, SIGQUIT a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def pause(self) -> None:
        """Let all its processes hang."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        self._signal_all(signal.SIGCONT)

    def is_up(self) -> bool:
        """Whether it takes connections."""
        assert self._process is not None
        assert self._process.poll() is None, (self.directory / "log").read_text()
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """Return a connection of the superuser's, for looking and for meddling; close it."""
        return psycopg.connect(
            host=str(self.directory), port=self.port, user="root", dbname=database, autocommit=True
        )

    def make_owner(self) -> None:
        """Make the account that databases belong to."""
        with self.connect() as connection:
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                    sql.Identifier(OWNER), sql.Literal(PASSWORD)
                )
            )

    def make_database(self, name: str, template: str = "template0") -> str:
        """Make an empty database, or one like `template`; return its URI by the unix socket."""
        with self.connect() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
                    *map(sql.Identifier, (name, OWNER, template))
                )
            )
        return self.uri(name)

    def uri(self, name: str) -> str:
        """Return the URI of a database."""
        return f"postgresql://{OWNER}@:{self.port}/{name}?host={self.directory}"

    def __enter__(self) -> Self:
        self.start()
        self.make_owner()
        return self

    def __exit__(self, *_: object) -> None:
        self.resume()
        self.stop()
        shutil.rmtree(self.directory)

    def _signal_all(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        for pid in (self._process.pid, *map(int, children.read_text().split())):
            os.kill(pid, how)

    def _run(self, program: str, *arguments: str) -> None:
        command: Sequence[str] = [str(PROGRAMS / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **self._as_account())  # type: ignore[call-overload]

    def _as_account(self) -> dict[str, object]:
        here: dict[str, object] = {"cwd": self.directory}
        if self._account is None:
            return here
        account = {"user": self._account.pw_uid, "group": self._account.pw_gid}
        return here | account | {"extra_groups": []}
