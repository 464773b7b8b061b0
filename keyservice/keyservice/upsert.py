"""A row that is written whether it was there before or not, in either kind of database."""

from collections.abc import Mapping

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def upsert(
    connection: Connection, table: Table, key: Mapping[str, object], columns: Mapping[str, object]
) -> None:
    """Give the row with the primary key `key` these `columns`; a new one no others."""
    # The two dialects have the same statement, but no common name for it.
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    connection.execute(
        insert(table)
        .values(**key, **columns)
        .on_conflict_do_update(index_elements=list(key), set_=columns)
    )
