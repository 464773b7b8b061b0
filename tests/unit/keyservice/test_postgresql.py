"""What a URI of PostgreSQL's may say, and what its failures mean."""

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from keyservice.errors import ConfigError
from keyservice.failures import in_words, is_outage
from keyservice.postgresql import server


@pytest.mark.parametrize(
    ("uri", "sslmode"),
    [
        ("postgresql:///letterlock?host=/run/postgresql", None),
        ("postgresql://letterlock@127.0.0.1:5433/letterlock", None),
        ("postgresql://letterlock@[::1]/letterlock?sslmode=disable", "disable"),
        ("postgresql://letterlock@db.example.org/letterlock", "verify-full"),
        ("postgres://letterlock@192.0.2.1,127.0.0.1/letterlock", "verify-full"),
        ("postgresql://letterlock@localhost/letterlock?hostaddr=192.0.2.1", "verify-full"),
    ],
)
def test_over_a_network_the_server_proves_its_name(uri: str, sslmode: str | None) -> None:
    """Unless the URI leads to this host."""
    where = server(uri, "word")

    assert sslmode == where.parameters.get("sslmode")
    assert "word" == where.parameters["password"]
    assert "word" not in where.name
    assert "read-write" == where.parameters["target_session_attrs"]


@pytest.mark.parametrize(
    ("uri", "complaint"),
    [
        ("postgresql://letterlock:word@localhost/letterlock", "database_password_file"),
        ("postgresql://letterlock@localhost/letterlock?password=word", "database_password_file"),
        ("postgresql://letterlock@db.example.org/letterlock?sslmode=require", "verify-full"),
        ("postgresql://letterlock@db.example.org/letterlock?sslmode=prefer", "verify-full"),
        ("postgresql://letterlock@localhost", "name one"),
        ("postgresql://localhost/letterlock?sslmood=word", "not a URI"),
        ("postgresql://[::1/letterlock", "not a URI"),
    ],
)
def test_what_would_be_unsafe_or_nonsense_is_refused(uri: str, complaint: str) -> None:
    """In a line that does not quote it."""
    with pytest.raises(ConfigError, match=complaint) as refused:
        server(uri)

    assert "word@" not in str(refused.value)
    assert "=word" not in str(refused.value)


def test_our_bounds_cannot_be_undone() -> None:
    """Options in the URI come first, and the last one counts."""
    options = server("postgresql:///x?options=-c%20statement_timeout%3D0").parameters["options"]

    assert options.index("statement_timeout=0") < options.index("statement_timeout=5s")


class Failed(Exception):
    """As psycopg raises it."""

    def __init__(self, sqlstate: str | None, said: str = "") -> None:
        super().__init__(said)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("failed", "words"),
    [
        (Failed("57P01"), "being stopped or started"),
        (Failed("57014"), "takes too long"),
        (Failed("53100"), "disk of the database is full"),
        (Failed("53300"), "short of connections"),
        (Failed("25006"), "standby"),
        (Failed("28P01"), "refuses the user or the password"),
        (Failed(None, 'FATAL:  password authentication failed for user "x"'), "the password"),
        (Failed(None, "server certificate does not match"), "certificate"),
        (Failed(None, "Connection refused"), "cannot be reached"),
    ],
)
def test_an_outage_has_words_of_our_own(failed: Failed, words: str) -> None:
    """And is told from a mistake, which trying again does not mend."""
    error = OperationalError("SELECT a secret", None, failed)

    assert words in (in_words(error) or "")
    assert is_outage(error)
    assert not is_outage(IntegrityError("INSERT", None, Failed("23505")))
    assert is_outage(PoolTimeout())
