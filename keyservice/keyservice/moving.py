"""Everything that one database holds, put into another one that is empty: SQLite to PostgreSQL."""

from collections.abc import Mapping

from sqlalchemy import Connection, Table, func, insert, select, text

from keyservice.database import Database
from keyservice.errors import ConfigError
from keyservice.schema import metadata

_ROWS = 1000
"""To have in memory at once; a certificate has 100,000 octets at most."""


def move(source: Database, target: Database) -> Mapping[str, int]:
    """Copy all rows in one transaction; return how many by table.

    `source` stays as it is. Raises ConfigError, and copies nothing, if there is anything in
    `target`.
    """
    with source.reading() as old, target.writing() as new:
        for table in metadata.sorted_tables:
            if new.scalar(select(select(table).exists())):
                raise ConfigError(f"database: it is in use already: {table.name} is not empty")
        return {table.name: _copy(table, old, new) for table in metadata.sorted_tables}


def _copy(table: Table, old: Connection, new: Connection) -> int:
    copied = 0
    for rows in old.execute(select(table)).mappings().partitions(_ROWS):
        new.execute(insert(table), [dict(row) for row in rows])
        copied += len(rows)
    if copied and new.dialect.name == "postgresql" and "id" in table.columns:
        _count_on(table, new)
    return copied


def _count_on(table: Table, new: Connection) -> None:
    """Have the next row get a number that none has."""
    last = new.scalar(select(func.max(table.c.id)))
    sequence = func.pg_get_serial_sequence(text(f"'{table.name}'"), text("'id'"))
    new.execute(select(func.setval(sequence, last)))
