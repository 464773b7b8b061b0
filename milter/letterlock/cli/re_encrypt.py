"""`letterlock re-encrypt`: encrypts mail that is stored already, where it lies."""

import io
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from getpass import getpass
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from keyservice.client import Answer, ClientConfig, KeyServiceClient, Mailbox, Outcome
from letterlock.ciphertext import Spill, one_off
from letterlock.cli.output import print_json
from letterlock.cli.service import MailboxParameter, speaks_with_service
from letterlock.own_fields import Marker, UnprintableField
from letterlock.reencryption.addressee import Addressee, NoCertificate
from letterlock.reencryption.encryption import Encryption
from letterlock.reencryption.engine import Audience, Engine, Fate, Pace, Summary
from letterlock.reencryption.imap_server import BadAddress
from letterlock.reencryption.opening import opened
from letterlock.reencryption.store import Reference, Store, StoreFailed
from letterlock.transaction import Recipient

EXIT_NOT_ALL = 1
EXIT_STOPPED = 130

_SPILL_OCTETS = 64 * 1024 * 1024
_QUESTION = "Encrypt the {} messages in {} to certificate {} of {}, who alone can read them then?"
_STOPPED = "Stopped. Run it again to go on."
_IN_THE_END = (
    "The plaintext is in no file of this store any more, but its blocks are on the disk: free, not"
    " wiped. An encrypted volume or fstrim(8) sees to them. Backups, snapshots and what mail"
    " programs keep are as they were."
)


@click.command("re-encrypt")
@click.argument("store", metavar="MAILDIR|IMAP-URL")
@click.option(
    "--mailbox",
    metavar="ADDRESS",
    type=MailboxParameter(),
    required=True,
    help="Whose mail it is, and whose certificate it is encrypted to.",
)
@click.option("--dry-run", is_flag=True, help="Only count what would be encrypted.")
@click.option(
    "--rate",
    metavar="MESSAGES/S",
    type=click.FloatRange(min=0, min_open=True),
    help="Encrypt no more than these in a second.",
)
@click.option("--yes", is_flag=True, help="Do not ask whether this is the certificate.")
@click.option(
    "--password-file",
    type=click.File("r"),
    help="Holds the password for IMAP in its first line; else it is asked for.",
)
@click.option(
    "--authserv-id",
    metavar="NAME",
    default=socket.getfqdn,
    help="As in the milter's configuration, if that is not the name of this host.",
)
@speaks_with_service
def re_encrypt(
    store: str, mailbox: Mailbox, service: str, authserv_id: str, as_json: bool, **options: Any
) -> None:
    """Encrypt stored mail to the certificate of ADDRESS, whose mail it must be.

    The store is a MAILDIR with all its folders, imap://USER@HOST[:PORT], imaps://... or
    doveadm:USER, for Dovecot on this host. Mail that is encrypted already stays as it is.
    Killed at any moment, it loses nothing: run it again.

    Exit status: 0 all is encrypted, 1 not all of it or nothing to encrypt to, 69 the key
    service or 74 the store fails, 130 stopped.
    """
    _require_sound(authserv_id)
    password = options["password_file"]
    ask = getpass if password is None else lambda: password.readline().rstrip("\r\n")
    addressee = Addressee(mailbox, _lookup(service))
    encryption = Encryption(addressee, authserv_id, Spill(tempfile.gettempdir(), _SPILL_OCTETS))
    try:
        recipient = addressee.recipient()
        _import_all(recipient)
        with opened(store, service, ask, is_dry=options["dry_run"]) as place:
            fingerprint = recipient.fingerprint
            total = sum(len(place.references(folder)) for folder in place.folders())
            if not options["dry_run"] and not options["yes"]:
                click.confirm(_QUESTION.format(total, store, fingerprint, mailbox), abort=True)
            summary, notes = _run(place, encryption, total, options)
    except NoCertificate as error:
        status = os.EX_UNAVAILABLE if error.outcome is Outcome.UNAVAILABLE else EXIT_NOT_ALL
        _end(f"nothing to encrypt to for {mailbox}: {error}", status)
    except StoreFailed as error:
        _end(str(error), os.EX_IOERR)
    except OSError as error:
        _end(f"{error.filename or store}: {error.strerror}", os.EX_IOERR)
    except BadAddress as error:
        raise click.BadParameter(str(error), param_hint="IMAP-URL") from None
    _report(summary, notes, is_dry=options["dry_run"], as_json=as_json)
    if not summary.is_complete:
        sys.exit(EXIT_STOPPED)
    if summary.fates[Fate.FAILED]:
        sys.exit(EXIT_NOT_ALL)


def _require_sound(authserv_id: str) -> None:
    try:
        Marker(authserv_id, "0" * 40)
    except UnprintableField:
        raise click.BadParameter("letters, digits, dots and dashes", param_hint="NAME") from None


def _lookup(service: str) -> Callable[[Mailbox], Answer]:
    try:
        return KeyServiceClient(ClientConfig(service=service)).lookup
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--service") from None


def _run(
    place: Store[Any], encryption: Encryption, total: int, options: dict[str, Any]
) -> tuple[Summary, list[str]]:
    with _bar(total) as advance, _until_stopped() as is_stopped:
        engine = Engine(
            place,
            encryption,
            Audience(advance, _complain),
            Pace(options["rate"], is_stopped),
            is_dry=options["dry_run"],
        )
        summary = engine.run()
    return summary, [] if options["dry_run"] else list(place.finish())


def _import_all(recipient: Recipient) -> None:
    """Have libraries import what they import when it is first needed.

    Their files may be out of the reach of the mail's owner, in whose name all the rest is done.
    """
    one_off(b"", recipient.subkeys, recipient.seipd)
    nowhere = Console(file=io.StringIO(), force_terminal=True)
    with Progress(*_columns(), console=nowhere) as progress:
        progress.advance(progress.add_task("", total=1))


def _columns() -> tuple[ProgressColumn, ...]:
    return BarColumn(), MofNCompleteColumn(), TextColumn("messages"), TimeRemainingColumn()


@contextmanager
def _bar(total: int) -> Iterator[Callable[[Fate, int], None]]:
    console = Console(stderr=True)
    with Progress(*_columns(), console=console, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=total)
        yield lambda _fate, messages: progress.advance(task, messages)


@contextmanager
def _until_stopped() -> Iterator[Callable[[], bool]]:
    """Let SIGINT and SIGTERM end the run between two messages; a second one does at once."""
    stopped = False

    def stop(number: int, _frame: object) -> None:
        nonlocal stopped
        stopped = True
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _complain(reference: Reference, why: str) -> None:
    click.echo(f"letterlock: {reference.folder}: {reference.name}: {why}", err=True)


def _report(summary: Summary, notes: Sequence[str], *, is_dry: bool, as_json: bool) -> None:
    if as_json:
        counts: dict[str, object] = {fate.name.lower(): summary.fates[fate] for fate in Fate}
        octets = {"octets_before": summary.octets_before, "octets_after": summary.octets_after}
        print_json(counts | octets | {"complete": summary.is_complete, "notes": list(notes)})
        return
    would, now = ("would be ", "then") if is_dry else ("", "now")
    sizes = f"{decimal(summary.octets_before)}, {now} {decimal(summary.octets_after)}"
    click.echo(f"{summary.fates[Fate.ENCRYPTED]:8} {would}encrypted ({sizes})")
    for fate in list(Fate)[1:]:
        if number := summary.fates[fate]:
            click.echo(f"{number:8} {fate.value}")
    for note in notes:
        click.echo(note)
    if not is_dry:
        click.echo(_IN_THE_END if summary.is_complete else _STOPPED)


def _end(line: str, status: int) -> NoReturn:
    click.echo(f"letterlock: {line}", err=True)
    sys.exit(status)
