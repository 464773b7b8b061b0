"""The parent of the workers: owns the listening sockets, replaces workers, serves metrics.

A worker that dies costs its open sessions a 451 and nothing else: connections wait in the
backlog of the socket, which stays open from start to stop. SIGHUP replaces all workers by
ones with the configuration as it is then; SIGTERM and SIGINT let them finish and stop.
"""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from letterlock import log
from letterlock.config import Config, load
from letterlock.errors import ConfigError
from letterlock.roles import Role
from letterlock.worker import READY, STOP

_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
_START_SECONDS = 30.0
_RESPAWN_SECONDS = 1.0
"""A worker that dies at once must not be started in a tight loop."""


class _Slot(NamedTuple):
    role: Role
    number: int


@dataclass(slots=True)
class _Worker:
    slot: _Slot
    process: subprocess.Popen[bytes]
    started: float


class Supervisor:
    """Runs `workers` processes of `python -m letterlock --worker`."""

    def __init__(
        self, config_path: Path, listening: Mapping[Role, int], environment: dict[str, str]
    ) -> None:
        """`listening`: the descriptor of each role's socket."""
        self._config_path = config_path
        self._config = load(config_path)
        self._listening = listening
        self._environment = environment
        self._workers: list[_Worker] = []
        self._leaving: list[_Worker] = []
        self._lifeline = os.pipe()
        # Before the page for Prometheus starts its threads: a signal that comes while this
        # thread is busy would go to one of them, and end the process there.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self.deaths = 0
        self.not_before = 0.0

    @property
    def running(self) -> int:
        """Workers that serve."""
        return len(self._workers)

    def run(self) -> None:
        """Supervise until SIGTERM or SIGINT. Raises ConfigError if no worker starts."""
        self._workers = self._start_all()
        log.outcome("serving", workers=self.running)
        while True:
            received = signal.sigtimedwait(_SIGNALS, 1.0)
            number = received.si_signo if received else None
            if number in (signal.SIGTERM, signal.SIGINT):
                return self._stop()
            if number == signal.SIGHUP:
                self._replace_all()
            self._tend()

    def _tend(self) -> None:
        for worker in list(self._workers):
            if worker.process.poll() is not None:
                self._workers.remove(worker)
                self.deaths += 1
                self.not_before = max(self.not_before, worker.started + _RESPAWN_SECONDS)
                log.failure(
                    "worker_died", worker=worker.process.pid, status=worker.process.returncode
                )
        taken = {worker.slot for worker in self._workers}
        if time.monotonic() < self.not_before:
            return
        for slot in self._slots():
            if slot in taken:
                continue
            try:
                self._workers.append(self._start(slot))
            except ConfigError:
                self.not_before = time.monotonic() + _RESPAWN_SECONDS
                return

    def _replace_all(self) -> None:
        try:
            self._config = self._reloaded()
            fresh = self._start_all()
        except ConfigError as error:
            log.failure("reload_refused", detail=str(error))
            return
        old, self._workers = self._workers, fresh
        for worker in old:
            worker.process.send_signal(STOP)
        # Nobody waits for them here: they finish their sessions while the new ones serve.
        self._leaving = [w for w in (*self._leaving, *old) if w.process.poll() is None]
        log.outcome("reloaded", workers=self.running)

    def _reloaded(self) -> Config:
        config = load(self._config_path)
        if set(Role.taken(config)) != set(self._listening):
            raise ConfigError("submission.socket: a role comes or goes with a restart only")
        return config

    def _start_all(self) -> list[_Worker]:
        started: list[_Worker] = []
        try:
            for slot in self._slots():
                started.append(self._start(slot))
        except ConfigError:
            for worker in started:
                worker.process.send_signal(STOP)
            self._leaving += started
            raise
        return started

    def _slots(self) -> list[_Slot]:
        return [
            _Slot(role, number)
            for role in self._listening
            for number in range(role.workers(self._config))
        ]

    def _start(self, slot: _Slot) -> _Worker:
        ready, ready_in = os.pipe()
        listening = self._listening[slot.role]
        command = [
            sys.executable,
            "-m",
            "letterlock",
            "--config",
            str(self._config_path),
            "--worker",
            str(listening),
            str(ready_in),
            str(self._lifeline[0]),
            str(slot.number),
            "--role",
            slot.role.value,
        ]
        inherited = (listening, ready_in, self._lifeline[0])
        process = subprocess.Popen(  # noqa: S603 (ourselves)
            command,
            pass_fds=inherited,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            # A terminal's Ctrl-C is for the supervisor; libmilter would drop its sessions.
            process_group=0,
        )
        os.close(ready_in)
        try:
            said = _read(ready, _START_SECONDS)
        finally:
            os.close(ready)
        if said != READY:
            process.kill()
            process.wait()
            raise ConfigError("a worker did not start; its own line says why")
        return _Worker(slot, process, time.monotonic())

    def _stop(self) -> None:
        everybody = [*self._workers, *self._leaving]
        for worker in everybody:
            if worker.process.poll() is None:
                worker.process.send_signal(STOP)
        deadline = time.monotonic() + self._config.drain_seconds + 2
        for worker in everybody:
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        log.outcome("stopped")


def _read(descriptor: int, seconds: float) -> bytes:
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        return os.read(descriptor, len(READY)) if selector.select(seconds) else b""
