"""What the milter uses of the key service for mail that goes out, and about mail that came in.

As `KeyServiceClient`: nothing here raises or takes longer than its deadline.
"""

from typing import TypeVar
from urllib.parse import quote

import msgspec

from keyservice.mailbox import Mailbox
from keyservice.peer_wire import PeerAnswer, PeerOutcome, Use
from keyservice.report_wire import REPORT_OCTETS_MAX, Report, Reported
from keyservice.transport import Endpoint, TransportError, exchange

DEADLINE = 8.0
"""Seconds: others are asked for up to five of them, and then there is vetting to do."""

_Record = TypeVar("_Record", bound=msgspec.Struct)


class PeerClient:
    """Any thread may call it."""

    def __init__(self, service: str, deadline: float = DEADLINE) -> None:
        """Use the key service at `service`. Raises ValueError if that is malformed."""
        self._endpoint = Endpoint.parse(service)
        self._deadline = deadline

    def lookup(self, mailbox: Mailbox) -> PeerAnswer:
        """Return which certificate mail to `mailbox` may be encrypted to; it may ask others."""
        return self._answer("GET", mailbox, "")

    def discover(self, mailbox: Mailbox) -> PeerAnswer:
        """Have others asked about `mailbox` now, whatever is stored."""
        return self._answer("POST", mailbox, "/discover")

    def used(self, mailbox: Mailbox, use: Use) -> PeerAnswer:
        """Note what was done with the certificate of `mailbox`."""
        return self._answer("POST", mailbox, "/used", msgspec.json.encode(use))

    def report(self, report: Report) -> Reported | None:
        """Tell what a message that came in is evidence of; None: it was not heard.

        That is no reason to keep the message waiting.
        """
        body = msgspec.json.encode(report)
        if len(body) > REPORT_OCTETS_MAX:
            return None
        try:
            return self._ask("POST", "/v1/sightings", body, Reported)
        except TransportError:
            return None

    def _answer(self, method: str, mailbox: Mailbox, what: str, body: bytes = b"") -> PeerAnswer:
        # As it was written: some directories match case themselves.
        target = f"/v1/peers/{quote(str(mailbox), safe='@')}{what}"
        try:
            answer = self._ask(method, target, body, PeerAnswer)
            _require_believable(answer, mailbox)
        except TransportError as error:
            reason = f"key service: {error}"
            return PeerAnswer(mailbox=mailbox.key, outcome=PeerOutcome.UNAVAILABLE, reason=reason)
        return answer

    def _ask(self, method: str, target: str, body: bytes, record: type[_Record]) -> _Record:
        reply = exchange(self._endpoint, method, target, body, deadline=self._deadline)
        if reply.status != 200:
            raise TransportError(f"status {reply.status}")
        try:
            return msgspec.json.decode(reply.body, type=record)
        except msgspec.MsgspecError:
            raise TransportError("answer not understood") from None


def _require_believable(answer: PeerAnswer, mailbox: Mailbox) -> None:
    if answer.mailbox != mailbox.key:
        raise TransportError("answer about something else")
    if answer.outcome is PeerOutcome.FOUND and not answer.subkeys:
        raise TransportError("found, but nothing to encrypt to")
