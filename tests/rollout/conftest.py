"""Releases, packed once a run, and the figures at its end."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from stack.owner import Owner
from testbed.release import pack
from testbed.several import ALICE, BOB

_FIGURES = pytest.StashKey[dict[str, str]]()

Clock = Callable[[str], AbstractContextManager[None]]


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    """Return this version, one after it, and the directory with the archives of both."""
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    found = re.search(r'(?m)^version = "(.*)"$', project)
    assert found
    directory = tmp_path_factory.mktemp("releases")
    versions = found[1], f"{found[1]}.post1"
    for version in versions:
        pack(version, directory)
    return *versions, directory


@pytest.fixture(scope="session")
def alice() -> Iterator[Owner]:
    """Return the owner of a mailbox at a provider with several hosts."""
    with Owner(ALICE) as owner:
        yield owner


@pytest.fixture(scope="session")
def bob() -> Iterator[Owner]:
    """Return the owner of another one."""
    with Owner(BOB) as owner:
        yield owner


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> dict[str, str]:
    """Return what is printed at the end: a figure under its name."""
    return pytestconfig.stash.setdefault(_FIGURES, {})


@pytest.fixture(scope="session")
def clock(figures: dict[str, str]) -> Clock:
    """Return a context manager that measures how long something takes."""

    @contextmanager
    def measured(name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            figures[name] = f"{time.monotonic() - began:.1f} s"

    return measured


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the figures."""
    figures = config.stash.get(_FIGURES, {})
    if figures:
        terminalreporter.section("figures")
        for name, value in figures.items():
            terminalreporter.write_line(f"{name}: {value}")
