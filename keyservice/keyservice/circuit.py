"""A circuit that stays open for a moment after a failure, so that a hang is paid for once."""

import time
from collections.abc import Callable


class Circuit:
    """Says whether a peer is worth asking. Any thread may call it."""

    def __init__(self, cooldown: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Skip the peer for `cooldown` seconds after each failure."""
        self._cooldown = cooldown
        self._clock = clock
        # One float, written whole: threads need no lock, the latest failure wins.
        self._closed_from = 0.0

    @property
    def is_closed(self) -> bool:
        """Whether the peer may be asked now."""
        return self._clock() >= self._closed_from

    def trip(self) -> None:
        """Note a failure."""
        self._closed_from = self._clock() + self._cooldown
