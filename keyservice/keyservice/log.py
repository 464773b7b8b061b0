"""Log lines: one JSON object each, on stderr.

What may never be in one: octets of a certificate, a secret, the text of an exception that
we did not write (a database error holds its parameters).
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime

_KNOWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JSONFormatter(logging.Formatter):
    """Time, level, event and the fields given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _KNOWN}
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = type(record.exc_info[1]).__name__
            line["at"] = [
                f"{frame.name}:{frame.lineno}"
                for frame in traceback.extract_tb(record.exc_info[2])[-8:]
            ]
        return json.dumps(line, default=str)


def set_up() -> None:
    """Send everything from level INFO to stderr, one object per line."""
    to_stderr = logging.StreamHandler(sys.stderr)
    to_stderr.setFormatter(JSONFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[to_stderr], force=True)
    # These speak of each request, or of their own start-up.
    for name in ("uvicorn.access", "uvicorn.error", "alembic", "sqlalchemy", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
