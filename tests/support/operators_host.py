"""The operator's command at a stack, in processes of its own."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stack import Stack

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-c", "from letterlock.cli import main; main()"]


def letterlock(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, as an operator does."""
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, check=False)


Findings = dict[tuple[str, str], dict[str, Any]]


def found_by(done: subprocess.CompletedProcess[str]) -> Findings:
    """Return what `letterlock doctor --json` has found, by place and line."""
    assert done.returncode in (0, 1), done.stderr
    return {(row["where"], row["line"]): row for row in json.loads(done.stdout)}


def redis_acls() -> dict[str, str]:
    """Return the rules that docs/operating.md gives each of Redis' users."""
    page = (ROOT / "docs/operating.md").read_text()
    return dict(re.findall(r"(?m)^user (\S+) on >\S+ (.*)$", page))


def configs(stack: Stack) -> list[str]:
    """Return the options that say where the stack's configuration is."""
    config = stack.layout.config
    names = (("--config", "letterlock"), ("--keyservice-config", "keyservice"))
    return [word for option, name in names for word in (option, str(config / f"{name}.toml"))]


@contextmanager
def stopped(stack: Stack, daemon: str) -> Iterator[None]:
    stack.stop_daemon(daemon)
    try:
        yield
    finally:
        stack.start_daemon(daemon)


@contextmanager
def mode(path: Path, bits: int) -> Iterator[None]:
    before = path.stat().st_mode
    path.chmod(bits)
    try:
        yield
    finally:
        path.chmod(before)
