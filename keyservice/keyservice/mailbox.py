"""A mailbox: who mail is for (RFC 5321 §2.3.11). Parsing and comparison; no I/O."""

import re
from dataclasses import dataclass
from typing import Self

import idna

LOCAL_PART_OCTETS_MAX = 64
"""RFC 5321 §4.5.3.1.1."""

DOMAIN_OCTETS_MAX = 255
"""RFC 5321 §4.5.3.1.2."""

# Control characters and blanks never, whatever quoting would allow: such a
# local part cannot be written to a log, a Redis key or a header field unharmed.
# Surrogates stand for octets that are no UTF-8, and cannot be encoded again.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f<>\"\\,:;()\[\]\ud800-\udfff]")

_DOMAIN = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")


class InvalidMailbox(ValueError):
    """The text is not a mailbox we can serve; the message says why, without the text."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """`local_part` as written, `domain` in lower case as A-labels (RFC 5890 §2.3.2.1)."""

    local_part: str
    domain: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the mailbox that `text`, an addr-spec without angle brackets, names.

        Raises InvalidMailbox. Quoted local parts and address literals are refused.
        """
        local_part, at, domain = text.rpartition("@")
        if not at or not local_part or not domain:
            raise InvalidMailbox("no local part and domain")
        if _FORBIDDEN.search(text):
            raise InvalidMailbox("forbidden character")
        if "@" in local_part or len(local_part.encode()) > LOCAL_PART_OCTETS_MAX:
            raise InvalidMailbox("local part too long or quoted")
        return cls(local_part, _a_labels(domain))

    @property
    def key(self) -> str:
        """The form under which mailboxes are compared and stored.

        ASCII letters of the local part are mapped to lower case, as Postfix's
        delivery and WKD (draft-koch §3.1) do; other characters are left alone.
        """
        lowered = self.local_part.encode().lower().decode()
        return f"{lowered}@{self.domain}"

    def __str__(self) -> str:
        """Return the addr-spec."""
        return f"{self.local_part}@{self.domain}"


def _a_labels(domain: str) -> str:
    # Postfix delivers for "example.org." as for "example.org": the same mailbox.
    domain = domain.removesuffix(".")
    try:
        # Not `uts46=True`: mapping is for people who type, not for what was received.
        encoded = idna.encode(domain.lower()).decode() if not domain.isascii() else domain.lower()
    except idna.IDNAError:
        raise InvalidMailbox("domain is not IDNA 2008") from None
    if len(encoded) > DOMAIN_OCTETS_MAX or not re.fullmatch(
        r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", encoded
    ):
        raise InvalidMailbox("domain malformed")
    return encoded
