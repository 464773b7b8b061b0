"""`./dev bench`: what Letterlock costs, relative to what else could be done here.

Every figure is a ratio of two things measured in turns on the same machine in the same
run, or a CPU time from the kernel's accounts. README.md explains each.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Protocol

import authentication
import enrolment
import held
import lookups
import mailflow
import memory
import report
import steps
import submission
import writer
from report import Findings
from rich.console import Console


class _Measurement(Protocol):
    def __call__(self, *, quick: bool) -> Findings: ...


_BUSY = 0.5
"""Load average for each CPU."""

_MEASUREMENTS: dict[str, _Measurement] = {
    "writer": writer.measure,
    "saturated": mailflow.measure_saturated,
    "waiting": mailflow.measure_waiting,
    "enrolled": enrolment.measure,
    "memory": memory.measure,
    "lookups": lookups.measure,
    "submission": submission.measure,
    "authentication": authentication.measure,
    "held": held.measure,
    "steps": steps.measure,
}


def main() -> int:
    """Measure, show, save. Return 0 unless --strict and a target is missed."""
    parser = argparse.ArgumentParser(prog="dev bench", description=__doc__)
    parser.add_argument(
        "measurement", nargs="*", help=f"of {', '.join(_MEASUREMENTS)}; all, if none is named"
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds, about six minutes")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--json", type=Path, default=Path(".dev/bench.json"), metavar="FILE")
    arguments = parser.parse_args()
    if unknown := set(arguments.measurement) - set(_MEASUREMENTS):
        parser.error(f"no such measurement: {', '.join(sorted(unknown))}")
    console = Console()
    busy = os.getloadavg()[0] / (os.cpu_count() or 1)
    if busy > _BUSY:
        console.print("[yellow]This machine has other work to do: figures will be off.[/]\n")
    found = []
    for name in arguments.measurement or _MEASUREMENTS:
        began = time.monotonic()
        with console.status(f"measuring: {name}"):
            found.append(_MEASUREMENTS[name](quick=arguments.quick))
        report.show(found[-1], console)
        console.print(f"  [dim]{time.monotonic() - began:.0f} s[/]\n", highlight=False)
        # After each: what was measured is not lost when a later one breaks.
        report.save(found, arguments.json)
    missed = [target for findings in found for target in findings.targets if not target.is_met]
    console.print(f"{len(missed)} targets missed; figures in {arguments.json}", highlight=False)
    return 1 if missed and arguments.strict else 0


if __name__ == "__main__":
    sys.exit(main())
