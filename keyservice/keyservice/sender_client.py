"""What the milter asks the key service about mailboxes of ours that send.

As `KeyServiceClient`: nothing here raises or takes longer than its deadline.
"""

import time
from collections.abc import Callable
from urllib.parse import quote

import msgspec

from keyservice.mailbox import Mailbox
from keyservice.recent import Recent
from keyservice.sender_wire import SENDER_HELD_MAX, Sender, Submitted, Taken
from keyservice.transport import Endpoint, TransportError, ask

HELD_MAX = 10_000
"""Mailboxes; one takes about two kilobytes."""


class SenderClient:
    """Any thread may call it."""

    def __init__(
        self,
        service: str,
        deadline: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Use the key service at `service`. Raises ValueError if that is malformed."""
        self._endpoint = Endpoint.parse(service)
        self._deadline = deadline
        self._clock = clock
        self._held: Recent[Sender] = Recent(HELD_MAX)

    def sender(self, mailbox: Mailbox, *, anew: bool = False) -> Sender | None:
        """Return what is known about `mailbox`, as it was SENDER_HELD_MAX seconds ago or later.

        None: nobody could say, and mail from it has to be deferred. `anew`: as it is now.
        """
        asked_at = self._clock()
        if not anew and (held := self._held.get(mailbox.key, asked_at)) is not None:
            return held
        try:
            found = ask(self._endpoint, "GET", _path(mailbox), Sender, deadline=self._deadline)
        except TransportError:
            return None
        if found.mailbox != mailbox.key:
            return None
        self._held.put(mailbox.key, found, asked_at + SENDER_HELD_MAX)
        return found

    def autocrypt(self, mailbox: Mailbox, submitted: Submitted) -> Taken | None:
        """Tell what the client of `mailbox`, authenticated, wrote; None: it was not heard.

        That is no reason to keep the message waiting.
        """
        target, body = f"{_path(mailbox)}/autocrypt", msgspec.json.encode(submitted)
        try:
            taken = ask(self._endpoint, "POST", target, Taken, body, deadline=self._deadline)
        except TransportError:
            return None
        self._held.forget(mailbox.key)
        return taken


def _path(mailbox: Mailbox) -> str:
    return f"/v1/senders/{quote(mailbox.key, safe='@')}"
