"""Validity in whole months, so that a certificate does not tell when it was issued. Pure."""

from datetime import UTC, datetime


def first_day(now: float, months: int) -> datetime:
    """Return midnight UTC of the first day of the month that is `months` after that of `now`."""
    today = datetime.fromtimestamp(now, UTC)
    years, month = divmod(today.month - 1 + months, 12)
    return datetime(today.year + years, month + 1, 1, tzinfo=UTC)
