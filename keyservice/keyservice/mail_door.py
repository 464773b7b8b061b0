"""Handing a mail to the Postfix of this host by SMTP. The only SMTP of the key service.

It is inbound mail like any other: the milter there encrypts it to its recipient.
"""

import smtplib
from contextlib import suppress
from typing import Self

from keyservice.mailbox import Mailbox

_TIMEOUT = 30.0
"""Seconds for each reply. Behind one of them are the milter and its lookups."""


class DoorClosed(Exception):
    """Postfix is not there, or not ready for anybody: try again later."""


class Deferred(Exception):
    """Not now for this mailbox (4yz): it has no usable certificate, for one."""


class Refused(Exception):
    """Never for this mailbox (5yz)."""


class MailDoor:
    """One SMTP session, opened when it is needed; a context manager that ends it."""

    def __init__(self, host: str, port: int) -> None:
        """Go to `host`, which is this one."""
        self._address = (host, port)
        self._session: smtplib.SMTP | None = None

    def hand_over(self, mail: bytes, mailbox: Mailbox) -> None:
        """Return when Postfix has taken `mail` upon itself.

        Raises DoorClosed, Deferred, Refused.
        """
        try:
            self._transact(mail, mailbox)
        except (smtplib.SMTPException, OSError) as error:
            self._end()
            raise DoorClosed(type(error).__name__) from None

    def _transact(self, mail: bytes, mailbox: Mailbox) -> None:
        session = self._open()
        session.rset()
        is_ascii = mailbox.key.isascii()
        if not is_ascii and not session.has_extn("smtputf8"):
            raise Refused("no SMTPUTF8")
        session.command_encoding = "ascii" if is_ascii else "utf-8"
        # The null reverse-path: a notice that bounces must cause no further mail (RFC 5321 §4.5.5).
        if not _is_taken(session.mail("", [] if is_ascii else ["SMTPUTF8", "BODY=8BITMIME"])[0]):
            # About us, not about the mailbox.
            raise smtplib.SMTPException
        self._require_taken(session.rcpt(mailbox.key)[0])
        self._require_taken(session.data(mail)[0])

    def _open(self) -> smtplib.SMTP:
        if self._session is None:
            # A name is given, because smtplib would ask the DNS for ours.
            self._session = smtplib.SMTP(
                *self._address, local_hostname="localhost", timeout=_TIMEOUT
            )
        self._session.ehlo_or_helo_if_needed()
        return self._session

    def _require_taken(self, code: int) -> None:
        if _is_taken(code):
            return
        if 500 <= code < 600:
            raise Refused(str(code))
        # RFC 5321 §3.8: with 421 the server goes. Less than 400 is no reply to this.
        if code == 421 or not 400 <= code < 500:
            raise smtplib.SMTPException
        raise Deferred(str(code))

    def _end(self) -> None:
        if self._session is not None:
            with suppress(smtplib.SMTPException, OSError):
                self._session.quit()
            self._session.close()
        self._session = None

    def __enter__(self) -> Self:
        """Connect to nothing yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the session."""
        self._end()


def _is_taken(code: int) -> bool:
    return 200 <= code < 300
