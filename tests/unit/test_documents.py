"""What the documents name is there."""

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.metrics import MetricWrapperBase

from keyservice.metrics import CertificatesExpiring, CertificateStates, Metrics
from keyservice.public.results import published_counter
from letterlock import exposition, metrics
from letterlock.assembly import assemble
from letterlock.policy import Treatment

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path for pattern in ("*.md", "docs/*.md", "*/README.md") for path in ROOT.glob(pattern)
)


def exposed() -> list[Metric]:
    """Every metric of both daemons."""
    registry = CollectorRegistry()
    Metrics(registry)
    registry.register(CertificateStates(lambda: {"in_use": 1}))
    registry.register(CertificatesExpiring(lambda: {3: 1}))
    published_counter(registry)
    declared = [m for m in vars(metrics).values() if isinstance(m, MetricWrapperBase)]
    workers = exposition.Workers(lambda: 2, lambda: 0)
    return [
        metric for collector in (registry, workers, *declared) for metric in collector.collect()
    ]


def test_the_table_of_metrics_is_complete():
    """Every metric has its row, and every row its metric."""
    names = {m.name + ("_total" if m.type == "counter" else "") for m in exposed()}
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)

    assert sorted(names) == sorted(rows)


def test_the_milters_page_names_every_reason():
    """An operator who meets one in the log finds it there."""
    page = (ROOT / "milter/README.md").read_text()

    assert assemble  # With it everything is imported that can fail.
    assert [] == [t.value for t in Treatment if f"`{t.value}`" not in page]
    assert [] == [r for r in metrics.failure_reasons() if f"`{r}`" not in page]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    """Relative links name files that exist."""
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text())

    assert [] == [t for t in targets if not (document.parent / t).exists()]


def test_modules_that_the_standards_name_exist():
    """The table is no better than its last column."""
    text = (ROOT / "STANDARDS.md").read_text()
    named = re.findall(r"`(letterlock|keyservice)\.([a-z_.]+)`", text)
    folders = {
        "letterlock": ROOT / "milter/letterlock",
        "keyservice": ROOT / "keyservice/keyservice",
    }
    paths = [folders[package] / module.replace(".", "/") for package, module in named]

    assert [] == [str(p) for p in paths if not (p.is_dir() or p.with_suffix(".py").exists())]
