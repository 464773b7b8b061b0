"""The database: migrated, strict, durable, and as fast with many mailboxes as with few."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, select, text
from sqlalchemy.exc import IntegrityError

from keyservice import schema, store
from keyservice.database import Database
from keyservice.errors import ConfigError
from keyservice.mailbox import Mailbox


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A new database."""
    database = Database(tmp_path / "k.sqlite")
    yield database
    database.close()


def test_the_migrations_lead_to_the_schema(database: Database) -> None:
    """What the code believes and what is in the file are the same."""
    with database.reading() as connection:
        assert [] == compare_metadata(MigrationContext.configure(connection), schema.metadata)


def test_a_restart_changes_nothing(tmp_path: Path) -> None:
    """Migrating twice is migrating once."""
    for _ in range(2):
        Database(tmp_path / "k.sqlite").close()


def test_it_is_durable_and_strict(database: Database) -> None:
    """WAL with full synchronisation, foreign keys."""
    with database.reading() as connection:
        pragmas = [
            connection.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]

    assert ["wal", 2, 1] == pragmas
    with pytest.raises(IntegrityError), database.writing() as connection:
        connection.execute(
            insert(schema.binding).values(mailbox_id=9, fingerprint="x", state="active", since=0)
        )


def test_an_error_undoes_all_of_a_transaction(database: Database) -> None:
    """Half an enrolment never happened."""
    twice = insert(schema.mailbox).values(address="alice@example.org")
    with pytest.raises(IntegrityError), database.writing() as connection:
        [connection.execute(statement) for statement in (twice, twice)]

    with database.reading() as connection:
        assert [] == list(connection.execute(select(schema.mailbox)))


def test_a_lookup_scans_no_table(database: Database) -> None:
    """Every step of its plan is a search by an index."""
    seen: list[str] = []
    with database.reading() as connection:

        class Explained:
            """A connection that asks for the plan of each statement instead."""

            def execute(self, statement: object) -> object:
                compiled = str(statement.compile(compile_kwargs={"literal_binds": True}))  # type: ignore[attr-defined]
                plan = connection.execute(text("EXPLAIN QUERY PLAN " + compiled.replace(":", "")))
                seen.extend(row.detail for row in plan)
                return connection.execute(statement)  # type: ignore[call-overload]

        store.find(Explained(), Mailbox.parse("alice@example.org"))  # type: ignore[arg-type]

    assert seen
    assert [] == [step for step in seen if "SCAN" in step]


@pytest.mark.parametrize("content", [b"this is no database, but long enough to look at it" * 50])
def test_what_is_no_database_is_a_configuration_error(tmp_path: Path, content: bytes) -> None:
    """So is one of a newer version."""
    path = tmp_path / "k.sqlite"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="database"):
        Database(path)

    newer = tmp_path / "newer.sqlite"
    database = Database(newer)
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(ConfigError, match="database"):
        Database(newer)
