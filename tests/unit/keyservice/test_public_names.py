"""Mailboxes are found by their hash, certificates by their key ID: stored with each new row."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from keyservice import database as database_module
from keyservice import schema
from keyservice.database import Database
from keyservice.wkd_name import hashed_local_part, wkd_name

VERSION_4, VERSION_6 = "ab" * 12 + "0123456789abcdef", "cd" * 32


def test_the_hash_is_the_drafts() -> None:
    """draft-koch-openpgp-webkey-service §3.1 gives this example."""
    assert "iy9q119eutrkn8s1mk4r39qejnbu3n5q" == hashed_local_part("Joe.Doe")
    assert "iy9q119eutrkn8s1mk4r39qejnbu3n5q@example.org" == wkd_name("joe.doe@example.org")


def test_only_ascii_letters_are_mapped_to_lower_case() -> None:
    """A mailbox with an Ä is another one than that with an ä."""
    assert hashed_local_part("A") == hashed_local_part("a")
    assert hashed_local_part("Ä") != hashed_local_part("ä")


def test_new_rows_have_their_names(tmp_path: Path) -> None:
    """Whoever inserts them; a version 6 certificate has no key ID to be asked for."""
    database = Database(tmp_path / "k.sqlite")
    with database.writing() as connection:
        connection.execute(
            sa.insert(schema.mailbox), [{"address": "joe.doe@example.org"}, {"address": "x@a.org"}]
        )
        for fingerprint in (VERSION_4, VERSION_6):
            connection.execute(
                sa.insert(schema.certificate).values(
                    fingerprint=fingerprint, octets=b"", facts=b"", vetted_at=0, vet_at=0
                )
            )
        names = list(connection.scalars(sa.select(schema.mailbox.c.wkd_name)))
        key_ids = list(connection.scalars(sa.select(schema.certificate.c.key_id)))
    database.close()

    assert sorted(["iy9q119eutrkn8s1mk4r39qejnbu3n5q@example.org", wkd_name("x@a.org")]) == sorted(
        names
    )
    assert {"0123456789abcdef", None} == set(key_ids)


def test_the_migration_names_what_is_stored_already(tmp_path: Path) -> None:
    """A database of the first version."""
    path = tmp_path / "k.sqlite"
    engine = sa.create_engine(f"sqlite:///{path}")
    alembic = Config()
    alembic.set_main_option("script_location", str(database_module._MIGRATIONS))
    with engine.begin() as connection:
        alembic.attributes["connection"] = connection
        command.upgrade(alembic, "0001")
        addresses = [f"{local}@example.org" for local in ("joe.doe", "ä", *map(str, range(2_100)))]
        rows = [{"address": address} for address in addresses]
        connection.execute(sa.text("INSERT INTO mailbox (address) VALUES (:address)"), rows)
        for fingerprint in (VERSION_4, VERSION_6):
            connection.execute(
                sa.text("INSERT INTO certificate VALUES (:fingerprint, '', '', NULL, NULL, 0, 0)"),
                {"fingerprint": fingerprint},
            )
    engine.dispose()

    database = Database(path)
    with database.reading() as connection:
        mailboxes = connection.execute(sa.select(schema.mailbox)).all()
        key_ids = set(connection.scalars(sa.select(schema.certificate.c.key_id)))
    database.close()

    assert len(addresses) == len(mailboxes)
    assert all(wkd_name(row.address) == row.wkd_name for row in mailboxes)
    assert {"0123456789abcdef", None} == key_ids
