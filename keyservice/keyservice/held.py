"""Answers kept in this process while somebody (`tracking`) hears of every change to them."""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable

from keyservice.record import CLOCK_TOLERANCE
from keyservice.wire import Answer

HELD_MAX = 50_000


class Question:
    """One reading of a record: under way, or what came of it."""

    __slots__ = ("answer", "key", "name")

    def __init__(self, name: bytes, key: str) -> None:
        """`name` is the record's, `key` its mailbox's."""
        self.name = name
        self.key = key
        self.answer: Answer | None = None


class HeldAnswers:
    """Any thread may call it, and `get` takes no lock.

    `moment` and `until` are of `time.monotonic`, `now` is in seconds since 1970.
    """

    def __init__(self, entries_max: int = HELD_MAX) -> None:
        """Hold nothing until `renew` is called."""
        self._entries_max = entries_max
        self._lock = threading.Lock()
        self._good_until = 0.0
        self._held: OrderedDict[str, Question] = OrderedDict()
        # By the name of the record, those included that are not answered yet.
        self._questions: dict[bytes, Question] = {}

    def __len__(self) -> int:
        """Return how many answers are held."""
        return len(self._held)

    def get(self, key: str, moment: float, now: float) -> Answer | None:
        """Return the answer about the mailbox with `key` if it is held and speaks for `now`."""
        if moment >= self._good_until:
            return None
        question = self._held.get(key)
        if question is None or (answer := question.answer) is None:
            return None
        # A clock that was set back must not lengthen an answer's life (`require_current`).
        return answer if answer.issued_at - CLOCK_TOLERANCE <= now < answer.expires_at else None

    def ask(self, name: str, key: str) -> Question | None:
        """Announce that the record `name` will be read now; None if its changes are not heard."""
        question = Question(name.encode(), key)
        with self._lock:
            if time.monotonic() >= self._good_until:
                return None
            self._questions[question.name] = question
        return question

    def keep(self, question: Question | None, answer: Answer | None) -> None:
        """Hold what was read, None for nothing, unless the record changed since `ask`.

        The record and the news of its removal come on two connections: whichever is taken
        notice of first, nothing that was removed may stay.
        """
        if question is None:
            return
        with self._lock:
            if self._questions.get(question.name) is not question:
                return
            self._held.pop(question.key, None)
            if answer is None:
                del self._questions[question.name]
                return
            question.answer = answer
            self._held[question.key] = question
            if len(self._held) > self._entries_max:
                _, oldest = self._held.popitem(last=False)
                if self._questions.get(oldest.name) is oldest:
                    del self._questions[oldest.name]

    def forget(self, names: Iterable[bytes] | None) -> None:
        """These records changed, or for None: any record may have."""
        with self._lock:
            if names is None:
                self._questions.clear()
                self._held.clear()
                return
            for name in names:
                if (question := self._questions.pop(name, None)) is not None:
                    self._held.pop(question.key, None)

    def renew(self, until: float) -> None:
        """Changes are heard; what is held may be used before `until`."""
        with self._lock:
            self._good_until = until

    def lose(self) -> None:
        """Changes are not heard any more."""
        with self._lock:
            self._good_until = 0.0
        self.forget(None)
