"""`letterlock sweep-queue`: plaintext that a killed cleanup(8) has left in the queue."""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict

import click

from letterlock.cli.output import print_json
from letterlock.postfix import PostfixUnreadable
from letterlock.queue_orphans import Orphan, QueueUnreadable, queue_directories, sweep

EXIT_LEFT = 1

_MINUTE = 60


@click.command("sweep-queue")
@click.option("--remove", is_flag=True, help="Remove what is found.")
@click.option(
    "--older-than",
    metavar="MINUTES",
    type=click.IntRange(min=1),
    default=60,
    show_default=True,
    help="Leave alone what was written to since.",
)
@click.option(
    "--config-directory",
    default="/etc/postfix",
    show_default=True,
    help="Of Postfix; its other instances are looked at, too.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def sweep_queue(remove: bool, older_than: int, config_directory: str, as_json: bool) -> None:
    """Find files in `incoming` of Postfix's queue that a killed cleanup(8) has left behind.

    They hold messages in plaintext, whose senders were told to try again. The queue may be in
    use: a file that any process has open is none of them.

    Exit status: 0 there are none any more, 1 there are, 74 it cannot be told.
    """
    before = time.time() - older_than * _MINUTE
    try:
        queues = queue_directories(config_directory)
        found = [orphan for queue in queues for orphan in sweep(queue, before, remove=remove)]
    except (PostfixUnreadable, QueueUnreadable) as error:
        click.echo(f"letterlock: {error}", err=True)
        sys.exit(os.EX_IOERR)
    _print(found, as_json=as_json)
    if found and not remove:
        sys.exit(EXIT_LEFT)


def _print(found: Sequence[Orphan], *, as_json: bool) -> None:
    if as_json:
        print_json([{**asdict(orphan), "path": str(orphan.path)} for orphan in found])
        return
    for orphan in found:
        minutes = int(time.time() - orphan.modified_at) // _MINUTE
        what = "removed" if orphan.is_removed else "orphan"
        click.echo(f"{what} {orphan.path}: {orphan.octets} octets, {minutes} minutes old")
