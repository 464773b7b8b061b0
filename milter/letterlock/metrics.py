"""Every Prometheus metric of the milter's workers. Labels come from closed sets; never an address.

The help texts are the table of docs/metrics.md (docs/write-metrics).
"""

from itertools import product

from prometheus_client import Counter, Histogram

from keyservice.client import CacheResult, Layer, Outcome
from letterlock.behind import ReportResult
from letterlock.errors import LetterlockError, PermanentError, TemporaryError
from letterlock.policy import Treatment

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_PHASES = ("rcpt", "end_of_header", "end_of_message", "reentry")
_CACHE_RESULTS = (
    CacheResult.HIT,
    CacheResult.MISS,
    CacheResult.BAD_RECORD,
    CacheResult.SKIPPED,
    CacheResult.FAILED,
)
"""A milter only reads."""

MESSAGES = Counter(
    "letterlock_messages",
    "Copies by what happened: a message for three mailboxes counts three.",
    ["disposition", "reason"],
)
OCTETS = Counter("letterlock_received_octets", "Octets of accepted messages, as they arrived.")
FAILURES = Counter(
    "letterlock_failures",
    "Transactions that ended in 4yz or 5yz because something did not work.",
    ["reason"],
)
COPIES = Counter(
    "letterlock_reentered_copies",
    "Copies given back to Postfix, or found there after a retry.",
    ["result"],
)
LOOKUPS = Counter("letterlock_lookups", "Lookups, by who answered and what.", ["layer", "outcome"])
LOOKUP_SECONDS = Histogram(
    "letterlock_lookup_seconds",
    "Time until a lookup was answered, other than from memory.",
    ["layer"],
    buckets=_SECONDS,
)
CACHE = Counter(
    "letterlock_cache",
    "Answers looked for in Redis; one that fails is skipped for some seconds.",
    ["result"],
)
REPORTS = Counter(
    "letterlock_reports",
    "What the key service is told behind the mail's back, such as certificates that came with"
    " it, by what became of it.",
    ["result"],
)
PHASE_SECONDS = Histogram(
    "letterlock_phase_seconds",
    "Time spent in a phase of a transaction.",
    ["phase"],
    buckets=_SECONDS,
)


def _reasons(error: type[LetterlockError]) -> set[str]:
    return {error.reason}.union(*(_reasons(child) for child in error.__subclasses__()))


def failure_reasons() -> list[str]:
    """Return the closed set of `letterlock_failures_total`'s label: of all errors imported."""
    raised = _reasons(TemporaryError) | _reasons(PermanentError)
    return sorted(raised | {"marker_not_kept", "refused_at_end"})


# Looked up once: a label costs more than the counting.
RCPT_SECONDS, END_OF_HEADER_SECONDS, END_OF_MESSAGE_SECONDS, REENTRY_SECONDS = (
    PHASE_SECONDS.labels(phase) for phase in _PHASES
)
COPIES_ACCEPTED, COPIES_ACCEPTED_BEFORE = (
    COPIES.labels(result) for result in ("accepted", "accepted_before")
)
MESSAGES_BY_TREATMENT = {
    treatment: MESSAGES.labels(treatment.disposition.value, treatment.value)
    for treatment in Treatment
}
REPORTS_BY_RESULT = {result: REPORTS.labels(result.value) for result in ReportResult}
CACHE_BY_RESULT = {result: CACHE.labels(result.value) for result in _CACHE_RESULTS}


def declare() -> None:
    """Make every label combination appear, so that a rate over it is never undefined."""
    for reason in failure_reasons():
        FAILURES.labels(reason)
    for layer, outcome in product(Layer, Outcome):
        LOOKUPS.labels(layer.value, outcome.value)
    # What comes out of memory takes less time than to write down how much.
    for layer in Layer:
        if layer is not Layer.MEMORY:
            LOOKUP_SECONDS.labels(layer.value)
