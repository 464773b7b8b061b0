"""What the key service is told behind the mail's back.

It is worth less than a moment of anybody's mail: it waits in memory, and is dropped where too
much waits, where the key service does not hear it, or where the worker ends.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from letterlock import log

_OCTETS_MAX = 8 * 1_048_576
"""Of what waits. Anybody can send mail with large certificates."""

_PAUSE_MIN = 1.0
_PAUSE_MAX = 60.0
"""Seconds until a key service that did not hear is tried again, twice as long each time."""


class ReportResult(Enum):
    """What became of a report. Also the metric label."""

    NOTED = "noted"
    REFUSED = "refused"
    """It counts for nothing; the key service says why."""

    UNHEARD = "unheard"
    """The key service did not answer, or did not understand."""

    DROPPED = "dropped"
    """Too many waited."""


Tell = Callable[[], ReportResult]
"""Tells the key service one thing."""


class _Waiting(NamedTuple):
    tell: Tell
    octets: int


class Behind:
    """Any thread may call it. A thread does the telling, from the first word on."""

    def __init__(self, queue: int, observe: Callable[[ReportResult], None]) -> None:
        """At most `queue` things wait. `observe` is told what becomes of each."""
        self._limit = queue
        self._observe = observe
        self._waiting: deque[_Waiting] = deque()
        self._octets = 0
        self._is_telling = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._leaving = threading.Event()

    def offer(self, tell: Tell, octets: int = 0) -> None:
        """Have it told soon, or dropped. Waits for nothing, and never raises."""
        with self._changed:
            is_taken = len(self._waiting) < self._limit and self._octets + octets <= _OCTETS_MAX
            if is_taken:
                self._waiting.append(_Waiting(tell, octets))
                self._octets += octets
                self._changed.notify_all()
            self._start()
        if not is_taken:
            self._observe(ReportResult.DROPPED)

    def drain(self, seconds: float) -> None:
        """Return when nothing waits any more, or after `seconds`."""
        self._leaving.set()
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._is_telling, seconds)

    def _start(self) -> None:
        # Not before the first word: no thread survives a fork.
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="behind", daemon=True)
            # A host that is short of threads may have one later.
            with contextlib.suppress(RuntimeError):
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        pause = 0.0
        while True:
            result = _told(self._next())
            self._observe(result)
            with self._changed:
                self._is_telling = False
                self._changed.notify_all()
            # A key service that hangs holds each of them until its deadline. While it does,
            # the others may as well wait here.
            is_heard = result is not ReportResult.UNHEARD
            pause = 0.0 if is_heard else min(max(2 * pause, _PAUSE_MIN), _PAUSE_MAX)
            if pause:
                self._leaving.wait(pause)

    def _next(self) -> Tell:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            next_one = self._waiting.popleft()
            self._octets -= next_one.octets
            self._is_telling = True
            return next_one.tell


def _told(tell: Tell) -> ReportResult:
    try:
        return tell()
    except Exception as error:  # noqa: BLE001 (the thread must outlive any one message)
        log.failure("report_failed", **log.place_of(error))
        return ReportResult.UNHEARD
