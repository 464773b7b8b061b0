"""What the `dkim-key` commands share: their options, the DNS, and how they fail."""

import functools
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from keyservice.client import InvalidMailbox, Mailbox
from letterlock.config import SubmissionSection
from letterlock.dkim.domain_keys import KeysRefused, Look
from letterlock.dkim.key_record import PUBLISHED, Publication, publication
from letterlock.dkim.public_key import KeyRecords
from letterlock.dkim.signer import BITS_MIN, Signer
from letterlock.dns import Deadline, DnsUnavailable, Resolver
from letterlock.errors import ConfigError, SigningImpossible

EXIT_REFUSED = 1
"""Something is not as it must be; the line on stderr says what."""

DIRECTORY_DEFAULT = Path(SubmissionSection().dkim_directory)

_DNS_SECONDS = 15.0

_Command = Callable[..., None]


class _Domain(click.ParamType[str]):
    name = "domain"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return it in lower case and A-labels, or fail."""
        try:
            return Mailbox.parse(f"postmaster@{value}").domain
        except InvalidMailbox as error:
            self.fail(f"not a domain: {error}", param, ctx)


DOMAIN = click.argument("domain", type=_Domain())
DOMAINS = click.argument("domains", metavar="[DOMAIN]...", type=_Domain(), nargs=-1)
DIRECTORY = click.option(
    "--directory",
    envvar="LETTERLOCK_DKIM_DIRECTORY",
    default=DIRECTORY_DEFAULT,
    show_default=True,
    type=click.Path(path_type=Path),
    help="dkim_directory of the milter's configuration.",
)
BITS = click.option(
    "--bits",
    type=click.Choice((BITS_MIN, 3072, 4096)),
    default=BITS_MIN,
    show_default=True,
    help="Of the RSA key. With more, some DNS panels cannot take the record.",
)
NAMESERVERS = click.option(
    "--nameserver",
    "nameservers",
    metavar="IP[:PORT]",
    multiple=True,
    default=("",),
    help="Ask this one, for instance one that serves the zone. Of several, each must agree.",
)


def one_line_errors(command: _Command) -> _Command:
    """Turn what can go wrong into one line on stderr and an exit status."""

    @functools.wraps(command)
    def run(*args: object, **options: object) -> None:
        try:
            command(*args, **options)
        except KeysRefused as error:
            if error.record:
                click.echo(error.record)
            _end(str(error), EXIT_REFUSED)
        except SigningImpossible as error:
            _end(str(error), EXIT_REFUSED)
        except BrokenPipeError:
            raise
        except OSError as error:
            _end(f"{error.filename or '--directory'}: {error.strerror}", EXIT_REFUSED)
        except ConfigError as error:
            # In place of the name that the setting has in the milter's configuration.
            _end(f"--nameserver: {str(error).partition(': ')[2]}", os.EX_USAGE)
        except DnsUnavailable as error:
            _end(f"the DNS gives no answer: {error}", os.EX_UNAVAILABLE)

    return run


def publication_asking(nameservers: Sequence[str]) -> Look:
    """Return what asks all of `nameservers`; the first that objects is right."""
    resolvers = [Resolver(_with_port(nameserver)) for nameserver in nameservers]

    def look(domain: str, signer: Signer) -> Publication:
        deadline = Deadline.after(_DNS_SECONDS)
        found = [publication(domain, signer, _asking(one, deadline)) for one in resolvers]
        return next((one for one in found if not one.is_right), PUBLISHED)

    return look


def _asking(resolver: Resolver, deadline: Deadline) -> KeyRecords:
    return lambda name: resolver.txt(name, deadline)


def _with_port(nameserver: str) -> str:
    return f"{nameserver}:53" if nameserver and ":" not in nameserver else nameserver


def _end(line: str, status: int) -> None:
    click.echo(f"letterlock: {line}", err=True)
    sys.exit(status)
