"""`letterlock trace`: what happened to one message."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path

import click

from letterlock.cli.output import console, print_json
from letterlock.tracing import Lines, Relation, Traced, trace

EXIT_UNKNOWN = 1
EXIT_UNREADABLE = 2

_SINCE = "-10days"
"""Longer than a message stays in a queue, and a notice about it after that."""

_POSTFIX = ("--facility=mail", "-o", "short-iso")
_MILTER = ("-u", "letterlock.service", "-o", "cat")


class LogUnreadable(Exception):
    """A log cannot be read; the text says which and why."""


class QueueID(click.ParamType[str]):
    """What Postfix calls a message."""

    name = "queue-id"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return it, or fail."""
        if not re.fullmatch(r"[0-9A-Za-z]{6,20}", str(value)):
            self.fail("not a queue ID: letters and digits, as in Postfix's log", param, ctx)
        return str(value)


@click.command("trace")
@click.argument("queue_id", metavar="QUEUE-ID", type=QueueID())
@click.option(
    "--postfix-log",
    metavar="FILE|-",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Read this in place of the journal: /var/log/mail.log, for instance; - is standard input.",
)
@click.option(
    "--milter-log",
    metavar="FILE|-",
    type=click.Path(path_type=Path, allow_dash=True),
    help="The milter's lines, if they are not in the journal. Both may be in the same input.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def trace_message(
    queue_id: str, postfix_log: Path | None, milter_log: Path | None, as_json: bool
) -> None:
    """Tell what happened to the message QUEUE-ID, and to the copies that were made of it.

    From Postfix's log and the milter's, of the last ten days in the journal: who handed it in,
    how it was encrypted and to which certificates, under which queue IDs further copies
    re-entered, and where each was delivered. A recipient that was refused before there was a
    queue ID is under NOQUEUE in Postfix's log.

    Exit status: 0, 1 if no log knows it, 2 if a log cannot be read.
    """
    try:
        found = trace(queue_id, _log(postfix_log, _POSTFIX), _log(milter_log, _MILTER))
    except LogUnreadable as error:
        click.echo(f"letterlock: {error}", err=True)
        sys.exit(EXIT_UNREADABLE)
    if as_json:
        print_json(found)
    elif not found:
        is_hidden = os.geteuid() != 0 and None in (postfix_log, milter_log)
        hint = "; not root: the journal may hide it" * is_hidden
        click.echo(f"letterlock: {queue_id}: in no log that was read{hint}", err=True)
    for message in () if as_json else found:
        _print(message)
    if not found:
        sys.exit(EXIT_UNKNOWN)


def _print(message: Traced) -> None:
    out = console()
    of = "" if message.relation is Relation.ITSELF else f" of {message.of}"
    out.print(f"{message.queue_id}  {message.relation.value}{of}", style="bold")
    for event in message.events:
        out.print(f"    {event.at}  {event.what}", soft_wrap=True)


def _log(file: Path | None, journal: tuple[str, ...]) -> Lines:
    return partial(_lines_of_file, file) if file else partial(_lines_of_journal, journal)


@cache
def _standard_input() -> list[str]:
    # It can be read once only, and logs are read again and again.
    return sys.stdin.buffer.read().decode(errors="replace").splitlines()


def _lines_of_file(path: Path) -> Iterator[str]:
    if path == Path("-"):
        yield from _standard_input()
        return
    try:
        with path.open(errors="replace") as file:
            yield from file
    except OSError as error:
        raise LogUnreadable(f"{path}: {error.strerror}") from None


def _lines_of_journal(options: tuple[str, ...]) -> Iterator[str]:
    command = ["journalctl", "--no-pager", "-q", f"--since={_SINCE}", *options]
    with ExitStack() as stack:
        try:
            process = stack.enter_context(
                subprocess.Popen(  # noqa: S603 (fixed command, no shell)
                    command, stdout=subprocess.PIPE, text=True, errors="replace"
                )
            )
        except OSError as error:
            raise LogUnreadable(f"journalctl: {error.strerror}") from None
        if process.stdout is not None:
            yield from process.stdout
    if process.returncode:
        raise LogUnreadable("journalctl cannot read the journal: its own line says why")
