"""Mail stores keep LF where SMTP had CRLF. What is encrypted has CRLF (RFC 3156 §4)."""

import re
from dataclasses import dataclass
from typing import Self

from letterlock.header_protection import NOTHING_RECORDED, Recorded
from letterlock.message import CRLF
from letterlock.restore import STORED_WITH_LF

_FIRST_IN_LF = re.compile(rb"[^\n]*(?<!\r)\n")


@dataclass(frozen=True, slots=True)
class Arrived:
    """A stored message as SMTP may have brought it."""

    octets: bytes
    """With CRLF, if the stored ones can be had back from that; else as they are stored."""

    recorded: Recorded
    """What must be known to have them back."""

    is_uniform: bool
    """Whether each CR and each LF is part of a CRLF in `octets`."""

    _in_lf: bool

    @classmethod
    def of(cls, stored: bytes) -> Self:
        """Return what `stored` was."""
        in_lf = _FIRST_IN_LF.match(stored) is not None
        if b"\r" not in stored and b"\n" in stored:
            return cls(stored.replace(b"\n", CRLF), Recorded(STORED_WITH_LF), True, in_lf)
        pairs = stored.count(CRLF)
        is_uniform = pairs == stored.count(b"\n") == stored.count(b"\r")
        return cls(stored, NOTHING_RECORDED, is_uniform, in_lf)

    def as_stored(self, made: bytes) -> bytes:
        """Return a message of ours, which has CRLF, with the line ends of this store."""
        return made.replace(CRLF, b"\n") if self._in_lf else made
