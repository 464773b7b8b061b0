"""Structured log lines: JSON on standard error, one per outcome.

Never in a line: subject, body, header fields of a message, addresses of the peer's mail,
key material. An exception that was not foreseen is named by its type and the place it was
raised at; its text could quote the message.
"""

import logging
import traceback
from datetime import UTC, datetime

import msgspec

_log = logging.getLogger("letterlock")


class _JSONLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "pid": record.process,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        return msgspec.json.encode(line).decode()


def set_up() -> None:
    """Send every log line of this process to standard error."""
    output = logging.StreamHandler()
    output.setFormatter(_JSONLines())
    logging.basicConfig(level=logging.INFO, handlers=[output], force=True)


def outcome(event: str, **fields: object) -> None:
    """Log one line."""
    _log.info(event, extra={"fields": fields})


def failure(event: str, **fields: object) -> None:
    """Log one line that the operator should look at."""
    _log.error(event, extra={"fields": fields})


def place_of(error: BaseException) -> dict[str, str]:
    """Return type and origin of an unforeseen exception, without its text."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    where = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames]
    return {"exception": type(error).__name__, "at": " ".join(where)}
