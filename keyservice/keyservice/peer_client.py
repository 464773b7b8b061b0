"""What the milter uses of the key service for mail that goes out, and about mail that came in.

As `KeyServiceClient`: nothing here raises or takes longer than its deadline.
"""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import msgspec

from keyservice.mailbox import Mailbox
from keyservice.peer_wire import PeerAnswer, PeerOutcome, Use
from keyservice.recent import Recent
from keyservice.report_wire import REPORT_OCTETS_MAX, Report, Reported
from keyservice.transport import Endpoint, TransportError, ask

DEADLINE = 8.0
"""Seconds: others are asked for up to five of them, and then there is vetting to do."""

FOUND_HELD_MAX = 30.0
"""Seconds for which a certificate is held in memory, if its answer lives so long.

Nothing else is: mail must not leave in the clear for a word of half a minute ago.
"""

_HELD_MAX = 10_000
_THREADS_MAX = 8
"""For one message, so that a mail to many leaves the key service to others, too."""


class PeerClient:
    """Any thread may call it."""

    def __init__(
        self, service: str, deadline: float = DEADLINE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Use the key service at `service`. Raises ValueError if that is malformed."""
        self._endpoint = Endpoint.parse(service)
        self._deadline = deadline
        self._clock = clock
        self._held: Recent[PeerAnswer] = Recent(_HELD_MAX)

    def lookup(self, mailbox: Mailbox) -> PeerAnswer:
        """Return which certificate mail to `mailbox` may be encrypted to; it may ask others."""
        return self._recall(mailbox) or self._get(mailbox, self._clock() + self._deadline)

    def lookup_all(self, mailboxes: Iterable[Mailbox], seconds: float) -> dict[Mailbox, PeerAnswer]:
        """Return the answer about each of `mailboxes`, all within `seconds`.

        What did not arrive by then is UNREACHABLE.
        """
        until = self._clock() + seconds
        answers = {mailbox: self._recall(mailbox) for mailbox in mailboxes}
        wanted = [mailbox for mailbox, answer in answers.items() if answer is None]
        if len(wanted) > 1:
            with ThreadPoolExecutor(min(len(wanted), _THREADS_MAX), "peers") as threads:
                found = list(threads.map(lambda mailbox: self._get(mailbox, until), wanted))
        else:
            found = [self._get(mailbox, until) for mailbox in wanted]
        arrived = dict(zip(wanted, found, strict=True))
        return {mailbox: held or arrived[mailbox] for mailbox, held in answers.items()}

    def discover(self, mailbox: Mailbox) -> PeerAnswer:
        """Have others asked about `mailbox` now, whatever is stored."""
        return self._ask("POST", mailbox, "/discover", self._clock() + self._deadline)

    def used(self, mailbox: Mailbox, use: Use) -> PeerAnswer:
        """Note what was done with the certificate of `mailbox`."""
        until, body = self._clock() + self._deadline, msgspec.json.encode(use)
        return self._ask("POST", mailbox, "/used", until, body)

    def report(self, report: Report) -> Reported | None:
        """Tell what a message that came in is evidence of; None: it was not heard.

        That is no reason to keep the message waiting.
        """
        body = msgspec.json.encode(report)
        if len(body) > REPORT_OCTETS_MAX:
            return None
        try:
            return ask(
                self._endpoint, "POST", "/v1/sightings", Reported, body, deadline=self._deadline
            )
        except TransportError:
            return None

    def _recall(self, mailbox: Mailbox) -> PeerAnswer | None:
        return self._held.get(mailbox.key, self._clock())

    def _get(self, mailbox: Mailbox, until: float) -> PeerAnswer:
        return self._ask("GET", mailbox, "", until)

    def _ask(
        self, method: str, mailbox: Mailbox, what: str, until: float, body: bytes = b""
    ) -> PeerAnswer:
        # As it was written: some directories match case themselves.
        target = f"/v1/peers/{quote(str(mailbox), safe='@')}{what}"
        asked_at = self._clock()
        left = until - asked_at
        try:
            answer = ask(self._endpoint, method, target, PeerAnswer, body, deadline=left)
            _require_believable(answer, mailbox)
        except TransportError as error:
            reason = f"key service: {error}"
            return PeerAnswer(mailbox=mailbox.key, outcome=PeerOutcome.UNREACHABLE, reason=reason)
        self._hold(mailbox, answer, asked_at)
        return answer

    def _hold(self, mailbox: Mailbox, answer: PeerAnswer, asked_at: float) -> None:
        if answer.outcome is not PeerOutcome.FOUND:
            self._held.forget(mailbox.key)
            return
        # As a difference: whatever a clock is set to meanwhile, no answer lives longer.
        lifetime = min(FOUND_HELD_MAX, answer.expires_at - answer.issued_at)
        self._held.put(mailbox.key, answer, asked_at + lifetime)


def _require_believable(answer: PeerAnswer, mailbox: Mailbox) -> None:
    if answer.mailbox != mailbox.key or answer.outcome is PeerOutcome.UNREACHABLE:
        raise TransportError("answer about something else")
    if answer.outcome is PeerOutcome.FOUND and not answer.subkeys:
        raise TransportError("found, but nothing to encrypt to")
