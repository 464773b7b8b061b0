"""The page that a daemon shows to Prometheus, read as a program on the same host does."""

import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from prometheus_client.parser import text_string_to_metric_families

from letterlock.config import host_and_port

_OCTETS_MAX = 4_194_304


class PageUnreadable(Exception):
    """Nothing answers there, or it is no such page; the text says which."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One line."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Page:
    """All samples by name."""

    samples: Mapping[str, tuple[Sample, ...]]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what the exposition format says. Raises PageUnreadable."""
        found: dict[str, list[Sample]] = {}
        try:
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    found.setdefault(sample.name, []).append(Sample(sample.labels, sample.value))
        except (ValueError, IndexError):
            raise PageUnreadable("what answers shows no metrics") from None
        return cls({name: tuple(samples) for name, samples in found.items()})

    def total(self, name: str, **labels: str) -> float:
        """Return the sum over all samples that have these labels, whatever others they have."""
        return sum(sample.value for sample in self._with(name, labels))

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """Return that sum for each value of `label`."""
        sums: dict[str, float] = {}
        for sample in self._with(name, labels):
            value = sample.labels.get(label, "")
            sums[value] = sums.get(value, 0.0) + sample.value
        return sums

    def _with(self, name: str, labels: Mapping[str, str]) -> list[Sample]:
        return [
            sample
            for sample in self.samples.get(name, ())
            if labels.items() <= dict(sample.labels).items()
        ]


def fetch(address: str, seconds: float) -> Page:
    """Return the page of the daemon at `address`, HOST:PORT. Raises PageUnreadable, ConfigError."""
    host, port = host_and_port(address, "metrics")
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        text = response.read(_OCTETS_MAX).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise PageUnreadable(f"{address}: {_in_words(error)}") from None
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise PageUnreadable(f"{address}: status {response.status}")
    return Page.parse(text)


def _in_words(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
