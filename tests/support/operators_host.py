"""The operator's command at a stack, in processes of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from stack import Stack

PROGRAM = [sys.executable, "-c", "from letterlock.cli import main; main()"]


def letterlock(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, as an operator does."""
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, check=False)


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
