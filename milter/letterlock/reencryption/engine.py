"""Through all of a store, as often as it takes until nothing is left to encrypt."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic

from letterlock.reencryption.encryption import Encryption, Left
from letterlock.reencryption.store import Done, Message, MessageFailed, Reference, Store

PASSES_MAX = 20
"""Mail may be moved to folders that we have left already."""


_NAP_SECONDS = 0.2


class Fate(Enum):
    """What became of a message."""

    ENCRYPTED = "encrypted"
    OURS = "encrypted before"
    PASSED = "left as it arrived"
    """It arrived encrypted, and the mailbox' policy is not to touch that."""

    GONE = "moved or removed meanwhile"
    FAILED = "failed"


@dataclass(slots=True)
class Summary:
    """What a run did, or would do."""

    fates: Counter[Fate] = field(default_factory=Counter)
    octets_before: int = 0
    octets_after: int = 0
    is_complete: bool = True
    """Whether it came to its end."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast, and until when."""

    per_second: float | None = None
    """Messages that are encrypted; None: as fast as it goes."""

    is_stopped: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True)
class Audience:
    """Who is told what happens."""

    progress: Callable[[Fate, int], None]
    """So many messages more have met their fate."""

    complain: Callable[[Reference, str], None]
    """A message failed, for this reason."""


class Engine(Generic[Message]):
    """One run."""

    def __init__(
        self,
        store: Store[Message],
        encryption: Encryption,
        audience: Audience,
        pace: Pace,
        *,
        is_dry: bool,
    ) -> None:
        """`is_dry`: nothing is changed."""
        self._store = store
        self._encryption = encryption
        self._audience = audience
        self._pace = pace
        self._is_dry = is_dry
        self._settled: set[Reference] = set()
        self._summary = Summary()

    def run(self) -> Summary:
        """Encrypt all that is stored. Raises NoCertificate, StoreFailed."""
        if not self._is_dry:
            self._decide(Fate.ENCRYPTED, self._store.recover())
        for _ in range(PASSES_MAX):
            before = self._changes()
            self._pass()
            if self._is_dry or not self._summary.is_complete or before == self._changes():
                break
        return self._summary

    def _pass(self) -> None:
        for folder in self._store.folders():
            for reference in self._store.references(folder):
                if self._pace.is_stopped():
                    self._summary.is_complete = False
                    break
                if reference not in self._settled:
                    self._treat(reference)
            self._note(self._store.settle())

    def _treat(self, reference: Reference) -> None:
        try:
            stored = self._store.read(reference)
            if stored is None:
                self._decide(Fate.GONE)
                return
            made = self._encryption.encrypt(stored.octets, stored.stored_at)
            if isinstance(made, Left):
                self._settled.add(reference)
                self._decide(Fate.OURS if made is Left.OURS else Fate.PASSED)
                return
            self._replace(stored, made.octets)
        except MessageFailed as error:
            self._settled.add(reference)
            self._audience.complain(reference, str(error))
            self._decide(Fate.FAILED)

    def _replace(self, stored: Message, octets: bytes) -> None:
        began = time.monotonic()
        if self._is_dry:
            self._decide(Fate.ENCRYPTED)
        else:
            self._note(self._store.replace(stored, octets))
        self._summary.octets_before += len(stored.octets)
        self._summary.octets_after += len(octets)
        if self._pace.per_second and not self._is_dry:
            self._wait_until(began + 1 / self._pace.per_second)

    def _wait_until(self, moment: float) -> None:
        while (left := moment - time.monotonic()) > 0 and not self._pace.is_stopped():
            time.sleep(min(left, _NAP_SECONDS))

    def _note(self, done: Done) -> None:
        self._settled.update(done.replaced)
        self._decide(Fate.ENCRYPTED, len(done.replaced))
        self._decide(Fate.GONE, done.gone)

    def _decide(self, fate: Fate, messages: int = 1) -> None:
        if messages:
            self._summary.fates[fate] += messages
            self._audience.progress(fate, messages)

    def _changes(self) -> int:
        return self._summary.fates[Fate.ENCRYPTED] + self._summary.fates[Fate.GONE]
