"""Exit status 1: a newer release has written the key service's database. Run by the older one."""

import sys
from pathlib import Path

from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import create_engine

import keyservice.migrations
from keyservice.config import load

database = load(Path("/etc/letterlock/keyservice.toml")).database
url = database if "://" in database else f"sqlite:///file:{database}?mode=ro&uri=true"
alembic = AlembicConfig()
(migrations,) = keyservice.migrations.__path__
alembic.set_main_option("script_location", migrations.replace("%", "%%"))
with create_engine(url).connect() as connection:
    revision = MigrationContext.configure(connection).get_current_revision()
try:
    ScriptDirectory.from_config(alembic).get_revision(revision or "base")
except CommandError:
    sys.exit(1)
