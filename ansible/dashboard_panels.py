"""What the dashboard shows; `write-dashboard` puts it into the form that Grafana reads."""

from collections.abc import Sequence
from dataclasses import dataclass

_MILTER = 'instance=~"$instance"'


@dataclass(frozen=True)
class Line:
    """One expression."""

    expression: str
    legend: str = ""


@dataclass(frozen=True)
class Graph:
    """What changes with time."""

    title: str
    about: str
    unit: str
    lines: Sequence[Line]
    is_stacked: bool = False


@dataclass(frozen=True)
class Number:
    """What matters now."""

    title: str
    about: str
    unit: str
    expression: str
    is_bad: bool = False
    """Whether anything above zero is."""


def rate(metric: str, by: str, matching: str = _MILTER) -> Line:
    """Return a rate per second, a line for each value of `by`."""
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    return Line(f"sum by ({by}) (rate({metric}{{{matching}}}[$__rate_interval]))", legend)


def per_day(metric: str, by: str) -> Line:
    """Return how often within a day, a line for each value of `by`."""
    return Line(f"sum by ({by}) (increase({metric}[1d]))", f"{{{{{by}}}}}")


def highest(metric: str, by: str, legend: str) -> Line:
    """Return the number that the daemons agree upon, a line for each value of `by`."""
    return Line(f"max by ({by}) ({metric})", legend)


def quantile(q: float, metric: str, by: str) -> Line:
    """Return a quantile of a histogram of the milter's, a line for each value of `by`."""
    buckets = f"sum by ({by}, le) (rate({metric}_bucket{{{_MILTER}}}[$__rate_interval]))"
    return Line(f"histogram_quantile({q}, {buckets})", f"{{{{{by}}}}} p{q * 100:.0f}")


ALERTS = 'ALERTS{alertname=~"Letterlock.*", alertstate="firing"}'
ENCRYPTED = 'letterlock_messages_total{disposition=~"encrypted|passed_encrypted"}'
ACCEPTED = 'letterlock_messages_total{disposition=~"encrypted|passed_encrypted|passed_plain"}'
WITHOUT = 'reason=~"no_certificate|certificate_withdrawn|certificate_unusable"'
WAITING = f'letterlock_messages_total{{disposition="deferred", {WITHOUT}}}'
STOPPED = 'letterlock_failures_total{reason="plaintext_forbidden"}'
NOT_ENCRYPTED = f'{_MILTER}, disposition=~"passed_plain|deferred|rejected"'

EXPIRING = {
    "certificates": "mailboxes",
    "client_certificates": "clients",
    "client_authorities": "authorities",
}

NUMBERS = (
    Number("Alerts", "See docs/runbook.md.", "none", f"count({ALERTS}) or vector(0)", is_bad=True),
    Number(
        "Encrypted",
        "Of the copies that were accepted.",
        "percentunit",
        f"sum(increase({ENCRYPTED}[$__range])) / sum(increase({ACCEPTED}[$__range]))",
    ),
    Number(
        "Waits for a certificate",
        "Attempts that were deferred within the last hour.",
        "none",
        f"sum(increase({WAITING}[1h]))",
    ),
    Number(
        "Certificates in use",
        "Mailboxes that have one.",
        "none",
        'max(keyservice_certificates{state="in_use"})',
    ),
    Number(
        "Unencrypted spools",
        "Hosts whose mail queue is not known to be on an encrypted volume.",
        "none",
        "count(letterlock_spool_encrypted == 0) or vector(0)",
        is_bad=True,
    ),
    Number(
        "Forbidden plaintext",
        "Messages that were stopped at the last moment: a defect. Must be 0.",
        "none",
        f"sum(increase({STOPPED}[$__range]))",
        is_bad=True,
    ),
)

ROWS = {
    "Mail": (
        Graph(
            "Copies by what happened",
            "A message for three mailboxes counts three.",
            "mps",
            [rate("letterlock_messages_total", "disposition")],
            is_stacked=True,
        ),
        Graph(
            "Not encrypted, by reason",
            "Plaintext that the policy accepts, what waits, and what is refused.",
            "mps",
            [rate("letterlock_messages_total", "disposition, reason", NOT_ENCRYPTED)],
        ),
        Graph(
            "Failures by reason",
            "What ended in 4yz or 5yz because something did not work.",
            "cps",
            [rate("letterlock_failures_total", "reason")],
        ),
        Graph(
            "Time spent in a phase",
            "Of a transaction; end_of_message includes reentry.",
            "s",
            [quantile(q, "letterlock_phase_seconds", "phase") for q in (0.5, 0.99)],
        ),
        Graph(
            "Octets",
            "Of accepted messages, as they arrived.",
            "Bps",
            [rate("letterlock_received_octets_total", "instance")],
        ),
        Graph(
            "Workers",
            "Processes that serve, and that should; deaths within an hour.",
            "none",
            [
                Line(f"sum(letterlock_workers{{{_MILTER}}})", "serve"),
                Line(f"sum(letterlock_workers_wanted{{{_MILTER}}})", "should"),
                Line(f"sum(increase(letterlock_worker_deaths_total{{{_MILTER}}}[1h]))", "died"),
            ],
        ),
    ),
    "Lookups": (
        Graph(
            "Lookups by who answered",
            "stale and none: the key service was not reached, nor did Redis know.",
            "cps",
            [rate("letterlock_lookups_total", "layer")],
            is_stacked=True,
        ),
        Graph(
            "Time until a lookup was answered",
            "Other than from memory.",
            "s",
            [quantile(0.99, "letterlock_lookup_seconds", "layer")],
        ),
        Graph(
            "Redis",
            "As the milter sees it. bad_record: secrets differ, or somebody else writes to it.",
            "cps",
            [rate("letterlock_cache_total", "result")],
        ),
        Graph(
            "What the key service is told",
            "Behind the mail's back, by what became of it.",
            "cps",
            [rate("letterlock_reports_total", "result")],
        ),
    ),
    "Certificates": (
        Graph(
            "Mailboxes by the state of their certificate",
            "Of those that have or had one.",
            "none",
            [highest("keyservice_certificates", "state", "{{state}}")],
            is_stacked=True,
        ),
        Graph(
            "Ending soon",
            "Certificates of mailboxes, of clients and their authorities, within so many days.",
            "none",
            [
                highest(f"keyservice_{what}_expiring", "within", f"{name}, {{{{within}}}} d")
                for what, name in EXPIRING.items()
            ],
        ),
        Graph(
            "Seen and not used",
            "Within a day. conflict: somebody has to confirm a fingerprint.",
            "none",
            [per_day("keyservice_conflicts_total", "reason")],
        ),
        Graph(
            "Mails to owners",
            "About their certificates, within a day.",
            "none",
            [per_day("keyservice_notices_total", "result")],
        ),
        Graph(
            "Looked for, of others",
            "Methods that were asked.",
            "cps",
            [rate("keyservice_discoveries_total", "method, result", "")],
        ),
        Graph(
            "Public requests",
            "By WKD, HKP, VKS and Nicknym.",
            "reqps",
            [rate("keyservice_published_total", "protocol, result", "")],
        ),
    ),
    "Hosts": (
        Graph(
            "Findings of letterlock doctor",
            "A breach: mail can be stored in plaintext, disclosed or lost.",
            "none",
            [
                highest(
                    "letterlock_doctor_findings", "instance, severity", "{{instance}} {{severity}}"
                )
            ],
        ),
        Graph(
            "Oldest orphan in the queue",
            "Plaintext that a killed cleanup(8) left.",
            "s",
            [highest("letterlock_queue_orphan_age_seconds", "instance", "{{instance}}")],
        ),
    ),
}
