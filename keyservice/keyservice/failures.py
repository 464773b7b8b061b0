"""What a failure of the database or of a file means, in words for the operator.

Never the error's own text: a database puts into it what was to be written.
"""

from sqlalchemy.exc import DBAPIError

_SQLITE = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_READONLY": "the file cannot be written: to whom do it and its directory belong?",
    "SQLITE_CANTOPEN": "the file cannot be opened: is its directory there, and writable?",
    "SQLITE_IOERR": "the disk does not read or write",
    "SQLITE_CORRUPT": "the file is damaged: put the backup back",
    "SQLITE_NOTADB": "the file is no database",
    "SQLITE_BUSY": "another process keeps it locked",
}
"""Primary result codes; an extended one begins with them (https://www.sqlite.org/rescode.html)."""


def in_words(error: BaseException) -> str | None:
    """Return the meaning of an error of the database or of the system; None: it says nothing."""
    if isinstance(error, DBAPIError):
        return _of_database(error.orig)
    return error.strerror if isinstance(error, OSError) else None


def _of_database(error: BaseException | None) -> str | None:
    code = getattr(error, "sqlite_errorname", None)
    if not isinstance(code, str):
        return None
    return next((words for begin, words in _SQLITE.items() if code.startswith(begin)), None)
