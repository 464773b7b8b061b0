"""The parent of the workers: owns the listening sockets, replaces workers, serves metrics.

A worker that dies costs its open sessions a 451 and nothing else: connections wait in the
backlog of the socket, which stays open from start to stop. SIGHUP begins anew, with the
program and the configuration as they are then, while the old workers finish their sessions;
SIGTERM and SIGINT let them finish and stop.
"""

import os
import signal
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from letterlock import log, service_manager, succession
from letterlock.config import Config
from letterlock.errors import ConfigError
from letterlock.roles import Role
from letterlock.succession import Estate, Predecessors
from letterlock.worker import STOP
from letterlock.worker_process import Slot, Surroundings, WorkerProcess

_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
_START_SECONDS = 30.0
_RESPAWN_SECONDS = 1.0
"""A worker that dies at once must not be started in a tight loop."""

_STOP_SECONDS = 2.0
"""What a worker needs beyond `drain_seconds`."""


class Supervisor:
    """Runs the workers of each role."""

    def __init__(
        self,
        config_path: Path,
        config: Config,
        listening: Mapping[Role, int],
        counters: str,
        estate: Estate | None = None,
    ) -> None:
        """`listening`: the descriptor of each role's socket. `counters`: a directory."""
        self._config = config
        self._counters = counters
        lifeline, self._lifeline = os.pipe()
        environment = os.environ | {
            "PROMETHEUS_MULTIPROC_DIR": counters,
            # glibc gives every thread an arena of its own, and libmilter has many threads.
            "MALLOC_ARENA_MAX": "2",
        }
        self._around = Surroundings(config_path, listening, lifeline, environment)
        self._workers: list[WorkerProcess] = []
        self._predecessors = Predecessors(estate)
        # Before the page for Prometheus starts its threads: a signal that comes while this
        # thread is busy would go to one of them, and end the process there.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._not_before = 0.0
        self._petted = 0.0
        self._said = ""
        self._watchdog = service_manager.watchdog_seconds()
        self.deaths = 0

    @property
    def running(self) -> int:
        """Workers that serve."""
        return len(self._workers)

    @property
    def wanted(self) -> int:
        """Workers that should serve."""
        return len(self._slots())

    def run(self) -> None:
        """Supervise until SIGTERM or SIGINT. Raises ConfigError if no worker starts."""
        try:
            self._start(self._slots())
        except ConfigError as error:
            # Those of before serve on until ours do.
            if not self._predecessors.lifelines:
                raise
            self._say(error)
        if not self._predecessors.lifelines:
            log.outcome("serving", workers=self.running)
        self._relieve()
        self._tell("READY=1")
        while True:
            received = signal.sigtimedwait(_SIGNALS, 1.0)
            number = received.si_signo if received else None
            if number in (signal.SIGTERM, signal.SIGINT):
                return self._stop()
            if number == signal.SIGHUP:
                self._reload()
            self._tend()
            self._pet()

    def _slots(self) -> set[Slot]:
        return {
            Slot(role, number)
            for role in self._around.listening
            for number in range(role.workers(self._config))
        }

    def _start(self, slots: Iterable[Slot]) -> None:
        """Start workers, all at once. Raises ConfigError if one of them does not serve."""
        started = [WorkerProcess(slot, self._around) for slot in slots]
        until = time.monotonic() + _START_SECONDS
        ready = [worker for worker in started if worker.is_ready(until)]
        self._workers += ready
        if len(ready) < len(started):
            for worker in started:
                if worker not in ready:
                    worker.end()
            reasons = filter(None, (worker.reason for worker in started))
            raise ConfigError(next(reasons, "a worker did not start; its own line says why"))
        self._said = ""

    def _tend(self) -> None:
        for worker in list(self._workers):
            if worker.is_stuck and not worker.has_ended:
                log.failure("worker_stuck", worker=worker.process.pid)
                worker.process.kill()
                worker.process.wait()
            if worker.has_ended:
                self._bury(worker)
        # Their zombies: nobody waits for them while they finish their sessions.
        _ = self._predecessors.running
        missing = self._slots() - {worker.slot for worker in self._workers}
        if missing and time.monotonic() >= self._not_before:
            try:
                self._start(missing)
            except ConfigError as error:
                self._not_before = time.monotonic() + _RESPAWN_SECONDS
                self._say(error)
            self._relieve()
            self._tell()

    def _say(self, error: ConfigError) -> None:
        """Log why workers cannot serve, once until they do."""
        if str(error) != self._said:
            self._said = str(error)
            log.failure("not_started", detail=self._said)

    def _bury(self, worker: WorkerProcess) -> None:
        self._workers.remove(worker)
        worker.end()
        self.deaths += 1
        self._not_before = max(self._not_before, worker.started + _RESPAWN_SECONDS)
        log.failure("worker_died", worker=worker.process.pid, status=worker.process.returncode)

    def _relieve(self) -> None:
        """Let the workers of before go, if all of ours serve."""
        if self._predecessors.lifelines and len(self._workers) == len(self._slots()):
            self._predecessors.relieve()
            log.outcome("reloaded", workers=self.running)

    def _reload(self) -> None:
        service_manager.tell_reloading()
        serving = [worker.process.pid for worker in self._workers]
        estate = Estate(
            listening={role.value: fd for role, fd in self._around.listening.items()},
            lifelines=(self._lifeline, *self._predecessors.lifelines),
            workers=(*serving, *self._predecessors.running),
            counters=self._counters,
            metrics=self._config.metrics,
        )
        try:
            succession.require_heir(estate)
            succession.succeed(estate)
        except ConfigError as error:
            log.failure("reload_refused", detail=str(error))
            self._tell("READY=1")

    def _pet(self) -> None:
        # Those that are stuck or gone are not among them.
        serve = {worker.slot.role for worker in self._workers} == set(self._around.listening)
        now = time.monotonic()
        if serve and self._watchdog is not None and now >= self._petted + self._watchdog:
            service_manager.tell("WATCHDOG=1")
            self._petted = now

    def _tell(self, *assignments: str) -> None:
        status = f"STATUS={self.running} of {self.wanted} workers serve"
        service_manager.tell(*assignments, status)

    def _stop(self) -> None:
        seconds = self._config.drain_seconds + _STOP_SECONDS
        service_manager.tell(
            "STOPPING=1",
            f"EXTEND_TIMEOUT_USEC={int((seconds + _STOP_SECONDS) * 1e6)}",
            f"STATUS={self.running} workers finish their sessions",
        )
        for worker in self._workers:
            worker.leave()
        self._predecessors.signal(STOP)
        deadline = time.monotonic() + seconds
        while self._is_anybody_left() and time.monotonic() < deadline:
            signal.sigtimedwait({signal.SIGCHLD}, 0.1)
        for worker in self._workers:
            worker.end()
        self._predecessors.signal(signal.SIGKILL)
        log.outcome("stopped")

    def _is_anybody_left(self) -> bool:
        own = not all(worker.has_ended for worker in self._workers)
        return own or bool(self._predecessors.running)
