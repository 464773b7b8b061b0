"""A log line is one JSON object and holds only what we wrote."""

import json
import logging
import sys

from keyservice.log import JSONFormatter


def test_an_exceptions_text_is_not_logged() -> None:
    """It may hold octets of a certificate; type and place are enough."""
    try:
        int("CANARY")
    except ValueError:
        exc_info = sys.exc_info()
    record = logging.LogRecord("keyservice.x", logging.ERROR, "f", 1, "failed", None, exc_info)
    record.mailbox = "a\nb"

    line = JSONFormatter().format(record)

    assert "CANARY" not in line
    assert "\n" not in line
    fields = json.loads(line)
    assert ("failed", "ValueError", "a\nb") == (
        fields["event"],
        fields["exception"],
        fields["mailbox"],
    )
    assert fields["at"].startswith("test_log.py:")
