"""What is asked of the DNS about one message, and for how long."""

import time
from typing import Literal, Protocol, Self

QUESTIONS_MAX = 150
"""For one message. SPF alone may need 111 (RFC 7208 §4.6.4), honestly it needs five."""


class DnsUnavailable(Exception):
    """There is no answer now; there may be one later. Its text is nothing that a peer wrote."""


class Deadline:
    """How long, and how often, the DNS may be asked about one message."""

    def __init__(self, until: float, questions: int) -> None:
        """`until` is of `time.monotonic`. To be used by one thread."""
        self._until = until
        self._questions = questions

    @classmethod
    def after(cls, seconds: float, questions: int = QUESTIONS_MAX) -> Self:
        """Return the deadline that passes after so many seconds, or so many questions."""
        return cls(time.monotonic() + seconds, questions)

    @property
    def seconds(self) -> float:
        """How many are left; never less than none."""
        return max(0.0, self._until - time.monotonic())

    def spend(self) -> None:
        """Count one question; raises DnsUnavailable if it is one too many or too late."""
        self._questions -= 1
        if self._questions < 0:
            raise DnsUnavailable("too many questions")
        if not self.seconds:
            raise DnsUnavailable("the deadline has passed")


class Questions(Protocol):
    """What the checks of one message ask.

    A name is text with dots, with or without one at its end. Where there is no such record, no
    such name, or where it cannot be a name of the DNS at all, nothing is returned. Raises
    DnsUnavailable.
    """

    def txt(self, name: str, deadline: Deadline) -> tuple[bytes, ...]:
        """Return each record's strings, joined (RFC 6376 §3.6.2.2, RFC 7208 §3.3)."""
        ...

    def addresses(self, name: str, version: Literal[4, 6], deadline: Deadline) -> tuple[str, ...]:
        """Return the IPv4 or the IPv6 addresses."""
        ...

    def mx(self, name: str, deadline: Deadline) -> tuple[tuple[int, str], ...]:
        """Return preferences and hosts."""
        ...

    def ptr(self, name: str, deadline: Deadline) -> tuple[str, ...]:
        """Return the names that a name under `arpa` points to."""
        ...
