"""A reload: the supervisor becomes its program anew, as that is on disk now, and mail goes on.

What must not end is handed over: the sockets, the workers until others serve, and the
counters. The successor is rehearsed first; if it would not start, nothing changes.
"""

import os
import subprocess
import sys
from contextlib import suppress
from typing import NoReturn

import msgspec

from letterlock.errors import ConfigError

_VARIABLE = "LETTERLOCK_ESTATE"
_REHEARSAL_SECONDS = 30.0


class Estate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a supervisor leaves to its successor, which has the same process ID."""

    listening: dict[str, int]
    """The socket of each role."""

    lifelines: tuple[int, ...]
    """Descriptors; while they are open, the workers serve."""

    workers: tuple[int, ...]
    """Their process IDs, and those of workers that leave already."""

    counters: str
    """The directory in which workers count."""

    metrics: str
    """Where the metrics are served, HOST:PORT."""


class Predecessors:
    """The workers that a supervisor was left with."""

    def __init__(self, estate: Estate | None) -> None:
        self.lifelines = estate.lifelines if estate else ()
        """Those of workers that serve as yet."""

        self._workers = set(estate.workers) if estate else set()

    @property
    def running(self) -> set[int]:
        """Process IDs of those that are left."""
        self._workers = {worker for worker in self._workers if _is_running(worker)}
        return self._workers

    def relieve(self) -> None:
        """Let them finish their sessions, and go."""
        for lifeline in self.lifelines:
            os.close(lifeline)
        self.lifelines = ()

    def signal(self, number: int) -> None:
        """Send a signal to those that are left."""
        for worker in self.running:
            os.kill(worker, number)


def inherited() -> Estate | None:
    """Return what a predecessor left, once. Raises ConfigError."""
    text = os.environ.pop(_VARIABLE, None)
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=Estate)
    except msgspec.MsgspecError:
        raise ConfigError("this version cannot take over from the one that runs: restart") from None


def require_heir(estate: Estate) -> None:
    """Raise ConfigError if the program as it is on disk would not start as a successor."""
    command = [*_program(), "--check"]
    try:
        rehearsal = subprocess.run(  # noqa: S603 (ourselves)
            command,
            env=_environment(estate),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_REHEARSAL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConfigError("the program takes too long to start") from None
    except OSError as error:
        raise ConfigError(f"{command[0]}: {error.strerror}") from None
    if rehearsal.returncode != 0:
        raise ConfigError(_last_words(rehearsal.stderr, rehearsal.returncode))


def succeed(estate: Estate) -> NoReturn:
    """Become the program anew. Raises ConfigError if it has gone."""
    for descriptor in (*estate.listening.values(), *estate.lifelines):
        os.set_inheritable(descriptor, True)
    program = _program()
    try:
        os.execvpe(program[0], program, _environment(estate))  # noqa: S606 (ourselves)
    except OSError as error:
        raise ConfigError(f"{program[0]}: {error.strerror}") from None


def _program() -> list[str]:
    # A script is found anew by its path, which may lead through a link to the current
    # release; the script's first line names that release's interpreter.
    return sys.argv if os.access(sys.argv[0], os.X_OK) else sys.orig_argv


def _environment(estate: Estate) -> dict[str, str]:
    return os.environ | {_VARIABLE: msgspec.json.encode(estate).decode()}


def _last_words(stderr: bytes, status: int) -> str:
    try:
        line = msgspec.json.decode(stderr.splitlines()[-1], type=dict[str, object])
        return str(line["detail"])
    except (IndexError, KeyError, msgspec.MsgspecError):
        return f"the program would end with status {status}"


def _is_running(child: int) -> bool:
    # A child's number is not given to another process before the child was waited for.
    with suppress(ChildProcessError):
        return os.waitpid(child, os.WNOHANG) == (0, 0)
    return False
