"""The supervisor's page for Prometheus: the sum of all workers', and the workers themselves."""

import socket
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from letterlock.errors import ConfigError
from letterlock.supervisor import Supervisor


class Workers(Collector):
    """Counts the workers when asked."""

    def __init__(self, running: Callable[[], int], deaths: Callable[[], int]) -> None:
        self._running = running
        self._deaths = deaths

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Yield both metrics."""
        yield GaugeMetricFamily(
            "letterlock_workers", "Worker processes that serve.", value=self._running()
        )
        yield CounterMetricFamily(
            "letterlock_worker_deaths", "Workers that ended unasked.", value=self._deaths()
        )


def require_free(host: str, port: int) -> None:
    """Raise ConfigError if nothing can be served there."""
    try:
        socket.create_server((host, port), family=_family(host)).close()
    except OSError as error:
        raise _impossible(host, port, error) from None


def serve(host: str, port: int, directory: str, supervisor: Supervisor) -> None:
    """Serve the page from a thread. `directory`: where workers keep their counters."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=directory)  # type: ignore[no-untyped-call]
    registry.register(Workers(lambda: supervisor.running, lambda: supervisor.deaths))
    try:
        start_http_server(port, host, registry)
    except OSError as error:
        raise _impossible(host, port, error) from None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _impossible(host: str, port: int, error: OSError) -> ConfigError:
    return ConfigError(f"metrics: {host}:{port}: {error.strerror}")
