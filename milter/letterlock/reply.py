"""The few SMTP replies that Letterlock ever sends.

The peer reads these and nothing else: no host name, no path, no reason that would tell
a stranger how the provider is set up (beyond what he must know to act). The log has the reason.
"""

from dataclasses import dataclass


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
