"""Every metric of this daemon. Labels are closed sets; no address or domain is ever one.

The help texts are the table of docs/metrics.md (docs/write-metrics).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib.metadata import version
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Histogram, Info
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

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
        self._registry = registry
        build = Info("keyservice_build", "1: the release that runs.", registry=registry)
        build.info({"version": version("letterlock")})
        self.lookups = self._counter(
            "lookups", "Answers given; those that Redis gave do not come here.", "outcome"
        )
        self.lookup_seconds = Histogram(
            "keyservice_lookup_seconds",
            "Time to find an answer in the database.",
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5),
            registry=registry,
        )
        self.vettings = self._counter(
            "vettings", "Certificates vetted, at enrolment and daily.", "result", "reason"
        )
        self.cache = self._counter("cache", "Answers written to Redis, or removed.", "result")
        self.notices = self._counter(
            "notices", "Mails to owners about their certificates, by attempt.", "result"
        )
        self.discoveries = self._counter(
            "discoveries", "Methods asked about mailboxes of others.", "method", "result"
        )
        self.fetches = self._counter(
            "fetches_failed", "HTTPS requests that were forbidden or had no usable reply.", "reason"
        )
        self.proofs = self._counter(
            "resolver_proofs", "Attempts to prove that the resolver validates DNSSEC.", "result"
        )
        self.conflicts = self._counter(
            "conflicts", "Certificates seen beside the one in use, and not used.", "reason"
        )
        self.reports = self._counter(
            "reports",
            "Messages reported by milters: noted, or why they count for nothing.",
            "result",
        )
        self.submissions = self._counter(
            "submissions",
            "Autocrypt fields that owners' mail programs wrote, by what became of them.",
            "result",
        )
        self.socketmap = self._counter(
            "socketmap_lookups", "Lookups by Postfix about client certificates.", "result"
        )
        self.secret_key_material = self._counter(
            "secret_key_material", "Files refused because they held a secret key."
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
        for status in Status:
            self.socketmap.labels(status.value.lower())
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

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"keyservice_{name}", text, labels, registry=self._registry)

    def observe_notice(self, result: NoticeResult) -> None:
        """Count one attempt to tell an owner something."""
        self.notices.labels(result.value).inc()

    def observe_socketmap(self, status: Status) -> None:
        """Count one lookup by Postfix."""
        self.socketmap.labels(status.value.lower()).inc()

    def observe_cache(self, result: CacheResult) -> None:
        """Count one access to Redis."""
        self.cache.labels(result.value).inc()


class _Asked(Collector):
    """Numbers that are the database's, because it is asked when Prometheus asks."""

    name: str
    text: str
    label: str

    def __init__(self, count: Callable[[], Mapping[str, int] | Mapping[int, int]]) -> None:
        """`count` returns the number for each value of the label."""
        self._count = count

    def collect(self) -> Iterator[Metric]:
        """Yield the gauge."""
        gauge = GaugeMetricFamily(self.name, self.text, labels=[self.label])
        # Without a database there are no such numbers; the others are worth having all the same.
        with suppress(SQLAlchemyError):
            for value, number in self._count().items():
                gauge.add_metric([str(value)], number)
        yield gauge


class CertificateStates(_Asked):
    """Mailboxes by state; see `Overview.states`."""

    name = "keyservice_certificates"
    text = "Mailboxes by the state of their certificate."
    label = "state"


class CertificatesExpiring(_Asked):
    """Certificates that end soon; see `Overview.expiring`."""

    name = "keyservice_certificates_expiring"
    text = "Mailboxes whose certificate in use ends within so many days."
    label = "within"


class ClientCertificatesExpiring(_Asked):
    """See `ClientCertificates.expiring`."""

    name = "keyservice_client_certificates_expiring"
    text = "Keys of clients whose last certificate ends within so many days."
    label = "within"


class ClientAuthoritiesExpiring(_Asked):
    """See `Authorities.expiring`."""

    name = "keyservice_client_authorities_expiring"
    text = "Authorities for clients that are in use and end within so many days."
    label = "within"
