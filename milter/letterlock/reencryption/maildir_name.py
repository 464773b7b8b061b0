"""Names of files in a Maildir: `stem,S=octets,W=octets with CRLF:2,flags`.

Stem and extras are the base file name, by which Dovecot knows a message; S and W spare
it a look into the file, and it repairs a wrong one by giving the message another UID.
"""

from dataclasses import dataclass, replace
from typing import Self

_SIZES = ("S=", "W=")


@dataclass(frozen=True, slots=True)
class MaildirName:
    """One name, in its parts."""

    stem: str
    extras: tuple[str, ...] = ()
    info: str = ""
    """From the colon on."""

    @classmethod
    def parse(cls, name: str) -> Self:
        """Return its parts. Every name has them."""
        base, colon, info = name.partition(":")
        stem, *extras = base.split(",")
        return cls(stem, tuple(extras), colon + info)

    @property
    def base(self) -> str:
        """What does not change with the flags."""
        return ",".join((self.stem, *self.extras))

    def sized(self, octets: bytes) -> Self:
        """Return the name for other content."""
        lone = octets.count(b"\n") - octets.count(b"\r\n")
        others = tuple(extra for extra in self.extras if not extra.startswith(_SIZES))
        sizes = (f"S={len(octets)}", f"W={len(octets) + lone}")
        return replace(self, extras=(*others, *sizes))

    def distinct(self, token: str) -> Self:
        """Return a name that no other message has."""
        return replace(self, extras=(*self.extras, f"L={token}"))

    def __str__(self) -> str:
        """Return the name."""
        return self.base + self.info
