"""Tells the key service what mail is evidence of, behind the mail's back."""

import time
from collections.abc import Callable
from typing import Protocol

from keyservice.client import Report, Reported
from letterlock.behind import Behind, ReportResult
from letterlock.evidence import is_silent
from letterlock.seldom import Seldom

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
        self._silent = Seldom(_SILENT_SECONDS, _SILENT_MAX, clock)

    def offer(self, report: Report) -> None:
        """Have `report` told soon, or dropped. Waits for nothing, and never raises."""
        if not is_silent(report) or self._silent.is_due(report.from_addresses):
            self._behind.offer(lambda: self._tell(report), _octets(report))

    def _tell(self, report: Report) -> ReportResult:
        reported = self._client.report(report)
        if reported is None:
            return ReportResult.UNHEARD
        return ReportResult.NOTED if reported.refused is None else ReportResult.REFUSED


def _octets(report: Report) -> int:
    parts = (*report.autocrypt_fields, *report.openpgp_fields, *report.attached)
    return sum(map(len, parts))
