"""What was found: tables for people, JSON for machines, and whether the targets are met."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Target:
    """A promise about one figure."""

    promise: str
    value: float
    at_most: float | None = None
    at_least: float | None = None

    @property
    def is_met(self) -> bool:
        """Whether the figure is as promised."""
        above = self.at_least is None or self.value >= self.at_least
        return above and (self.at_most is None or self.value <= self.at_most)

    def __str__(self) -> str:
        """Return the line for the terminal."""
        lower = self.at_least is not None
        bound = f"{self.at_least:g} or more" if lower else f"at most {self.at_most:g}"
        verdict = "[green]PASS[/]" if self.is_met else "[red]MISS[/]"
        return f"{verdict} {self.promise}: {self.value:.2f} ({bound})"


@dataclass(frozen=True, slots=True)
class Findings:
    """The result of one measurement."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]
    targets: tuple[Target, ...] = ()
    notes: Sequence[str] = field(default=())


def show(findings: Findings, console: Console) -> None:
    """Print table and targets."""
    console.print(f"[bold]{findings.title}[/]", highlight=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for at, column in enumerate(findings.columns):
        is_text = isinstance(findings.rows[0][at], str)
        table.add_column(column, justify="left" if is_text else "right", no_wrap=True)
    for row in findings.rows:
        table.add_row(*(cell if isinstance(cell, str) else _number(cell) for cell in row))
    console.print(table)
    for line in (*findings.notes, *findings.targets):
        console.print(f"  {line}", highlight=False)
    console.print()


def save(everything: Sequence[Findings], file: Path) -> None:
    """Write all of it as JSON."""
    measurements = {
        findings.name: {
            "rows": [dict(zip(findings.columns, row, strict=True)) for row in findings.rows],
            "targets": [
                {
                    "promise": target.promise,
                    "value": target.value,
                    "at_most": target.at_most,
                    "at_least": target.at_least,
                    "met": target.is_met,
                }
                for target in findings.targets
            ],
        }
        for findings in everything
    }
    machine = {
        "processor": platform.machine(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**machine, "measurements": measurements}, indent=2) + "\n")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
