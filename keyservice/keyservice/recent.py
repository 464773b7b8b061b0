"""Records kept in this process for seconds, so that the same is not asked twice."""

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

_Record = TypeVar("_Record")


class Recent(Generic[_Record]):
    """Bounded; any thread may call it. `now` and `until` are of one clock."""

    def __init__(self, entries_max: int) -> None:
        """Keep no more than `entries_max`; the oldest go first."""
        self._entries_max = entries_max
        self._lock = threading.Lock()
        self._kept: OrderedDict[object, tuple[float, _Record]] = OrderedDict()

    def get(self, key: object, now: float) -> _Record | None:
        """Return the record of `key` if it may still be used at `now`."""
        with self._lock:
            until, record = self._kept.get(key, (now, None))
        return record if now < until else None

    def put(self, key: object, record: _Record, until: float) -> None:
        """Keep `record` in place of what `key` had; it may be used before `until`."""
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = (until, record)
            if len(self._kept) > self._entries_max:
                self._kept.popitem(last=False)

    def forget(self, key: object) -> None:
        """Keep nothing for `key`."""
        with self._lock:
            self._kept.pop(key, None)
