"""Handing a message to an SMTP server, octet for octet."""

import smtplib
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sent:
    """What the server said to a message it took."""

    queue_id: str
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Recipients that were refused at RCPT, while others were accepted."""


def send(
    address: tuple[str, int],
    message: bytes,
    recipients: Sequence[str],
    sender: str,
    options: Sequence[str] = (),
) -> Sent:
    """Send one message in a session of its own; raise SMTPResponseException if refused."""
    with smtplib.SMTP(*address, local_hostname="client.outside.test", timeout=120) as server:
        return transact(server, message, recipients, sender, options)


def transact(
    server: smtplib.SMTP,
    message: bytes,
    recipients: Sequence[str],
    sender: str,
    options: Sequence[str] = (),
) -> Sent:
    """Send one message in an open session; raise SMTPResponseException if refused."""
    server.ehlo_or_helo_if_needed()
    _require(250, server.mail(sender, options))
    replies = {recipient: server.rcpt(recipient) for recipient in recipients}
    refused = {r: (code, text.decode()) for r, (code, text) in replies.items() if code != 250}
    if len(refused) == len(recipients):
        server.rset()
        raise smtplib.SMTPResponseException(*refused[recipients[0]])
    text = _require(250, server.data(message))
    # Postfix ends its reply with the queue ID.
    return Sent(text.rpartition(" ")[2], refused)


def _require(expected: int, reply: tuple[int, bytes]) -> str:
    code, text = reply
    if code != expected:
        raise smtplib.SMTPResponseException(code, text.decode(errors="replace"))
    return text.decode(errors="replace")
