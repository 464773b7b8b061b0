"""Tells the key service what mail is evidence of, behind the mail's back."""

import threading
import time
from collections.abc import Callable
from typing import Protocol

from keyservice.client import Report, Reported
from letterlock.behind import Behind, ReportResult
from letterlock.evidence import is_silent

_SILENT_MAX = 10_000
_SILENT_SECONDS = 86_400.0
"""Of so many senders silent mail is reported once in so many seconds."""


class KeyService(Protocol):
    """What of `PeerClient` is used here."""

    def report(self, report: Report) -> Reported | None:
        """Tell; None: it was not heard."""


class Reporter:
    """Any thread may call it."""

    def __init__(
        self,
        client: KeyService,
        behind: Behind,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock`: seconds, monotonic."""
        self._client = client
        self._behind = behind
        self._clock = clock
        self._lock = threading.Lock()
        self._heard_of: dict[tuple[str, ...], float] = {}
        """When silent mail of a sender was last let through; oldest first."""

    def offer(self, report: Report) -> None:
        """Have `report` told soon, or dropped. Waits for nothing, and never raises."""
        if not is_silent(report) or self._is_due(report):
            self._behind.offer(lambda: self._tell(report), _octets(report))

    def _is_due(self, report: Report) -> bool:
        now = self._clock()
        with self._lock:
            before = self._heard_of.get(report.from_addresses)
            if before is not None and now < before + _SILENT_SECONDS:
                return False
            self._heard_of.pop(report.from_addresses, None)
            if len(self._heard_of) >= _SILENT_MAX:
                del self._heard_of[next(iter(self._heard_of))]
            self._heard_of[report.from_addresses] = now
        return True

    def _tell(self, report: Report) -> ReportResult:
        reported = self._client.report(report)
        if reported is None:
            return ReportResult.UNHEARD
        return ReportResult.NOTED if reported.refused is None else ReportResult.REFUSED


def _octets(report: Report) -> int:
    parts = (*report.autocrypt_fields, *report.openpgp_fields, *report.attached)
    return sum(map(len, parts))
