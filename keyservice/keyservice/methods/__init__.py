"""How certificates are looked for: one method a file, and what each may answer.

A method says what it saw and how much that is worth. It never judges a certificate
(vetting does) and never decides which one is used (`replacement` does).
"""

from enum import Enum
from typing import Protocol, assert_never

import msgspec

from keyservice.levels import Level, Source
from keyservice.mailbox import Mailbox


class Found(msgspec.Struct, frozen=True):
    """Octets that claim to be certificates of the mailbox."""

    octets: bytes
    """Binary or armored, as they came; one certificate or several."""

    level: Level
    detail: str
    """Where it was, for the operator: a URL or an owner name. Never octets."""


class NotFound(msgspec.Struct, frozen=True):
    """Whoever answers for the mailbox says, credibly, that there is none."""

    detail: str


class Unavailable(msgspec.Struct, frozen=True):
    """Nobody answered, or not before the deadline: trying again may help."""

    detail: str


class Rejected(msgspec.Struct, frozen=True):
    """There was an answer and it must not be used."""

    detail: str


Result = Found | NotFound | Unavailable | Rejected


class InquiryResult(Enum):
    """The same as a word. Also the metric label."""

    FOUND = "found"
    NOT_FOUND = "not_found"
    UNAVAILABLE = "unavailable"
    REJECTED = "rejected"


def in_a_word(result: Result) -> InquiryResult:
    """Return what became of an inquiry."""
    match result:
        case Found():
            return InquiryResult.FOUND
        case NotFound():
            return InquiryResult.NOT_FOUND
        case Unavailable():
            return InquiryResult.UNAVAILABLE
        case Rejected():
            return InquiryResult.REJECTED
        case _:
            assert_never(result)


class DiscoveryMethod(Protocol):
    """One way of looking for a certificate."""

    source: Source

    async def discover(self, mailbox: Mailbox) -> Result:
        """Look for certificates of `mailbox`. Cancelled at the deadline; raises nothing else."""
        ...
