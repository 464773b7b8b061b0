"""Who is at the other end of an SMTP session, as Postfix tells it to a milter."""

from dataclasses import dataclass


@dataclass(slots=True)
class SMTPClient:
    """Filled in as the session goes on; what was not said is empty."""

    address: str = ""
    """IPv4 or IPv6 in text form."""

    name: str = ""
    """What the address resolves to and back (RFC 8601 §2.7.3, iprev); empty: nothing."""

    helo: str = ""
    """The domain or address literal in EHLO or HELO (RFC 5321 §4.1.1.1)."""

    login: str = ""
    """SASL login name ({auth_authen}); Postfix tells only what it has authenticated."""

    certificate_subject: str = ""
    """Common name of the client certificate; Postfix tells it for verified chains only."""

    certificate_issuer: str = ""
    """Common name of its issuer, likewise."""
