"""Vets certificates again and lets waiting ones take over, a few at a time, all day long."""

import logging
import threading
from typing import Self

from keyservice.database import Database, Task
from keyservice.enrolment import Enrolments

_BATCH = 50
_PAUSE = 30.0
"""Seconds between two looks when nothing is due."""

_BREATH = 0.25
"""Seconds after a full batch: enrolments share the vetting child and go first."""

log = logging.getLogger(__name__)


class Revetting:
    """A thread, for as long as the `with` block lasts."""

    def __init__(self, enrolments: Enrolments, database: Database) -> None:
        """Have `enrolments` do the work, where no other service does it."""
        self._enrolments = enrolments
        self._database = database
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="revetting", daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Return when the batch in hand is done."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        pause = 0.0
        while not self._stopping.wait(pause):
            try:
                vetted = self._do()
            except Exception:  # the thread must outlive a full disk
                log.exception("revetting_failed")
                vetted = 0
            pause = _BREATH if vetted == _BATCH else _PAUSE

    def _do(self) -> int:
        with self._database.alone(Task.REVETTING) as is_ours:
            if not is_ours:
                return 0
            vetted = self._enrolments.vet_again(_BATCH)
            self._enrolments.apply_due_holds(_BATCH)
        return vetted
