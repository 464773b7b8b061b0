"""A plugin of pytest's: what opens a file as its database gets one on PostgreSQL instead.

    pytest -p on_postgresql tests/unit/keyservice/test_enrolment.py

The same path is the same database.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyservice import postgresql
from keyservice.database import Database
from postgresql_process import PostgreSQLProcess

_MIGRATED = "migrated"

_open = Database.__init__


@pytest.fixture(scope="session", autouse=True)
def _postgresql() -> Iterator[None]:
    """Redirect all who open a database to a server of their own."""
    with PostgreSQLProcess() as process, pytest.MonkeyPatch.context() as patch:
        # Migrating one, and copying it, is faster than migrating each.
        Database(postgresql.server(process.make_database(_MIGRATED))).close()
        made: dict[Path, str] = {}

        def redirected(database: Database, where: Path | postgresql.Server) -> None:
            if isinstance(where, Path):
                if where not in made:
                    name = hashlib.sha256(str(where).encode()).hexdigest()[:16]
                    made[where] = process.make_database(name, _MIGRATED)
                where = postgresql.server(made[where])
            _open(database, where)

        patch.setattr(Database, "__init__", redirected)
        yield
        assert made, "no test opened a database"
