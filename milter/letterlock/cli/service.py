"""What all commands that speak with the key service share: where it is, and how it fails."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from keyservice.client import (
    SENDER_HELD_MAX,
    InvalidMailbox,
    Mailbox,
    OperatorClient,
    ServiceForbidden,
    ServiceRefused,
    ServiceUnavailable,
)

SERVICE_DEFAULT = "unix:/run/letterlock/keyservice.sock"

EXIT_REFUSED = 1
"""The key service said no; trying the same again is no use."""

_Command = Callable[..., None]


class MailboxParameter(click.ParamType[Mailbox]):
    """An address on the command line."""

    name = "address"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Mailbox:
        """Return the mailbox, or fail."""
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
        """Return 40 or 64 digits in lower case, or fail."""
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
    except ServiceForbidden as error:
        line = f"key service at {service}: {error}; run it as root, or in the socket's group"
        _end(line, os.EX_NOPERM)
    except ServiceUnavailable as error:
        _end(f"key service at {service}: {error}", os.EX_UNAVAILABLE)
    except ValueError as error:
        _end(f"--service: {error}", os.EX_USAGE)


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
