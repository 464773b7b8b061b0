"""What all commands that speak with the key service share: where it is, and how it fails."""

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import click
import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from keyservice.client import (
    SENDER_HELD_MAX,
    InvalidMailbox,
    Mailbox,
    OperatorClient,
    ServiceRefused,
    ServiceUnavailable,
)

SERVICE_DEFAULT = "unix:/run/letterlock/keyservice.sock"

EXIT_REFUSED = 1
"""The key service said no; trying the same again is no use."""

_FILE_COLUMNS = 160

_Command = Callable[..., None]


class MailboxParameter(click.ParamType[Mailbox]):
    """An address on the command line."""

    name = "address"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Mailbox:
        """Return the mailbox, or fail with exit status 2."""
        try:
            return value if isinstance(value, Mailbox) else Mailbox.parse(str(value))
        except InvalidMailbox as error:
            self.fail(f"not a mailbox: {error}", param, ctx)


class Fingerprint(click.ParamType[str]):
    """A fingerprint on the command line, spaced and in capitals as programs show it."""

    name = "fingerprint"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return 40 or 64 digits in lower case, or fail with exit status 2."""
        digits = "".join(str(value).split()).lower()
        if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", digits):
            self.fail("not a fingerprint of 40 or 64 digits", param, ctx)
        return digits


def speaks_with_service(command: _Command) -> _Command:
    """Add `--service` and `--json`."""
    command = click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)
    return click.option(
        "--service",
        envvar="LETTERLOCK_KEYSERVICE",
        default=SERVICE_DEFAULT,
        show_default=True,
        help="Where the key service listens: unix:/PATH or http://HOST:PORT.",
    )(command)


@contextmanager
def key_service(service: str) -> Iterator[OperatorClient]:
    """Yield a client; turn its errors into one line on stderr and an exit status."""
    try:
        yield OperatorClient(service)
    except ServiceRefused as error:
        _end(f"refused ({error.error}): {error.reason}", EXIT_REFUSED)
    except ServiceUnavailable as error:
        _end(f"key service at {service}: {error}", os.EX_UNAVAILABLE)
    except ValueError as error:
        _end(f"--service: {error}", os.EX_USAGE)


def print_json(record: object) -> None:
    """Print `record` for programs."""
    click.echo(msgspec.json.format(msgspec.json.encode(record)))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str | None]]) -> None:
    """Print a table, if there is anything in it; cells are text, whatever they look like."""
    if not rows:
        return
    drawn = Table(
        title=title, title_justify="left", title_style="bold", header_style="bold", box=SIMPLE_HEAD
    )
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell or "") for cell in row))
    console().print(drawn)


def console() -> Console:
    """Return where tables go. Made anew, so that it writes to the stdout of the moment."""
    # A file or a pipe has no width of its own, and fingerprints are long.
    width = None if sys.stdout.isatty() else _FILE_COLUMNS
    return Console(file=sys.stdout, markup=False, highlight=False, width=width)


def day(seconds: int | None) -> str:
    """Return the day of a time, in UTC; empty for None."""
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"


def moment(seconds: int) -> str:
    """Return a time to the minute, in UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"


def delay_note(effective_within: int) -> str | None:
    """Return what to tell when milters may not know of a change yet."""
    if not effective_within:
        return None
    # They hold what is about sending for so long; answers, only where Redis does not tell them.
    why = "" if effective_within <= SENDER_HELD_MAX else "Redis could not be told: "
    return f"{why}milters may see the old state for {effective_within} s."


def _end(line: str, status: int) -> None:
    click.echo(f"letterlock: {line}", err=True)
    sys.exit(status)
