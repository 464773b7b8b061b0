"""A worker: libmilter on a listening socket that it shares with its siblings.

It leaves in one way only. On SIGUSR1, or when its lifeline ends because others serve or the
supervisor is gone, it stops taking sessions, waits for those it has, and exits. libmilter's own
signals (TERM, HUP, INT) would abandon sessions that are between two commands, so nobody
sends them.
"""

import ctypes
import math
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from letterlock import log, metrics
from letterlock.behind import Behind
from letterlock.session import Counting

STOP = signal.SIGUSR1
READY = b"ready"
BEAT = b"."
"""Written again and again: threads of this process get their turn."""

UNABLE = b"unable "
"""Written in place of `READY`, before the reason."""

_BEAT_SECONDS = 1.0
_PR_SET_DUMPABLE = 4

# libmilter's listener may be about to accept when its socket is taken away.
_SETTLE_SECONDS = 0.2
_LOOK_SECONDS = 0.05

# While others serve, nobody waits for a worker that leaves. An idle client of smtpd stays for
# 300 s (smtpd_timeout), and a Postfix as client keeps to one session for as long.
_RELIEVED_SECONDS = 330.0

# With the above less than what the supervisor waits beyond `drain_seconds`.
_BEHIND_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What a worker inherits."""

    listening: int
    pulse: int
    """Written to when the worker is about to serve, and every second from then on."""

    lifeline: int
    """End of file means that others serve, or the supervisor is gone."""


def keep_memory_private() -> None:
    """No core dumps, and no reading of this process by others of the same account."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # RLIMIT_CORE is ignored where core_pattern pipes to a program (core(5)).
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def be_killed_first() -> None:
    """At the cap on memory the kernel ends a worker, which is replaced, not the supervisor.

    Before `keep_memory_private`, after which the file is root's (proc(5)).
    """
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def give_up(descriptors: Descriptors, reason: str) -> None:
    """Tell the supervisor why this worker cannot serve: it says so once for all of them."""
    with suppress(BrokenPipeError):
        os.write(descriptors.pulse, UNABLE + reason.encode(errors="replace"))


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
    leaving = _Leaving()

    def until_told() -> None:
        signal.sigwait({STOP})
        leaving.within(drain_seconds)

    def until_relieved() -> None:
        while os.read(descriptors.lifeline, 1):
            pass
        leaving.within(_RELIEVED_SECONDS)

    def drain() -> None:
        leaving.wait()
        _drain(descriptors.listening, sessions, leaving)
        behind.drain(_BEHIND_SECONDS)
        os._exit(0)

    metrics.declare()
    for task in (until_told, until_relieved, drain, partial(_beat, descriptors.pulse)):
        threading.Thread(target=task, daemon=True).start()
    start(sessions)
    # libmilter returned: its sessions are gone already.
    os._exit(1)


class _Leaving:
    """When to be gone."""

    def __init__(self) -> None:
        self._begun = threading.Event()
        self._until = math.inf

    def within(self, seconds: float) -> None:
        self._until = min(self._until, time.monotonic() + seconds)
        self._begun.set()

    def wait(self) -> None:
        self._begun.wait()

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._until


def _beat(pulse: int) -> None:
    os.write(pulse, READY)
    # Until nobody listens: another supervisor has workers of its own.
    with suppress(BrokenPipeError):
        while True:
            time.sleep(_BEAT_SECONDS)
            os.write(pulse, BEAT)


def _drain(listening: int, sessions: Counting, leaving: _Leaving) -> None:
    name = _name(listening)
    # libmilter goes on listening on a socket that nobody can reach; sessions live on.
    with socket.socket(socket.AF_UNIX) as nowhere:
        nowhere.bind("")
        nowhere.listen(1)
        os.dup2(nowhere.fileno(), listening)
    time.sleep(_SETTLE_SECONDS)
    # Not sessions: where Postfix is slow to say its first word there is none yet.
    while _has_connection(name) and not leaving.is_due:
        time.sleep(_LOOK_SECONDS)
    log.outcome("worker_left", sessions_open=sessions.open)


def _has_connection(name: object) -> bool:
    """Whether anybody is connected to the listening socket of that name, in this process."""
    return any(_name(int(entry)) == name for entry in os.listdir("/proc/self/fd"))


def _name(descriptor: int) -> object:
    """Return the address of a socket; None: it is closed, or no socket."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as duplicate:
            return duplicate.getsockname()
    except OSError:
        return None
