"""What is worth saying once in a while, and not with every mail."""

import threading
from collections.abc import Callable, Hashable


class Seldom:
    """Remembers what was said lately. Any thread may call it."""

    def __init__(self, seconds: float, entries_max: int, clock: Callable[[], float]) -> None:
        """Of more than `entries_max` the oldest are forgotten. `clock`: seconds, monotonic."""
        self._seconds = seconds
        self._entries_max = entries_max
        self._clock = clock
        self._lock = threading.Lock()
        self._said: dict[Hashable, float] = {}
        """When; oldest first."""

    def is_due(self, what: Hashable) -> bool:
        """Whether `what` has not been said for so many seconds; from now on it has."""
        now = self._clock()
        with self._lock:
            before = self._said.get(what)
            if before is not None and now < before + self._seconds:
                return False
            self._said.pop(what, None)
            if len(self._said) >= self._entries_max:
                del self._said[next(iter(self._said))]
            self._said[what] = now
        return True
