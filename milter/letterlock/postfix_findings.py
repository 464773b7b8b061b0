"""What `letterlock doctor` finds, and what its rules about Postfix's settings look for."""

from dataclasses import dataclass
from enum import Enum

MAIN = "main.cf"


class Severity(Enum):
    """What a finding obliges the operator to."""

    BREACH = "breach"
    """Mail can be stored in plaintext, be disclosed, or be lost to its owner."""

    FAULT = "fault"
    """Something does not work, or somebody can get at it: mail waits, or could be made to."""

    NOTE = "note"
    """Nothing that can be told from here to be wrong: to be looked at once."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One deviation."""

    where: str
    """`main.cf`, the title of a service of master.cf, or what of this host it is about."""

    line: str
    """The line to add there, or what to do."""

    reason: str
    """Why it matters."""

    severity: Severity = Severity.BREACH
    what: str = ""
    """What is the case, where the line alone does not say so."""


@dataclass(frozen=True, slots=True)
class Expected:
    """How the operator's Letterlock is wired in."""

    milter: str = "letterlock"
    """Part of the milter's address in smtpd_milters that tells it from others."""

    submission: str = "letterlock/submission"
    """The same for its submission role."""

    reentry: str = "127.0.0.1:10027"
    """Service name of the re-entry port."""
