"""Rates, sums and quantiles from two looks at a daemon's page."""

import math

import pytest

from letterlock.daemon_page import Page, PageUnreadable
from letterlock.status import Count, Looks, keyservice_status, milter_status, quantile

BEFORE = """\
# TYPE letterlock_messages_total counter
letterlock_messages_total{disposition="encrypted",reason="wrapped"} 100
letterlock_messages_total{disposition="deferred",reason="no_certificate"} 4
letterlock_messages_total{disposition="rejected",reason="no_certificate_rejected"} 0
# TYPE letterlock_phase_seconds histogram
letterlock_phase_seconds_bucket{phase="rcpt",le="0.1"} 10
letterlock_phase_seconds_bucket{phase="rcpt",le="1.0"} 10
letterlock_phase_seconds_bucket{phase="rcpt",le="+Inf"} 10
letterlock_phase_seconds_count{phase="rcpt"} 10
letterlock_phase_seconds_sum{phase="rcpt"} 0.5
# TYPE letterlock_workers gauge
letterlock_workers 2
letterlock_workers_wanted 4
letterlock_build_info{version="1.2"} 1
"""
NOW = (
    BEFORE.replace('wrapped"} 100', 'wrapped"} 120')
    .replace('le="1.0"} 10', 'le="1.0"} 20')
    .replace('le="+Inf"} 10', 'le="+Inf"} 20')
)


def looks(now: str, before: str | None, seconds: float = 10.0) -> Looks:
    """Two pages, ten seconds apart."""
    return Looks(Page.parse(now), Page.parse(before) if before else None, seconds)


def test_what_the_milter_does() -> None:
    """Totals since its start, rates and quantiles between the looks, nothing that is zero."""
    seen = milter_status(looks(NOW, BEFORE))

    assert {"encrypted": Count(120, 2.0), "deferred": Count(4, 0.0)} == seen.copies
    assert {"no_certificate": Count(4, 0.0)} == seen.not_accepted
    assert ("1.2", 2, 4) == (seen.version, seen.workers, seen.workers_wanted)
    # Of the ten that came in between, all took between 0.1 and 1 s.
    assert seen.latency["rcpt"].p50 == pytest.approx(0.55)


def test_a_restart_between_the_looks_is_no_negative_rate() -> None:
    """Counters begin anew; what they have is what was since."""
    seen = milter_status(looks(BEFORE, NOW))

    assert Count(100, 10.0) == seen.copies["encrypted"]
    assert seen.latency["rcpt"].p99 is not None


def test_a_page_seen_once_has_totals_only() -> None:
    """The daemon did not answer before."""
    assert Count(120, 0.0) == milter_status(looks(NOW, None)).copies["encrypted"]


def test_what_the_key_service_does() -> None:
    """A page that has little on it is no fault."""
    page = (
        'keyservice_certificates_expiring{within="3"} 1\nkeyservice_conflicts_total{reason="x"} 2\n'
    )
    seen = keyservice_status(looks(page, None))

    assert ({"3": 1}, 2, None) == (seen.expiring, seen.conflicts, seen.latency.p50)


@pytest.mark.parametrize(
    ("expected", "share", "buckets"),
    [
        (None, 0.5, {}),
        (None, 0.5, {1.0: 0, math.inf: 0}),
        (0.5, 0.5, {1.0: 10, math.inf: 10}),
        (1.5, 0.75, {1.0: 10, 2.0: 20, math.inf: 20}),
        # Beyond the last bound nothing is known but that.
        (1.0, 0.99, {1.0: 1, math.inf: 10}),
    ],
)
def test_quantiles(expected: float | None, share: float, buckets: dict[float, float]) -> None:
    """Linear within a bucket, as Prometheus has them."""
    assert expected == quantile(buckets, share)


@pytest.mark.parametrize("text", ["<html>no</html>", 'a{b="c} 1', "a b c d"])
def test_what_is_no_page_is_refused(text: str) -> None:
    """Something else answers at that port."""
    with pytest.raises(PageUnreadable):
        Page.parse(text)
