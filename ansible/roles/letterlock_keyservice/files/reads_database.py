"""Exit status 1: a newer release has written the key service's database. Run by the older one."""

import sqlite3
import sys
from pathlib import Path

from alembic.config import Config as AlembicConfig
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from keyservice import config as configuration

_REVISION = "SELECT version_num FROM alembic_version"


def revision(config: configuration.Config) -> str:
    """Return the form that the database is in."""
    if config.database.startswith("/"):
        with sqlite3.connect(f"file:{config.database}?mode=ro", uri=True) as database:
            return str(database.execute(_REVISION).fetchone()[0])
    import psycopg

    password = config.database_password_file
    word = Path(password).read_text().rstrip("\r\n") if password else None
    with psycopg.connect(config.database, password=word, connect_timeout=10) as server:
        row = server.execute(_REVISION).fetchone()
        return "" if row is None else str(row[0])


def main() -> None:
    """Compare it with what this release knows."""
    alembic = AlembicConfig()
    migrations = Path(configuration.__file__).with_name("migrations")
    alembic.set_main_option("script_location", str(migrations).replace("%", "%%"))
    found = revision(configuration.load(Path("/etc/letterlock/keyservice.toml")))
    try:
        ScriptDirectory.from_config(alembic).get_revision(found)
    except CommandError:
        sys.exit(1)


if __name__ == "__main__":
    main()
