"""Findings as people, and as Prometheus read them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Gauge

from letterlock.postfix_findings import Finding, Severity
from letterlock.queue_orphans import Orphan


@dataclass(frozen=True, slots=True)
class Spool:
    """What rests in Postfix' queue, or could."""

    is_encrypted: bool
    """Certainly."""

    orphans: Sequence[Orphan]


def as_text(found: list[Finding]) -> str:
    """Return a paragraph for each."""
    return "\n\n".join(map(_paragraph, found)) if found else "Nothing to correct."


def as_metrics(found: Sequence[Finding], spool: Spool | None) -> CollectorRegistry:
    """Return what node_exporter's textfile collector is given; None: there is no mail here."""
    registry, now = CollectorRegistry(), time.time()
    findings = Gauge(
        "letterlock_doctor_findings",
        "What letterlock doctor found to correct or to look at.",
        ["severity"],
        registry=registry,
    )
    for severity in Severity:
        findings.labels(severity.value).set(sum(each.severity is severity for each in found))
    if spool is not None:
        _add(registry, spool, now)
    Gauge(
        "letterlock_doctor_last_run_timestamp_seconds",
        "When letterlock doctor has last looked.",
        registry=registry,
    ).set(now)
    return registry


def _add(registry: CollectorRegistry, spool: Spool, now: float) -> None:
    Gauge(
        "letterlock_spool_encrypted",
        "1: Postfix's queue is on an encrypted device, or in memory.",
        registry=registry,
    ).set(spool.is_encrypted)
    Gauge(
        "letterlock_queue_orphan_age_seconds",
        "How long the oldest file that a killed cleanup(8) left has lain in Postfix's queue;"
        " 0: there is none.",
        registry=registry,
    ).set(max((now - orphan.modified_at for orphan in spool.orphans), default=0))


def _paragraph(finding: Finding) -> str:
    head = f"{finding.severity.value:6}  {finding.where}"
    lines = [f"{head}: {finding.what}" if finding.what else head]
    lines += [f"        Why: {finding.reason}", f"        Fix: {finding.line}"]
    return "\n".join(lines)
