"""Vets certificates again in the background, a few at a time, all day long."""

import logging
import threading

from keyservice.service import KeyService

_BATCH = 50
_PAUSE = 30.0
"""Seconds between two looks when nothing is due."""

_BREATH = 0.25
"""Seconds after a full batch: enrolments share the vetting child and go first."""

log = logging.getLogger(__name__)


class Revetting:
    """A thread that runs until it is told to stop."""

    def __init__(self, service: KeyService) -> None:
        """Start with `start`."""
        self._service = service
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="revetting", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Return when the batch in hand is done."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        pause = 0.0
        while not self._stopping.wait(pause):
            try:
                vetted = self._service.vet_again(_BATCH)
            except Exception:  # the thread must outlive a full disk
                log.exception("revetting_failed")
                vetted = 0
            pause = _BREATH if vetted == _BATCH else _PAUSE
