"""The few SMTP replies that Letterlock ever sends.

The peer reads these and nothing else: no host name, no path, no reason that would tell
a stranger how the provider is set up (beyond what he must know to act). The log has the reason.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class SMTPReply:
    """A reply line (RFC 5321 §4.2) with its enhanced status code (RFC 3463 §2)."""

    code: int
    enhanced: str
    text: str


TRY_LATER = SMTPReply(451, "4.3.0", "Temporary system problem, try again later")
"""RFC 3463 §3.4: something of ours did not work; nothing was stored."""

# RFC 3463 §3.8, X.7.5: "necessary information such as key was not available".
# X.7.13, which one might think of, is a disabled account (RFC 5248 §2.4).
CERTIFICATE_NEEDED = SMTPReply(
    450, "4.7.5", "Mailbox has no usable certificate to encrypt your mail to yet, try again later"
)
CERTIFICATE_REQUIRED = SMTPReply(
    550,
    "5.7.5",
    "Mailbox takes encrypted mail only and its owner has not enrolled a certificate; "
    "ask the owner by other means",
)

BAD_MAILBOX = SMTPReply(553, "5.1.3", "Mailbox address is not one that can be served here")
"""RFC 3463 §3.2: quoted local parts, address literals and control characters."""

PEER_CERTIFICATE_SOUGHT = SMTPReply(
    451, "4.7.5", "Not all could be asked for the certificates this mail must be encrypted to"
)
PEER_CERTIFICATE_REQUIRED = SMTPReply(
    550, "5.7.5", "Mail from you must be encrypted, and no certificate is known for"
)
"""Followed by the mailboxes (`naming`)."""

_TEXT_OCTETS_MAX = 400
"""RFC 5321 §4.5.3.1.5 allows 512 for the complete line."""

_PLAIN_MAILBOX = re.compile(r"[A-Za-z0-9.+_=-]+@[A-Za-z0-9.-]+")


def naming(reply: SMTPReply, mailboxes: Sequence[str]) -> SMTPReply:
    """Return `reply` with as many of `mailboxes`, which the peer itself named, as fit."""
    text, left = reply.text, len(mailboxes)
    # libmilter takes a percent sign for one of its own, and a line end for its end.
    for mailbox in (m if _PLAIN_MAILBOX.fullmatch(m) else "a mailbox" for m in mailboxes):
        if len(text) + len(mailbox) > _TEXT_OCTETS_MAX:
            return replace(reply, text=f"{text} and {left} more")
        text += f"{',' if left < len(mailboxes) else ''} {mailbox}"
        left -= 1
    return replace(reply, text=text)
