"""Answers that cost something, remembered for a minute."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

KEPT_SECONDS = 60.0
KEPT_MAX = 50_000

Answer = TypeVar("Answer")


class Kept(Generic[Answer]):
    """`ask`, whose answers are at most `KEPT_SECONDS` old. Any thread may call it."""

    def __init__(self, ask: Callable[[str], Answer], clock: Callable[[], float]) -> None:
        """`clock`: seconds, monotonic."""
        self._ask = ask
        self._clock = clock
        self._kept: dict[str, tuple[float, Answer]] = {}
        self._lock = threading.Lock()

    def __call__(self, question: str) -> Answer:
        """Return the answer; what `ask` raises is not remembered."""
        now = self._clock()
        kept = self._kept.get(question)
        if kept is not None and now < kept[0]:
            return kept[1]
        answer = self._ask(question)
        with self._lock:
            if len(self._kept) >= KEPT_MAX:
                self._kept.clear()
            self._kept[question] = (now + KEPT_SECONDS, answer)
        return answer
