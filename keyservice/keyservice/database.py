"""The database: opened, brought to the current schema, and its two kinds of transaction."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from sqlite3 import Connection as SQLiteConnection
from urllib.parse import quote

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from keyservice import postgresql
from keyservice.errors import ConfigError, DatabaseBusy, DatabaseUnavailable
from keyservice.failures import in_words, is_outage

_BUSY_SECONDS = 5
_WAIT_SECONDS = 10.0
"""For whoever else in this process writes."""

_THREADS = 48
"""A connection for each thread of the server and some more; waiting for one would be a queue."""

_MIGRATIONS = Path(__file__).with_name("migrations")


class Task(Enum):
    """What one service at a time does for all that share a database."""

    REVETTING = 2
    NOTICES = 3


class Database:
    """Connections. Any thread may use it."""

    def __init__(self, where: Path | postgresql.Server) -> None:
        """Open the database, making it if it is a file and need be, and migrate it.

        Raises ConfigError if it cannot be opened or was written by a newer version,
        DatabaseUnavailable if a server cannot be reached.
        """
        self.is_shared = isinstance(where, postgresql.Server)
        """Whether other services may change it."""

        if isinstance(where, postgresql.Server):
            name, self._engine = where.name, postgresql.engine(where)
            self._to_read = postgresql.reading(self._engine)
            self._to_write = postgresql.writing(self._engine)
        else:
            name, self._engine = str(where), _sqlite(where)
            self._to_read = self._engine
            self._to_write = self._engine.execution_options(writes=True)
        # There is one writer; waiting here is fair, waiting in SQLite is polling, and waiting
        # in PostgreSQL takes a connection.
        self._one_writer = threading.Lock()
        try:
            self._bring_up(name)
        except (ConfigError, DatabaseUnavailable):
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection that sees one state of the database."""
        with self._to_read.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield the one connection that writes; durable when the block ends without an error."""
        if not self._one_writer.acquire(timeout=_WAIT_SECONDS):
            raise DatabaseBusy("others have been writing all the time")
        try:
            with self._to_write.begin() as connection:
                yield connection
        finally:
            self._one_writer.release()

    @contextmanager
    def alone(self, task: Task) -> Iterator[bool]:
        """Yield whether `task` is this service's until the block ends, and no other one's.

        Only to spare work: a connection that breaks gives it to another service.
        """
        if not self.is_shared:
            yield True
            return
        engine = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            is_ours = postgresql.try_alone(connection, task.value)
            try:
                yield is_ours
            finally:
                if is_ours:
                    postgresql.give_up(connection, task.value)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _bring_up(self, name: str) -> None:
        try:
            self._migrate()
        except CommandError:
            raise ConfigError(f"database: {name}: a newer version has written it") from None
        except (SQLAlchemyError, OSError) as error:
            words = in_words(error) or type(error).__name__
            is_passing = self.is_shared and is_outage(error)
            kind = DatabaseUnavailable if is_passing else ConfigError
            raise kind(f"database: {name}: {words}") from None

    def _migrate(self) -> None:
        alembic = _alembic()
        # Services that start at the same time do it one after the other: it writes.
        with self._to_write.begin() as connection:
            if self.is_shared:
                postgresql.prepare_migration(connection)
            alembic.attributes["connection"] = connection
            command.upgrade(alembic, "head")


def require_known(path: Path) -> None:
    """Raise ConfigError if the file at `path` is no database, or a newer version has written it.

    It is only read; none that is not there yet is right.
    """
    if not path.exists():
        return
    if not path.is_file():
        raise ConfigError(f"database: {path}: something else is there")
    # `quote`: it is a URI in a URL.
    engine = create_engine(f"sqlite:///file:{quote(str(path))}?mode=ro&uri=true")
    try:
        with engine.connect() as connection:
            revision = MigrationContext.configure(connection).get_current_revision()
        ScriptDirectory.from_config(_alembic()).get_revision(revision or "base")
    except CommandError:
        raise ConfigError(f"database: {path}: a newer version has written it") from None
    except SQLAlchemyError as error:
        words = in_words(error) or type(error).__name__
        raise ConfigError(f"database: {path}: {words}") from None
    finally:
        engine.dispose()


def _alembic() -> AlembicConfig:
    alembic = AlembicConfig()
    alembic.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return alembic


def _sqlite(path: Path) -> Engine:
    # hide_parameters: an error's text would hold addresses and octets.
    engine = create_engine(
        f"sqlite:///{path}", hide_parameters=True, pool_size=_THREADS, max_overflow=0
    )
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def _configure(connection: SQLiteConnection, _record: object) -> None:
    # The sqlite3 module would begin transactions where it sees fit; `_begin` does it.
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        # NORMAL loses acknowledged writes in a power cut when in WAL mode.
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={_BUSY_SECONDS * 1000}",
        "secure_delete=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    # A reading transaction that turns into a writing one fails when another was faster.
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
