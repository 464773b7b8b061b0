"""`letterlock client-certificate ca …`: the authorities that issue client certificates."""

from typing import TextIO

import click

from keyservice.client import ClientCA, ClientCAs
from letterlock.cli.output import day, print_json, print_table
from letterlock.cli.service import key_service, speaks_with_service


@click.group("ca")
def authorities() -> None:
    """Make, list and retire the authorities that issue. The newest one does."""


@authorities.command()
@speaks_with_service
def create(service: str, as_json: bool) -> None:
    """Make an authority, which issues from now on; those that are there stay trusted.

    Postfix knows it after it has read the file that `ca export` writes: postfix reload.
    """
    with key_service(service) as client:
        known = client.client_certificates.create_authority()
    _tell(known, as_json, f"created {known.authorities[0].name}")


@authorities.command("list")
@speaks_with_service
def list_authorities(service: str, as_json: bool) -> None:
    """List the authorities, the newest first."""
    with key_service(service) as client:
        known = client.client_certificates.authorities()
    if as_json:
        print_json(known)
        return
    rows = [
        (ca.name, _state(ca, known), day(ca.created_at), day(ca.not_after), str(ca.certificates))
        for ca in known.authorities
    ]
    titles = ("name", "state", "created", "until", "certificates")
    print_table("Authorities", titles, rows)


@authorities.command()
@click.argument("name", metavar="NAME")
@click.option("--yes", is_flag=True, help="Do not ask.")
@speaks_with_service
def retire(name: str, yes: bool, service: str, as_json: bool) -> None:
    """End the authority NAME, all that it issued, and its private key."""
    with key_service(service) as client:
        calls = client.client_certificates
        ended = next((ca for ca in calls.authorities().authorities if ca.name == name), None)
        if ended is not None and not yes:
            question = f"{ended.certificates} client certificates end with {name}. Go on?"
            click.confirm(question, abort=True, err=True)
        known = calls.retire_authority(name)
    _tell(known, as_json, f"retired {name}")


@authorities.command()
@click.option("--out", metavar="FILE|-", type=click.File("w"), default="-", help="Not to stdout.")
@speaks_with_service
def export(out: TextIO, service: str, as_json: bool) -> None:
    """Write the certificates of all trusted authorities, PEM, for smtpd_tls_CAfile."""
    with key_service(service) as client:
        known = client.client_certificates.authorities()
    if as_json:
        print_json(known)
    else:
        out.write(known.trusted)


def _tell(known: ClientCAs, as_json: bool, what: str) -> None:
    if as_json:
        print_json(known)
    else:
        click.echo(what)
    if known.file_problem:
        click.echo(f"letterlock: not told to Postfix: {known.file_problem}", err=True)


def _state(ca: ClientCA, known: ClientCAs) -> str:
    if ca.retired_at is not None:
        return f"retired {day(ca.retired_at)}"
    if ca.issues:
        return "issues"
    return "trusted" if ca.certificate in known.trusted else "ended"
