"""What the documents name is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from letterlock import metrics
from letterlock.assembly import assemble
from letterlock.policy import Treatment

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path for pattern in ("*.md", "docs/*.md", "*/README.md") for path in ROOT.glob(pattern)
)


def test_the_tables_of_metrics_are_what_the_daemons_declare():
    """Names, labels with all their values, and meanings: docs/write-metrics has nothing to do."""
    command = [sys.executable, ROOT / "docs/write-metrics", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert ("", 0) == (done.stderr, done.returncode)


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
