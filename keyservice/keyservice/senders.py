"""What a milter is told about a mailbox that sends: from the database, which is the truth."""

import time
from collections.abc import Callable

from keyservice import store
from keyservice.answers import Answers
from keyservice.client_ca.store import issuers_in_force
from keyservice.database import Database
from keyservice.keydata import keydata
from keyservice.mailbox import Mailbox
from keyservice.sender_wire import Sender
from keyservice.settings import MailboxSettings
from keyservice.wire import Answer, Outcome


class Senders:
    """Any thread may call it."""

    def __init__(
        self,
        database: Database,
        answers: Answers,
        settings: MailboxSettings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """A certificate is usable for `copy_to_self` and Autocrypt where it is for `answers`."""
        self._database = database
        self._answers = answers
        self._settings = settings
        self._clock = clock

    def sender(self, mailbox: Mailbox) -> Sender:
        """Return what mail from `mailbox` is treated by."""
        now = self._clock()
        answer = self._answers.decide(mailbox)
        if answer.outcome is Outcome.OUTSIDE:
            return Sender(mailbox=mailbox.key, is_ours=False, issued_at=int(now))
        sender_policy = self._settings.show(mailbox).sender_policy
        is_found = answer.outcome is Outcome.FOUND
        with self._database.reading() as connection:
            stored = store.octets_of(connection, answer.fingerprint or "") if is_found else None
            issuers = issuers_in_force(connection, mailbox, now)
        return Sender(
            mailbox=mailbox.key,
            is_ours=True,
            policy=sender_policy,
            issuers=issuers,
            fingerprint=answer.fingerprint if is_found else None,
            subkeys=answer.subkeys,
            keydata=_keydata(stored, mailbox, answer, now),
            issued_at=int(now),
        )


def _keydata(stored: bytes | None, mailbox: Mailbox, answer: Answer, now: float) -> bytes | None:
    if stored is None:
        return None
    return keydata(stored, mailbox, {subkey.fingerprint for subkey in answer.subkeys}, now)
