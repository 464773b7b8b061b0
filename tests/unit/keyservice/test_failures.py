"""What SQLite and Redis say, in words; from the errors that they really raise."""

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from sqlalchemy.exc import DBAPIError, OperationalError

from keyservice.database import Database
from keyservice.errors import ConfigError
from keyservice.failures import in_words
from keyservice.redis_outage import RedisOutage


def full(path: Path) -> None:
    with sqlite3.connect(path / "k") as connection:
        connection.execute("PRAGMA max_page_count = 2")
        connection.execute("CREATE TABLE t (x)")
        connection.execute("INSERT INTO t VALUES (zeroblob(100000))")


def read_only(path: Path) -> None:
    sqlite3.connect(path / "k").execute("CREATE TABLE t (x)")
    sqlite3.connect(f"file:{path / 'k'}?mode=ro", uri=True).execute("INSERT INTO t VALUES (1)")


def without_directory(path: Path) -> None:
    sqlite3.connect(path / "none" / "k").execute("CREATE TABLE t (x)")


def no_database(path: Path) -> None:
    (path / "k").write_text("no database " * 1000)
    sqlite3.connect(path / "k").execute("CREATE TABLE t (x)")


@pytest.mark.parametrize(
    ("fail", "expected"),
    [
        (full, "the disk is full"),
        (read_only, "the file cannot be written"),
        (without_directory, "the file cannot be opened"),
        (no_database, "the file is no database"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
def test_what_hinders_sqlite_is_said(
    tmp_path: Path, fail: Callable[[Path], None], expected: str
) -> None:
    """The operator reads what to look at, and nothing of what was to be written."""
    with pytest.raises(sqlite3.Error) as raised:
        fail(tmp_path)

    words = in_words(OperationalError("INSERT", {"x": "CANARY"}, raised.value))

    assert words is not None
    assert words.startswith(expected)


def test_what_nobody_foresaw_says_nothing() -> None:
    """Its own text could quote what was to be written."""
    assert in_words(DBAPIError("INSERT", {}, sqlite3.IntegrityError("CANARY"))) is None
    assert in_words(ValueError("CANARY")) is None


def test_a_database_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    """The option, the file, and what to look at."""
    with pytest.raises(ConfigError, match=r"^database: .*/none/k: .* its directory") as raised:
        Database(tmp_path / "none" / "k")

    assert "\n" not in str(raised.value)


def test_an_outage_of_redis_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """However often it is asked; another one when it fails again."""
    caplog.set_level(logging.INFO)
    outage = RedisOutage()
    for _ in range(3):
        outage.failed(redis.exceptions.NoPermissionError("NOPERM CANARY"))
    outage.over()
    outage.failed(redis.AuthenticationError("WRONGPASS CANARY"))

    assert [
        ("redis_failed", "its ACL denies a command or a name that is needed"),
        ("redis_failed", "it refuses the user or the password"),
    ] == [(record.message, vars(record)["detail"]) for record in caplog.records]
