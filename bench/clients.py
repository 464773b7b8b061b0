"""The load: sessions with a message each, several at a time, from mail programs of our own.

Unlike smtp-source(1) they log in, and no two messages need be the same. What they cost is not
counted.
"""

import smtplib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from stack import smtp

_TIMEOUT_SECONDS = 300
_HOST = "laptop.home.test"


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who writes to whom, and how he is known to be the one."""

    reverse_path: str
    recipients: tuple[str, ...]
    password: str = ""
    """Of the login of the same name; empty: nobody logs in."""

    client: tuple[str, str] | None = None
    """Name and address of another host whose connection it shall be (XCLIENT)."""


def send(port: int, envelope: Envelope, messages: Sequence[bytes], sessions: int) -> float:
    """Send `messages`; return the seconds it took.

    Raises smtplib.SMTPException at the first reply that is not the expected one.
    """
    began = time.perf_counter()
    with ThreadPoolExecutor(sessions) as threads:
        for _ in threads.map(lambda message: _send(port, envelope, message), messages):
            pass
    return time.perf_counter() - began


def _send(port: int, envelope: Envelope, message: bytes) -> None:
    with smtplib.SMTP("127.0.0.1", port, _HOST, timeout=_TIMEOUT_SECONDS) as server:
        if envelope.client is not None:
            _become(server, *envelope.client)
        if envelope.password:
            server.login(envelope.reverse_path, envelope.password)
        recipients = list(envelope.recipients)
        sent = smtp.transact(server, message, recipients, envelope.reverse_path)
    if sent.refused:
        raise smtplib.SMTPRecipientsRefused(dict(sent.refused))


def _become(server: smtplib.SMTP, name: str, address: str) -> None:
    # Everything begins anew after it, and the name is the one of HELO, too.
    code, text = server.docmd("XCLIENT", f"NAME={name} ADDR={address} HELO={name}")
    if code != 220:
        raise smtplib.SMTPResponseException(code, text)
    server.ehlo(name)
