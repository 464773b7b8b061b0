"""`letterlock re-encrypt`: encrypts mail that is stored already, where it lies."""

import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from getpass import getpass
from pathlib import Path
from threading import Event
from typing import Any

import click
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from keyservice.client import ClientConfig, KeyServiceClient, Mailbox, Outcome
from letterlock.ciphertext import Spill
from letterlock.cli.service import MailboxParameter, print_json, speaks_with_service
from letterlock.reencryption.encryption import Encryption, NoCertificate
from letterlock.reencryption.engine import Audience, Engine, Fate, Pace, Summary
from letterlock.reencryption.imap_server import BadAddress
from letterlock.reencryption.opening import opened
from letterlock.reencryption.store import Reference, Store, StoreFailed

EXIT_NOT_ALL = 1
EXIT_STOPPED = 130

_SPILL_OCTETS = 64 * 1024 * 1024
_ORDER = (Fate.ENCRYPTED, Fate.OURS, Fate.PASSED, Fate.GONE, Fate.FAILED)

_IN_THE_END = (
    "The plaintext is in no file of this store any more, but its blocks are on the disk: free, not"
    " wiped. An encrypted volume or fstrim(8) sees to them. Backups, snapshots and what mail"
    " programs keep are as they were."
)


@click.command("re-encrypt")
@click.argument("store", metavar="MAILDIR|IMAP-URL")
@click.option("--mailbox", metavar="ADDRESS", type=MailboxParameter(), required=True)
@click.option("--dry-run", is_flag=True, help="Only count what would be encrypted.")
@click.option(
    "--rate",
    metavar="MESSAGES/S",
    type=click.FloatRange(min=0, min_open=True),
    help="Encrypt no more than these in a second.",
)
@click.option("--yes", is_flag=True, help="Do not ask whether certificate and store belong together.")
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
    try:
        lookup = KeyServiceClient(ClientConfig(service=service)).lookup
        spill = Spill(tempfile.gettempdir(), _SPILL_OCTETS)
        encryption = Encryption(mailbox, lookup, authserv_id, spill)
        password = options["password_file"]
        ask = getpass if password is None else lambda: password.readline().rstrip("\r\n")
        with opened(store, service, ask, is_dry=options["dry_run"]) as place:
            summary = _run(place, encryption, store, options)
    except NoCertificate as error:
        status = os.EX_UNAVAILABLE if error.outcome is Outcome.UNAVAILABLE else EXIT_NOT_ALL
        _end(f"nothing to encrypt to for {mailbox}: {error}", status)
    except StoreFailed as error:
        _end(str(error), os.EX_IOERR)
    except BadAddress as error:
        raise click.BadParameter(str(error), param_hint="IMAP-URL") from None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--service") from None
    print_json(_counts(summary)) if as_json else _print(summary, options["dry_run"])
    if not summary.is_complete:
        sys.exit(EXIT_STOPPED)
    if summary.fates[Fate.FAILED]:
        sys.exit(EXIT_NOT_ALL)
