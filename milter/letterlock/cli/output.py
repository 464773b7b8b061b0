"""What commands print: tables, JSON, times."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

_FILE_COLUMNS = 160


def print_json(record: object) -> None:
    """Print `record` for programs."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(record)))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str | None]]) -> None:
    """Print a table, if there is anything in it; cells are text, whatever they look like."""
    if not rows:
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    drawn = Table(
        title=title, title_justify="left", title_style="bold", header_style="bold", box=SIMPLE_HEAD
    )
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell or "") for cell in row))
    console().print(drawn)


def console() -> "Console":
    """Return where tables go. Made anew, so that it writes to the stdout of the moment."""
    # Here, because a shell that completes a word has no use for it.
    from rich.console import Console

    # A file or a pipe has no width of its own, and fingerprints are long.
    width = None if sys.stdout.isatty() else _FILE_COLUMNS
    return Console(file=sys.stdout, markup=False, highlight=False, width=width)


def day(seconds: int | None) -> str:
    """Return the day of a time, in UTC; empty for None."""
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"


def moment(seconds: int) -> str:
    """Return a time to the minute, in UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
