"""PostgreSQL as the database of several key services: how it is reached, how transactions begin.

SQLite has one writer, and every rule about who gets which certificate was made for that. Here
an advisory lock, taken as the first thing in each transaction that writes and gone with it,
says the same to all services: nothing has to be tried again because two decided at once.
"""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import NamedTuple

from sqlalchemy import Connection, Engine, create_engine, event, text

from keyservice.errors import ConfigError

SCHEMES = ("postgresql://", "postgres://")

CONNECTIONS = 12
"""For each part of the service that has its own: the internal one, and the public listener."""

STATEMENT_SECONDS = 5
"""For which one statement may run, or wait for whoever else writes."""

_POOL_SECONDS = 2.0
_IDLE_SECONDS = 10
"""After which the server gives up the transaction of a service that was cut off."""

_MIGRATION_SECONDS = 120

_LOCKS = 0x4C4C4B53
"""The first half of the names of our advisory locks; nobody else should use it."""

_WRITING = 1

_DEFAULTS: Mapping[str, str] = {
    "application_name": "letterlock-keyservice",
    "client_encoding": "UTF8",
    "connect_timeout": "2",
    # One that cannot be written to is a standby, and tells of yesterday.
    "target_session_attrs": "read-write",
    # A host that vanished is noticed within so many seconds, whatever was under way.
    "keepalives_idle": "3",
    "keepalives_interval": "1",
    "keepalives_count": "3",
    "tcp_user_timeout": "5000",
    # It would go before TLS, and checks no host name.
    "gssencmode": "disable",
}


class Server(NamedTuple):
    """Where the database is, for libpq."""

    parameters: Mapping[str, str]
    """With the password: not for a log."""

    @property
    def name(self) -> str:
        """What to call it in a message."""
        where = self.parameters.get("host", "localhost")
        return f"{where}/{self.parameters.get('dbname', '')}"


def is_postgresql(database: str) -> bool:
    """Whether the configuration names a server, not a file."""
    return database.startswith(SCHEMES)


def server(url: str, password: str = "") -> Server:
    """Return what a libpq URI stands for; raises ConfigError.

    It may name several hosts: the one that can be written to is used. Over a network it must
    be reached by TLS, and prove its name.
    """
    try:
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict
    except ImportError:
        raise ConfigError("database: PostgreSQL takes the extra letterlock[postgresql]") from None
    try:
        given = {key: str(value) for key, value in conninfo_to_dict(url).items()}
    except ProgrammingError:
        # Its text would quote the URL.
        raise ConfigError("database: not a URI of PostgreSQL's") from None
    _require_sound(given)
    if password:
        given["password"] = password
    if _is_remote(given):
        given.setdefault("sslmode", "verify-full")
    return Server({**_DEFAULTS, **given, "options": _options(given)})


def engine(where: Server) -> Engine:
    """Return the connections to `where`; none is made yet."""
    made = create_engine(
        "postgresql+psycopg://",
        connect_args=dict(where.parameters),
        hide_parameters=True,  # an error's text would hold addresses and octets
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=_POOL_SECONDS,
        # The server may have been started anew, or another one have taken its place.
        pool_pre_ping=True,
        pool_recycle=300,
    )
    event.listen(made, "begin", _begin)
    return made


def reading(made: Engine) -> Engine:
    """Return `made` for transactions that see one state, and change nothing."""
    return made.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def writing(made: Engine) -> Engine:
    """Return `made` for transactions that are the only one that writes, on all hosts."""
    # Under READ COMMITTED each statement sees all that was committed before it; a snapshot
    # for the whole transaction would be taken before the lock is.
    return made.execution_options(isolation_level="READ COMMITTED", writes=True)


def prepare_migration(connection: Connection) -> None:
    """Let the transaction take its time. Raises ConfigError if the database cannot be ours."""
    connection.execute(text(f"SET LOCAL statement_timeout = '{_MIGRATION_SECONDS}s'"))
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    if connection.scalar(text("SHOW server_encoding")) != "UTF8":
        raise ConfigError("database: make it anew with ENCODING 'UTF8'")


def try_alone(connection: Connection, task: int) -> bool:
    """Return whether this connection is the one that has `task`, until it is closed or gives up."""
    return bool(
        connection.scalar(
            text("SELECT pg_try_advisory_lock(:ours, :task)"), {"ours": _LOCKS, "task": task}
        )
    )


def give_up(connection: Connection, task: int) -> None:
    """Let another service have `task`."""
    connection.execute(
        text("SELECT pg_advisory_unlock(:ours, :task)"), {"ours": _LOCKS, "task": task}
    )


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get("writes"):
        connection.execute(
            text("SELECT pg_advisory_xact_lock(:ours, :writing)"),
            {"ours": _LOCKS, "writing": _WRITING},
        )


def _require_sound(given: Mapping[str, str]) -> None:
    if "password" in given:
        raise ConfigError("database: no password here; see database_password_file")
    if not given.get("dbname"):
        raise ConfigError("database: name one: postgresql://USER@HOST/NAME")
    if _is_remote(given) and given.get("sslmode", "verify-full") != "verify-full":
        raise ConfigError("database: over a network only sslmode=verify-full")


def _is_remote(given: Mapping[str, str]) -> bool:
    hosts = f"{given.get('host', '')},{given.get('hostaddr', '')}".split(",")
    return not all(map(_is_here, hosts))


def _is_here(host: str) -> bool:
    if not host or host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _options(given: Mapping[str, str]) -> str:
    ours = (
        f"-c statement_timeout={STATEMENT_SECONDS}s"
        f" -c idle_in_transaction_session_timeout={_IDLE_SECONDS}s"
        # Whoever is told that it is enrolled must be able to rely on it.
        " -c synchronous_commit=on"
    )
    return f"{given.get('options', '')} {ours}".strip()
