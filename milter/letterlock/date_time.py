"""The date-time of RFC 5322 §3.3: understood strictly, or not at all."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_DATE_TIME = re.compile(
    rb"(?:[A-Z][a-z]{2}[ \t]*,[ \t]*)?\d{1,2}[ \t]+[A-Z][a-z]{2}[ \t]+[1-9]\d{3}[ \t]+"
    rb"\d\d:\d\d(?::\d\d)?[ \t]+(?:[+-]\d{4}|UT|GMT|[ECMP][SD]T)(?:[ \t]+\([ -~]*\))?",
    re.IGNORECASE,
)
"""RFC 5322 §3.3, and the zones of §4.3 that mean something; in lines without folds."""


def parse(value: bytes) -> datetime | None:
    """Return the date-time in UTC that an unfolded field body is, None if it is none."""
    if not _DATE_TIME.fullmatch(value):
        return None
    try:
        then = parsedate_to_datetime(value.decode("ascii"))
        # A zone of -0000 says that `then` is UTC already (RFC 5322 §3.3).
        return then.replace(tzinfo=UTC) if then.tzinfo is None else then.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
