"""Every Prometheus metric of the milter. Labels come from closed sets; never an address."""

from prometheus_client import Counter, Histogram

from letterlock.behind import ReportResult
from letterlock.errors import LetterlockError, PermanentError, TemporaryError
from letterlock.policy import Treatment

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

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
    "letterlock_reentered_copies", "Copies given back to Postfix, or found there.", ["result"]
)
LOOKUPS = Counter(
    "letterlock_lookups", "Lookups by what was said and who said it.", ["layer", "outcome"]
)
LOOKUP_SECONDS = Histogram(
    "letterlock_lookup_seconds",
    "Time until a lookup was answered, other than from memory.",
    ["layer"],
    buckets=_SECONDS,
)
REPORTS = Counter(
    "letterlock_reports",
    "Messages reported to the key service as evidence, by what became of the report.",
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
    PHASE_SECONDS.labels(phase) for phase in ("rcpt", "end_of_header", "end_of_message", "reentry")
)
COPIES_ACCEPTED, COPIES_ACCEPTED_BEFORE = (
    COPIES.labels(result) for result in ("accepted", "accepted_before")
)
MESSAGES_BY_TREATMENT = {
    treatment: MESSAGES.labels(treatment.disposition.value, treatment.value)
    for treatment in Treatment
}
REPORTS_BY_RESULT = {result: REPORTS.labels(result.value) for result in ReportResult}


def declare() -> None:
    """Make every label combination appear, so that a rate over it is never undefined."""
    for reason in failure_reasons():
        FAILURES.labels(reason)
