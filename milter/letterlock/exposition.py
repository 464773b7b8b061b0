"""The supervisor's page for Prometheus: the sum of all workers', and what it knows itself."""

import socket
from collections.abc import Iterator
from importlib.metadata import version
from typing import Protocol

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from letterlock.errors import ConfigError
from letterlock.supervisor import Supervisor


class Parent(Protocol):
    """What of `Supervisor` is shown."""

    @property
    def running(self) -> int:
        """Workers that serve."""

    @property
    def wanted(self) -> int:
        """Workers that should."""

    @property
    def deaths(self) -> int:
        """Workers that ended unasked, since the start."""


class Workers(Collector):
    """Counts the workers when asked, and says which release this is."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._version = version("letterlock")

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Yield the metrics."""
        parent = self._parent
        yield GaugeMetricFamily(
            "letterlock_workers", "Worker processes that serve.", value=parent.running
        )
        yield GaugeMetricFamily(
            "letterlock_workers_wanted", "Worker processes that should.", value=parent.wanted
        )
        yield CounterMetricFamily(
            "letterlock_worker_deaths", "Workers that ended unasked.", value=parent.deaths
        )
        build = GaugeMetricFamily(
            "letterlock_build_info", "1: the release that runs.", labels=["version"]
        )
        build.add_metric([self._version], 1)
        yield build


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
    registry.register(Workers(supervisor))
    try:
        start_http_server(port, host, registry)
    except OSError as error:
        raise _impossible(host, port, error) from None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _impossible(host: str, port: int, error: OSError) -> ConfigError:
    return ConfigError(f"metrics: {host}:{port}: {error.strerror}")
