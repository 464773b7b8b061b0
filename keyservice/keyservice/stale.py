"""The last certificates this process saw, for the time when nobody else can be asked."""

import threading
from collections import OrderedDict

import msgspec

from keyservice.mailbox import Mailbox
from keyservice.wire import Answer, Outcome

_NEVER: tuple[float, Answer | None] = (0.0, None)


class StaleAnswers:
    """Bounded memory of FOUND answers. Any thread may call it.

    Only FOUND: to go on encrypting to a certificate of an hour ago is safe, to go on
    passing plaintext or rejecting on a word of an hour ago is not.
    """

    def __init__(self, stale_for: float, entries_max: int) -> None:
        """Forget answers `stale_for` seconds after they were last confirmed."""
        self._stale_for = stale_for
        self._entries_max = entries_max
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, tuple[float, Answer]] = OrderedDict()

    def remember(self, mailbox: Mailbox, answer: Answer, now: float) -> None:
        """Note what was answered at `now`; anything but FOUND wipes the memory of `mailbox`."""
        key = mailbox.key
        seen, known = self._seen.get(key, _NEVER)
        # The same again within a second, as most often: exact enough, and needs no lock.
        if (known is answer and seen < now < seen + 1) or (
            known is None and answer.outcome is not Outcome.FOUND
        ):
            return
        with self._lock:
            self._seen.pop(key, None)
            if answer.outcome is Outcome.FOUND:
                self._seen[key] = (now, answer)
            if len(self._seen) > self._entries_max:
                self._seen.popitem(last=False)

    def recall(self, mailbox: Mailbox, now: float) -> Answer | None:
        """Return the answer with the subkeys that are still alive at `now`, or None."""
        with self._lock:
            seen, answer = self._seen.get(mailbox.key, (0.0, None))
        # A clock that was set back must not make the past last longer.
        if answer is None or not seen <= now < seen + self._stale_for:
            return None
        alive = tuple(s for s in answer.subkeys if s.not_after is None or now < s.not_after)
        return msgspec.structs.replace(answer, subkeys=alive) if alive else None
