"""What the rules about Postfix's settings find, and what they are told to look for."""

from dataclasses import dataclass
from enum import Enum

MAIN = "main.cf"


class Severity(Enum):
    """What a finding obliges the operator to."""

    BREACH = "breach"
    """Mail can be stored in plaintext, be disclosed, or be lost to its owner."""

    NOTE = "note"
    """Nothing that settings alone can tell to be wrong: to be looked at once."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One deviation."""

    where: str
    """`main.cf`, or the title of a service of master.cf."""

    line: str
    """The line to add there, or what to change."""

    reason: str
    severity: Severity = Severity.BREACH


@dataclass(frozen=True, slots=True)
class Expected:
    """How the operator's Letterlock is wired in."""

    milter: str = "letterlock"
    """Part of the milter's address in smtpd_milters that tells it from others."""

    submission: str = "letterlock/submission"
    """The same for its submission role."""

    reentry: str = "127.0.0.1:10027"
    """Service name of the re-entry port."""
