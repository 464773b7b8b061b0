"""A worker: libmilter on a listening socket that it shares with its siblings.

It leaves in one way only. On SIGUSR1, or when the supervisor is gone, it stops taking
sessions, waits for those it has, and exits. libmilter's own signals (TERM, HUP, INT) would
abandon sessions that are between two commands, so nobody sends them.
"""

import ctypes
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from letterlock import log, metrics
from letterlock.behind import Behind
from letterlock.session import Counting

STOP = signal.SIGUSR1
READY = b"ready"
_PR_SET_DUMPABLE = 4

# libmilter's listener may have a connection in its hands that it has not yet
# turned into a session when its socket is taken away.
_SETTLE_SECONDS = 0.7

# With the above less than what the supervisor waits beyond `drain_seconds`.
_BEHIND_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What a worker inherits."""

    listening: int
    ready: int
    """Written to once when the worker is about to serve."""

    lifeline: int
    """Its other end is the supervisor's: end of file means that the supervisor is gone."""


def keep_memory_private() -> None:
    """No core dumps, and no reading of this process by others of the same account."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # RLIMIT_CORE is ignored where core_pattern pipes to a program (core(5)).
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def stay_on_one_cpu(slot: int) -> None:
    """Share the CPUs out among the workers, by their number.

    Only one thread of a Python process computes at a time. On several CPUs libmilter's
    threads wake each other for nothing: a tenth of the CPU time of a busy mail host.
    """
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {allowed[slot % len(allowed)]})


def run(
    descriptors: Descriptors,
    drain_seconds: float,
    start: Callable[[Counting], None],
    behind: Behind,
) -> None:
    """Serve with `start`, which blocks, until drained. Does not return."""
    # Blocked before any thread starts, so that only the draining thread ever sees it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {STOP})
    # A sibling may win the race for a connection; accept() must not block then.
    os.set_blocking(descriptors.listening, False)
    sessions = Counting()
    leave = threading.Event()
    for wait in (_until_signalled, lambda: _until_orphaned(descriptors.lifeline)):
        threading.Thread(target=_set_after, args=(leave, wait), daemon=True).start()

    def drain() -> None:
        leave.wait()
        _drain(descriptors.listening, sessions, drain_seconds)
        behind.drain(_BEHIND_SECONDS)
        os._exit(0)

    threading.Thread(target=drain, daemon=True).start()
    metrics.declare()
    os.write(descriptors.ready, READY)
    os.close(descriptors.ready)
    start(sessions)
    # libmilter returned: its sessions are gone already.
    os._exit(1)


def _set_after(leave: threading.Event, wait: Callable[[], None]) -> None:
    wait()
    leave.set()


def _until_signalled() -> None:
    signal.sigwait({STOP})


def _until_orphaned(lifeline: int) -> None:
    while os.read(lifeline, 1):
        pass


def _drain(listening: int, sessions: Counting, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    # libmilter goes on listening on a socket that nobody can reach; sessions live on.
    with socket.socket(socket.AF_UNIX) as nowhere:
        nowhere.bind("")
        nowhere.listen(1)
        os.dup2(nowhere.fileno(), listening)
    time.sleep(_SETTLE_SECONDS)
    while sessions.open > 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    log.outcome("worker_left", sessions_open=sessions.open)
