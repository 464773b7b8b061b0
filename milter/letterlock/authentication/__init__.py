"""What is known about a message when it arrives: who signed it, who forwarded it, who sent it.

DKIM (RFC 6376), ARC (RFC 8617) and SPF (RFC 7208) are checked, or taken from a filter before us,
and written down as an Authentication-Results field (RFC 8601).
"""

from letterlock.authentication.authenticator import Authenticator, Findings, Inquiry
from letterlock.authentication.forged import forged_fields

__all__ = ["Authenticator", "Findings", "Inquiry", "forged_fields"]
