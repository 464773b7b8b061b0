"""What the DNS said lately, for as long as it said that this holds."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

Records = tuple[Any, ...]
"""Of one type, so that the type of the question is that of the answer."""

_ENTRIES_MAX = 4096
_WEIGHT_MAX = 4096
"""Octets, roughly. Who writes longer records makes us ask for them again and again."""

_SECONDS_MAX = 3600.0
_NEGATIVE_SECONDS_MAX = 300.0
"""Whoever finds that his record is missing adds it, and tries at once (RFC 2308 §5)."""


class DnsCache:
    """Any thread may call it. Bounded: what was not used for longest goes first."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` counts seconds and is never set."""
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, tuple[float, Records]] = OrderedDict()

    def get(self, key: Hashable) -> Records | None:
        """Return the records, which may be none; None if there is nothing to say about `key`."""
        with self._lock:
            found = self._entries.get(key)
            if found is None:
                return None
            until, records = found
            if self._clock() >= until:
                del self._entries[key]
                return None
            self._entries.move_to_end(key)
            return records

    def put(self, key: Hashable, records: Records, seconds: float) -> None:
        """Remember `records` for `seconds` at most: their TTL, or the negative one."""
        seconds = min(seconds, _SECONDS_MAX if records else _NEGATIVE_SECONDS_MAX)
        if seconds <= 0 or len(repr(records)) > _WEIGHT_MAX:
            return
        with self._lock:
            self._entries[key] = self._clock() + seconds, records
            self._entries.move_to_end(key)
            if len(self._entries) > _ENTRIES_MAX:
                self._entries.popitem(last=False)
