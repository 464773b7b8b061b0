"""What a failure of the database or of a file means, in words for the operator.

Never the error's own text: a database puts into it what was to be written.
"""

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

_SQLITE = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_READONLY": "the file cannot be written: to whom do it and its directory belong?",
    "SQLITE_CANTOPEN": "the file cannot be opened: is its directory there, and writable?",
    "SQLITE_IOERR_SHMSIZE": "the disk is full",
    "SQLITE_IOERR": "the disk does not read or write",
    "SQLITE_CORRUPT": "the file is damaged: put the backup back",
    "SQLITE_NOTADB": "the file is no database",
    "SQLITE_BUSY": "another process keeps it locked",
}
"""Result codes; an extended one begins with its primary one, and the first that fits counts.

https://www.sqlite.org/rescode.html
"""


_POSTGRESQL = {
    "08": "the connection to the database broke",
    "25006": "the database is a standby: it cannot be written to",
    "25P03": "the database takes too long",
    "28": "the database refuses the user or the password",
    "3D000": "the server has no database of this name",
    "42501": "the database denies what is needed: does it belong to the user?",
    "53100": "the disk of the database is full",
    "53": "the database is short of connections or memory",
    "55P03": "the database takes too long",
    "57014": "the database takes too long",
    "57": "the database is being stopped or started",
    "58": "the disk of the database does not read or write",
    "XX": "the database is damaged",
}
"""By SQLSTATE or its class (PostgreSQL, appendix A); the first that it begins with counts."""

_CONNECTING = (
    ("password authentication failed", "the database refuses the user or the password"),
    ("no password supplied", "the database wants a password: see database_password_file"),
    ("no pg_hba.conf entry", "the database admits nobody of that name from here"),
    ("Peer authentication failed", "the database admits nobody of that name from here"),
    ("certificate", "the certificate of the database, or ours, is not accepted"),
    ("does not exist", "the server has no such database, or no such user"),
    ("read-only", "the database is a standby: it cannot be written to"),
)
"""What libpq says, of which it tells no SQLSTATE."""


def in_words(error: BaseException) -> str | None:
    """Return the meaning of an error of the database or of the system; None: it says nothing."""
    if isinstance(error, PoolTimeout):
        return "the database takes too long"
    if isinstance(error, DBAPIError):
        return _of_database(error.orig)
    return error.strerror if isinstance(error, OSError) else None


def is_outage(error: BaseException) -> bool:
    """Whether the database did not do what it was asked, and may do so later."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, OperationalError | InterfaceError | PoolTimeout)


def _of_database(error: BaseException | None) -> str | None:
    for attribute, meanings in (("sqlite_errorname", _SQLITE), ("sqlstate", _POSTGRESQL)):
        if isinstance(code := getattr(error, attribute, None), str):
            return next(
                (words for begin, words in meanings.items() if code.startswith(begin)), None
            )
    if not hasattr(error, "sqlstate"):
        return None
    said = str(error)
    found = (words for text, words in _CONNECTING if text in said)
    return next(found, "the database cannot be reached")
