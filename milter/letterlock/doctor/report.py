"""Findings as people, and as Prometheus read them."""

import time
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from letterlock.postfix_findings import Finding, Severity


def as_text(found: list[Finding]) -> str:
    """Return a paragraph for each."""
    return "\n\n".join(map(_paragraph, found)) if found else "Nothing to correct."


def write_metrics(path: Path, found: list[Finding], *, is_spool_encrypted: bool) -> None:
    """Write for node_exporter's textfile collector, whole or not at all. Raises OSError."""
    registry = CollectorRegistry()
    findings = Gauge(
        "letterlock_doctor_findings",
        "What letterlock doctor found to correct or to look at.",
        ["severity"],
        registry=registry,
    )
    for severity in Severity:
        findings.labels(severity.value).set(sum(each.severity is severity for each in found))
    Gauge(
        "letterlock_spool_encrypted",
        "1: Postfix's queue is on an encrypted device, or in memory.",
        registry=registry,
    ).set(is_spool_encrypted)
    Gauge(
        "letterlock_doctor_last_run_timestamp_seconds",
        "When letterlock doctor has last looked.",
        registry=registry,
    ).set(time.time())
    write_to_textfile(str(path), registry)


def _paragraph(finding: Finding) -> str:
    head = f"{finding.severity.value:6}  {finding.where}"
    lines = [f"{head}: {finding.what}" if finding.what else head]
    lines += [f"        Why: {finding.reason}", f"        Fix: {finding.line}"]
    return "\n".join(lines)
