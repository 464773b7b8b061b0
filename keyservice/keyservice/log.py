"""Log lines: one JSON object each, on stderr. docs/logging.md has all events.

What may never be in one: octets of a certificate, a secret, the text of an exception that
we did not write (a database error holds its parameters).
"""

import json
import logging
import os
import sys
import traceback
from datetime import UTC, datetime

from keyservice.failures import in_words

_KNOWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_PRIORITIES = {"info": "<6>", "warning": "<4>", "error": "<3>", "critical": "<2>"}
"""sd-daemon(3)."""


class JSONFormatter(logging.Formatter):
    """Time, level, process, event and the fields given as `extra`."""

    def __init__(self, journal: bool = False) -> None:
        """With `journal`, begin each line with what the journal takes for its priority."""
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        level = record.levelname.lower()
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": level,
            "pid": record.process,
        }
        if record.name.startswith("keyservice"):
            line["event"] = record.getMessage()
        else:
            line |= {"event": "library", "logger": record.name, "detail": record.getMessage()}
        line |= {name: value for name, value in vars(record).items() if name not in _KNOWN}
        if record.exc_info and record.exc_info[1] is not None:
            line |= _exception(record.exc_info[1])
        return (_PRIORITIES.get(level, "") if self._journal else "") + json.dumps(line, default=str)


def _exception(error: BaseException) -> dict[str, object]:
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    places = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames]
    line: dict[str, object] = {"exception": type(error).__name__, "at": " ".join(places)}
    if words := in_words(error):
        line["detail"] = words
    return line


def set_up() -> None:
    """Send everything from level INFO to stderr, one object per line."""
    to_stderr = logging.StreamHandler(sys.stderr)
    to_stderr.setFormatter(JSONFormatter(_is_journal()))
    logging.basicConfig(level=logging.INFO, handlers=[to_stderr], force=True)
    # These speak of each request, or of their own start-up.
    for name in ("uvicorn.access", "uvicorn.error", "alembic", "sqlalchemy", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _is_journal() -> bool:
    # systemd.exec(5): device and inode of the stream, lest it was redirected since.
    found = os.fstat(sys.stderr.fileno())
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
