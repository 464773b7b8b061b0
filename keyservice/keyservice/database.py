"""The database: opened, brought to the current schema, and its two kinds of transaction."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection as SQLiteConnection

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from keyservice.errors import ConfigError
from keyservice.failures import in_words

_BUSY_SECONDS = 5
_THREADS = 48
"""A connection for each thread of the server and some more; waiting for one would be a queue."""

_MIGRATIONS = Path(__file__).with_name("migrations")


class Database:
    """Connections. Any thread may use it."""

    def __init__(self, path: Path) -> None:
        """Open the database in `path`, making it if need be, and migrate it.

        Raises ConfigError if it cannot be opened or was written by a newer version.
        """
        # hide_parameters: an error's text would hold addresses and octets.
        self._engine = create_engine(
            f"sqlite:///{path}", hide_parameters=True, pool_size=_THREADS, max_overflow=0
        )
        event.listen(self._engine, "connect", _configure)
        event.listen(self._engine, "begin", _begin)
        # SQLite has one writer; waiting here is fair, waiting in SQLite is polling.
        self._one_writer = threading.Lock()
        try:
            _migrate(self._engine)
        except CommandError:
            raise ConfigError(f"database: {path}: a newer version has written it") from None
        except (SQLAlchemyError, OSError) as error:
            words = in_words(error) or type(error).__name__
            raise ConfigError(f"database: {path}: {words}") from None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection that sees one state of the database."""
        with self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield the one connection that writes; durable when the block ends without an error."""
        engine = self._engine.execution_options(writes=True)
        with self._one_writer, engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


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


def _migrate(engine: Engine) -> None:
    alembic = AlembicConfig()
    alembic.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with engine.execution_options(writes=True).begin() as connection:
        alembic.attributes["connection"] = connection
        command.upgrade(alembic, "head")
