"""Structured log lines: JSON on standard error, one per outcome. docs/logging.md has all events.

Never in a line: subject, body, header fields of a message, addresses of the peer's mail,
key material. An exception that was not foreseen is named by its type and the place it was
raised at; its text could quote the message.
"""

import logging
import os
import time
import traceback
from contextlib import suppress
from datetime import UTC, datetime

import msgspec

_STDERR = 2
_KNOWN = frozenset(vars(logging.makeLogRecord({})))
_PRIORITIES = {"info": b"<6>", "warning": b"<4>", "error": b"<3>"}
"""sd-daemon(3)."""

_priorities: dict[str, bytes] = {}


class _JSONLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        fields = {name: value for name, value in vars(record).items() if name not in _KNOWN}
        # What we use of the key service has events of its own.
        if not record.name.startswith("keyservice"):
            fields |= {"logger": record.name, "detail": text}
            text = "library"
        return _line(record.created, record.levelname.lower(), text, fields).decode()


def set_up() -> None:
    """Send to standard error what libraries log, in the form of our own lines."""
    # systemd.exec(5): device and inode of the journal's stream, lest it was redirected since.
    found = os.fstat(_STDERR)
    if os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}":
        _priorities.update(_PRIORITIES)
    output = logging.StreamHandler()
    output.setFormatter(_JSONLines())
    logging.basicConfig(level=logging.INFO, handlers=[output], force=True)


def outcome(event: str, **fields: object) -> None:
    """Log one line."""
    _write("info", event, fields)


def failure(event: str, **fields: object) -> None:
    """Log one line that the operator should look at."""
    _write("error", event, fields)


def _write(level: str, event: str, fields: dict[str, object]) -> None:
    # Not by way of `logging`: it looks for the caller and makes up thread objects for
    # libmilter's threads, at five times the price of the line.
    octets = _line(time.time(), level, event, fields) + b"\n"
    # A full disk under the log must not decide about mail.
    with suppress(OSError):
        os.write(_STDERR, octets)


def _line(when: float, level: str, event: str, fields: dict[str, object]) -> bytes:
    line = {
        "time": datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds"),
        "level": level,
        "pid": os.getpid(),
        "event": event,
        **fields,
    }
    return _priorities.get(level, b"") + msgspec.json.encode(line)


def place_of(error: BaseException) -> dict[str, str]:
    """Return type and origin of an unforeseen exception, without its text."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    where = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames]
    return {"exception": type(error).__name__, "at": " ".join(where)}
