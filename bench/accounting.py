"""What processes cost, from the kernel's own accounts in /proc."""

import os
from collections.abc import Iterator
from pathlib import Path

_TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")


def cpu_ms(session: int) -> float:
    """Return the CPU time, user and system, of all processes a session ever had.

    Grows only: what a process used is its own until it is reaped, and its parent's then.
    """
    return sum(ticks for pid, ticks in _members(session)) * _TICK_MS


def pids(session: int) -> list[int]:
    """Return the processes of a session, its leader first."""
    return sorted((pid for pid, _ in _members(session)), key=lambda pid: (pid != session, pid))


def resident_kb(pid: int) -> int:
    """Return the memory of a process that is in RAM now (VmRSS)."""
    return _status(pid, "VmRSS")


def peak_kb(pid: int) -> int:
    """Return the most that `resident_kb` was since `forget_peak`."""
    return _status(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """Let `peak_kb` start anew (proc_pid_clear_refs(5))."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _members(session: int) -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            stat = (entry / "stat").read_text(errors="replace")
        except OSError:  # It ended while we were looking; its parent has its ticks.
            continue
        # proc_pid_stat(5): the name in parentheses may hold anything, blanks included.
        fields = stat.rpartition(")")[2].split()
        if int(fields[3]) == session:
            yield int(entry.name), sum(map(int, fields[11:15]))


def _status(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
