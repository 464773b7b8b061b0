"""The supervisor's page for Prometheus: the sum of all workers', and the workers themselves."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from letterlock.errors import ConfigError
from letterlock.supervisor import Supervisor


class _Workers(Collector):
    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        yield GaugeMetricFamily(
            "letterlock_workers", "Worker processes that serve.", value=self._supervisor.running
        )
        yield CounterMetricFamily(
            "letterlock_worker_deaths", "Workers that ended unasked.", value=self._supervisor.deaths
        )


def serve(host: str, port: int, directory: str, supervisor: Supervisor) -> None:
    """Serve the page from a thread. `directory`: where workers keep their counters."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=directory)  # type: ignore[no-untyped-call]
    registry.register(_Workers(supervisor))
    try:
        start_http_server(port, host, registry)
    except OSError as error:
        raise ConfigError(f"metrics: {host}:{port}: {error.strerror}") from None
