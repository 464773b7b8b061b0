"""A worker from the supervisor's side: a process, and a pipe on which it shows that it lives."""

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from letterlock.roles import Role
from letterlock.worker import READY, STOP, UNABLE

_SILENT_SECONDS = 30.0
"""A worker whose interpreter has stood still for so long does not come back."""

_PULSE_OCTETS = 4096


class Slot(NamedTuple):
    """The place of one worker among all."""

    role: Role
    number: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all workers are started with."""

    config_path: Path
    listening: Mapping[Role, int]
    """The descriptor of each role's socket."""

    lifeline: int
    """Its other end is the supervisor's."""

    environment: Mapping[str, str]


class WorkerProcess:
    """A process of `python -m letterlock --worker`."""

    def __init__(self, slot: Slot, around: Surroundings) -> None:
        """Start it."""
        self.slot = slot
        self.started = self._heard = time.monotonic()
        self._pulse, pulse_in = os.pipe()
        os.set_blocking(self._pulse, False)
        listening = around.listening[slot.role]
        descriptors = (listening, pulse_in, around.lifeline)
        numbers = [str(number) for number in (*descriptors, slot.number)]
        command = [sys.executable, "-m", "letterlock", "--config", str(around.config_path)]
        self.process = subprocess.Popen(  # noqa: S603 (ourselves)
            [*command, "--worker", *numbers, "--role", slot.role.value],
            pass_fds=descriptors,
            env=around.environment,
            stdin=subprocess.DEVNULL,
            # A terminal's Ctrl-C is for the supervisor; libmilter would drop its sessions.
            process_group=0,
        )
        os.close(pulse_in)
        self.reason = ""
        """Why it cannot serve, if it has said so."""

    def is_ready(self, until: float) -> bool:
        """Wait until it is about to serve; False if it is not by then, or has ended."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._pulse, selectors.EVENT_READ)
            if not selector.select(max(0.0, until - time.monotonic())):
                return False
        said = os.read(self._pulse, _PULSE_OCTETS)
        if said.startswith(UNABLE):
            self.reason = said.removeprefix(UNABLE).decode(errors="replace")
        return said.startswith(READY)

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self.process.poll() is not None

    @property
    def is_stuck(self) -> bool:
        """Whether it has shown no sign of life for too long."""
        now = time.monotonic()
        try:
            if os.read(self._pulse, _PULSE_OCTETS):
                self._heard = now
        except BlockingIOError:
            pass
        return now - self._heard > _SILENT_SECONDS

    def leave(self) -> None:
        """Ask it to finish its sessions and go."""
        if not self.has_ended:
            self.process.send_signal(STOP)

    def end(self) -> None:
        """Kill it, if need be, and forget it."""
        if not self.has_ended:
            self.process.kill()
            self.process.wait()
        os.close(self._pulse)
