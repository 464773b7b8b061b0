"""What both daemons do at the moment, from two looks at their pages for Prometheus. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from letterlock.daemon_page import Page

_QUANTILES = {"p50": 0.5, "p99": 0.99}


class Count(msgspec.Struct, frozen=True):
    """A counter."""

    total: int
    """Since the daemon's start."""

    per_second: float
    """Between the two looks."""


class Latency(msgspec.Struct, frozen=True):
    """How long something took between the two looks, or ever if nothing did then; seconds."""

    p50: float | None
    p99: float | None


class MilterStatus(msgspec.Struct, frozen=True):
    """The milter, all workers together."""

    version: str
    workers: int
    workers_wanted: int
    worker_deaths: int
    copies: dict[str, Count]
    """By what happened: encrypted, deferred ..."""

    not_accepted: dict[str, Count]
    """Copies deferred or rejected, by reason."""

    failures: dict[str, Count]
    """Transactions that something failed in, by reason."""

    lookups: dict[str, Count]
    """By who answered."""

    reentered: Count
    octets: Count
    latency: dict[str, Latency]
    """By phase."""


class KeyServiceStatus(msgspec.Struct, frozen=True):
    """The key service."""

    version: str
    lookups: dict[str, Count]
    certificates: dict[str, int]
    """Mailboxes by the state of their certificate."""

    expiring: dict[str, int]
    """Mailboxes whose certificate in use ends within so many days."""

    cache: dict[str, Count]
    discoveries: dict[str, Count]
    conflicts: int
    latency: Latency


class Status(msgspec.Struct, frozen=True):
    """Both; None: it does not answer, or is not on this host."""

    seconds: float
    """Between the two looks."""

    milter: MilterStatus | None
    keyservice: KeyServiceStatus | None


@dataclass(frozen=True, slots=True)
class Looks:
    """Two looks at one page, the later one first."""

    now: Page
    before: Page | None
    seconds: float

    def count(self, name: str, **labels: str) -> Count:
        """Return one counter."""
        total = self.now.total(name, **labels)
        return self._count(total, self.before.total(name, **labels) if self.before else total)

    def counts(self, name: str, label: str, **labels: str) -> dict[str, Count]:
        """Return a counter for each value of `label` that has ever been seen."""
        now = self.now.by(name, label, **labels)
        before = self.before.by(name, label, **labels) if self.before else now
        return {
            value: self._count(total, before.get(value, 0.0))
            for value, total in sorted(now.items())
            if total
        }

    def numbers(self, name: str, label: str) -> dict[str, int]:
        """Return a gauge for each value of `label`."""
        return {value: int(number) for value, number in self.now.by(name, label).items()}

    def latency(self, name: str, **labels: str) -> Latency:
        """Return what a histogram says."""
        now = _buckets(self.now, name, labels)
        before = _buckets(self.before, name, labels) if self.before else {}
        lately = {bound: number - before.get(bound, 0.0) for bound, number in now.items()}
        # After a restart the counters begin anew.
        is_usable = lately and min(lately.values()) >= 0 and lately.get(math.inf, 0) > 0
        shown = lately if is_usable else now
        return Latency(*(quantile(shown, q) for q in _QUANTILES.values()))

    def _count(self, total: float, before: float) -> Count:
        grown = total - before if total >= before else total
        return Count(int(total), round(grown / self.seconds, 3) if self.seconds else 0.0)


def milter_status(looks: Looks) -> MilterStatus:
    """Return what the milter's page says."""
    deferred = looks.counts("letterlock_messages_total", "reason", disposition="deferred")
    rejected = looks.counts("letterlock_messages_total", "reason", disposition="rejected")
    phases = looks.now.by("letterlock_phase_seconds_count", "phase")
    return MilterStatus(
        version=_version(looks.now, "letterlock"),
        workers=int(looks.now.total("letterlock_workers")),
        workers_wanted=int(looks.now.total("letterlock_workers_wanted")),
        worker_deaths=int(looks.now.total("letterlock_worker_deaths_total")),
        copies=looks.counts("letterlock_messages_total", "disposition"),
        not_accepted=deferred | rejected,
        failures=looks.counts("letterlock_failures_total", "reason"),
        lookups=looks.counts("letterlock_lookups_total", "layer"),
        reentered=looks.count("letterlock_reentered_copies_total"),
        octets=looks.count("letterlock_received_octets_total"),
        latency={
            phase: looks.latency("letterlock_phase_seconds", phase=phase)
            for phase, number in phases.items()
            if number
        },
    )


def keyservice_status(looks: Looks) -> KeyServiceStatus:
    """Return what the key service's page says."""
    return KeyServiceStatus(
        version=_version(looks.now, "keyservice"),
        lookups=looks.counts("keyservice_lookups_total", "outcome"),
        certificates=looks.numbers("keyservice_certificates", "state"),
        expiring=looks.numbers("keyservice_certificates_expiring", "within"),
        cache=looks.counts("keyservice_cache_total", "result"),
        discoveries=looks.counts("keyservice_discoveries_total", "result"),
        conflicts=int(looks.now.total("keyservice_conflicts_total")),
        latency=looks.latency("keyservice_lookup_seconds"),
    )


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """Return below which time `share` of a histogram lies; None if it is empty.

    Linear within a bucket, as Prometheus' histogram_quantile() has it.
    """
    total = buckets.get(math.inf, 0.0)
    if total <= 0:
        return None
    rank, lower, below = share * total, 0.0, 0.0
    for bound, number in sorted(buckets.items()):
        if number >= rank:
            if math.isinf(bound):
                return lower
            inside = number - below
            return lower + (bound - lower) * ((rank - below) / inside if inside else 1.0)
        lower, below = bound, number
    return lower


def _buckets(page: Page, name: str, labels: Mapping[str, str]) -> dict[float, float]:
    return {float(le): n for le, n in page.by(f"{name}_bucket", "le", **labels).items() if le}


def _version(page: Page, name: str) -> str:
    return next(iter(page.by(f"{name}_build_info", "version")), "")
