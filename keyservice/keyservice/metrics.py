"""Every metric of this daemon. Labels are closed sets; no address or domain is ever one."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from keyservice.cache import CacheResult
from keyservice.certificate import RefusalReason
from keyservice.dns import Proof
from keyservice.explanation import CONFLICTS
from keyservice.fetch import Cause, Forbidden
from keyservice.levels import METHODS
from keyservice.methods import InquiryResult
from keyservice.notice import NoticeResult
from keyservice.report_wire import Refused
from keyservice.sender_wire import Taking
from keyservice.socketmap import Status
from keyservice.wire import Outcome


class Metrics:
    """The counters, each present with zero from the start."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them."""
        self.lookups = Counter(
            "keyservice_lookups", "Answers given", ["outcome"], registry=registry
        )
        self.lookup_seconds = Histogram(
            "keyservice_lookup_seconds",
            "Time to find an answer in the database",
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5),
            registry=registry,
        )
        self.vettings = Counter(
            "keyservice_vettings", "Certificates vetted", ["result", "reason"], registry=registry
        )
        self.cache = Counter("keyservice_cache", "Accesses to Redis", ["result"], registry=registry)
        self.secret_key_material = Counter(
            "keyservice_secret_key_material",
            "Files refused because they held a secret key",
            registry=registry,
        )
        self.notices = Counter(
            "keyservice_notices", "Mails to owners", ["result"], registry=registry
        )
        self.discoveries = Counter(
            "keyservice_discoveries", "Methods asked", ["method", "result"], registry=registry
        )
        self.fetches = Counter(
            "keyservice_fetches_failed", "Requests without a reply", ["reason"], registry=registry
        )
        self.proofs = Counter(
            "keyservice_resolver_proofs",
            "Attempts to prove that the resolver validates",
            ["result"],
            registry=registry,
        )
        self.conflicts = Counter(
            "keyservice_conflicts",
            "Certificates that were seen beside the one in use, and not used",
            ["reason"],
            registry=registry,
        )
        self.reports = Counter(
            "keyservice_reports", "Messages reported by milters", ["result"], registry=registry
        )
        self.socketmap = Counter(
            "keyservice_socketmap_lookups", "Lookups by Postfix", ["result"], registry=registry
        )
        _from_zero(self.socketmap, (status.value.lower() for status in Status))
        self.submissions = Counter(
            "keyservice_submissions",
            "Certificates that owners' mail programs sent along, by what became of them",
            ["result"],
            registry=registry,
        )
        by_result = (
            (self.notices, NoticeResult),
            (self.proofs, Proof),
            (self.reports, Refused),
            (self.submissions, Taking),
            (self.lookups, Outcome),
            (self.cache, (CacheResult.WRITTEN, CacheResult.FORGOTTEN, CacheResult.FAILED)),
        )
        for counter, results in by_result:
            for result in results:
                counter.labels(result.value)
        for conflict in CONFLICTS:
            self.conflicts.labels(conflict)
        for method, became in product(METHODS, InquiryResult):
            self.discoveries.labels(method.value, became.value)
        for reason in (*Cause, *Forbidden):
            self.fetches.labels(reason.value)
        self.reports.labels("noted")
        self.vettings.labels("usable", "")
        for reason in RefusalReason:
            self.vettings.labels("refused", reason.value)

    def observe_notice(self, result: NoticeResult) -> None:
        """Count one attempt to tell an owner something."""
        self.notices.labels(result.value).inc()

    def observe_socketmap(self, status: Status) -> None:
        """Count one lookup by Postfix."""
        self.socketmap.labels(status.value.lower()).inc()

    def observe_cache(self, result: CacheResult) -> None:
        """Count one access to Redis."""
        self.cache.labels(result.value).inc()


def _from_zero(counter: Counter, labels: Iterable[str]) -> None:
    for label in labels:
        counter.labels(label)


class CertificatesExpiring(Collector):
    """Counts certificates that end soon, when asked."""

    def __init__(self, count: Callable[[], Mapping[int, int]]) -> None:
        """Ask `count` for the number that ends within each number of days."""
        self._count = count

    def collect(self) -> Iterator[Metric]:
        """Yield the gauge."""
        gauge = GaugeMetricFamily(
            "keyservice_certificates_expiring",
            "Mailboxes whose certificate in use ends within so many days",
            labels=["within"],
        )
        for days, number in self._count().items():
            gauge.add_metric([str(days)], number)
        yield gauge


class CertificateStates(Collector):
    """Counts certificates when asked, so that the numbers are the database's."""

    def __init__(self, count: Callable[[], Mapping[str, int]]) -> None:
        """Ask `count` for the number per state."""
        self._count = count

    def collect(self) -> Iterator[Metric]:
        """Yield the gauge."""
        gauge = GaugeMetricFamily(
            "keyservice_certificates",
            "Mailboxes by the state of their certificate",
            labels=["state"],
        )
        for state, number in self._count().items():
            gauge.add_metric([state], number)
        yield gauge
