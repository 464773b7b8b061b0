"""`letterlock dkim-key generate|activate|rotate|remove|list|check`: the keys that sign mail.

Each command takes one step, may be repeated, and says what the next one is, as comments of a
zone file around the records.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click

from letterlock.cli.dkim_options import (
    BITS,
    DIRECTORY,
    DIRECTORY_DEFAULT,
    DOMAIN,
    DOMAINS,
    EXIT_REFUSED,
    NAMESERVERS,
    one_line_errors,
    publication_asking,
)
from letterlock.cli.output import day, print_json, print_table
from letterlock.dkim.domain_keys import DomainKeys, Look
from letterlock.dkim.key_files import Key, State, domains_in
from letterlock.dkim.key_record import record_name, zone_lines
from letterlock.dkim.rotation import in_state, is_record_needed, removable_from
from letterlock.errors import SigningImpossible


@click.group("dkim-key")
def dkim_key() -> None:
    """Look after the keys that sign outgoing mail (docs/dkim.md).

    generate, publish the records, activate. Once a year: rotate, publish, activate; two weeks
    later remove. Exit status: 0 done, 1 refused or not right, 69 the DNS does not answer.
    """


@dkim_key.command()
@DOMAIN
@BITS
@DIRECTORY
@one_line_errors
def generate(domain: str, bits: int, directory: Path) -> None:
    """Make the first keys of DOMAIN and print their DNS records."""
    keys = DomainKeys(directory, domain)
    _print_records(keys, keys.generate(bits, _now()), directory)


@dkim_key.command()
@DOMAIN
@BITS
@DIRECTORY
@one_line_errors
def rotate(domain: str, bits: int, directory: Path) -> None:
    """Make new keys beside the active ones and print their DNS records.

    Mail is signed with the active ones until `activate`. Repeated before that, it prints the
    same records again.
    """
    keys = DomainKeys.existing(directory, domain)
    _print_records(keys, keys.rotate(bits, _now()), directory)


@dkim_key.command()
@DOMAIN
@NAMESERVERS
@DIRECTORY
@one_line_errors
def activate(domain: str, nameservers: Sequence[str], directory: Path) -> None:
    """Sign with the new keys of DOMAIN, if the DNS has their records; retire the old ones."""
    look = publication_asking(nameservers)
    active, retired = DomainKeys.existing(directory, domain).activate(look, _now())
    if not active:
        click.echo(f"; {domain}: there are no new keys.")
        return
    click.echo(f"; {domain}: mail is signed with {_names(active)} from now on.")
    if retired:
        click.echo(f"; Leave the records of {_names(retired)} where they are. In two weeks:")
        click.echo(f";   {_call('remove', domain, directory)}")


@dkim_key.command()
@DOMAIN
@DIRECTORY
@one_line_errors
def remove(domain: str, directory: Path) -> None:
    """Delete keys that were retired two weeks ago and name the records that may go."""
    keys = DomainKeys.existing(directory, domain)
    for key in keys.remove(_now()):
        click.echo(f"; Delete this record: {record_name(domain, key.selector)}.")
    for key in in_state(keys.known(), State.RETIRED):
        until = day(removable_from(key))
        click.echo(f"; Leave until {until}: {record_name(domain, key.selector)}.")


@dkim_key.command("list")
@DOMAINS
@DIRECTORY
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@one_line_errors
def list_(domains: Sequence[str], directory: Path, as_json: bool) -> None:
    """List the keys of all domains, or of DOMAINs."""
    found = _all(domains, directory)
    listed = [_facts(keys.domain, key) for keys in found for key in keys.known()]
    if as_json:
        print_json(listed)
        return
    rows = [tuple(facts.values())[:5] for facts in listed]
    print_table("DKIM keys", ("domain", "selector", "type", "state", "since"), rows)


@dkim_key.command()
@DOMAINS
@NAMESERVERS
@DIRECTORY
@click.pass_context
@one_line_errors
def check(
    context: click.Context, domains: Sequence[str], nameservers: Sequence[str], directory: Path
) -> None:
    """Compare the keys of all domains, or of DOMAINs, with the DNS; print records it lacks.

    Exit status 1 where mail cannot be signed, or mail that is on its way not be verified.
    """
    look = publication_asking(nameservers)
    rows = [row for keys in _all(domains, directory) for row in _verdicts(keys, look, _now())]
    print_table("DKIM keys", ("domain", "selector", "state", "DNS", ""), rows)
    if any(row[-1] for row in rows):
        context.exit(EXIT_REFUSED)


def _all(domains: Sequence[str], directory: Path) -> list[DomainKeys]:
    return [DomainKeys.existing(directory, domain) for domain in domains or domains_in(directory)]


def _facts(domain: str, key: Key) -> dict[str, str]:
    return {
        "domain": domain,
        "selector": key.selector,
        "type": key.key_type.value,
        "state": key.state.value,
        "since": day(key.since),
        "record": record_name(domain, key.selector),
    }


def _verdicts(keys: DomainKeys, look: Look, now: int) -> Iterator[tuple[str, ...]]:
    """Yield a row for each key; the last cell is empty where nothing is wrong."""
    known = keys.known()
    if not in_state(known, State.ACTIVE):
        yield keys.domain, "", "", "", "no active key: mail is deferred"
    for key in known:
        found, trouble = _verdict(keys, key, look, now)
        yield keys.domain, key.selector, key.state.value, found, trouble


def _verdict(keys: DomainKeys, key: Key, look: Look, now: int) -> tuple[str, str]:
    try:
        signer = keys.signer(key)
    except SigningImpossible as error:
        return "", str(error)
    found = look(keys.domain, signer)
    if found.is_right or not is_record_needed(key, now):
        return found.text, ""
    click.echo(zone_lines(keys.domain, signer))
    return found.text, "mail cannot be verified: publish the record above"


def _print_records(keys: DomainKeys, new: Iterable[Key], directory: Path) -> None:
    for key in new:
        click.echo(zone_lines(keys.domain, keys.signer(key)))
    click.echo("; Publish these records. When they can be seen:")
    click.echo(f";   {_call('activate', keys.domain, directory)}")


def _call(command: str, domain: str, directory: Path) -> str:
    option = "" if directory == DIRECTORY_DEFAULT else f" --directory {directory}"
    return f"letterlock dkim-key {command}{option} {domain}"


def _names(keys: Iterable[Key]) -> str:
    return " and ".join(key.selector for key in keys)


def _now() -> int:
    return int(time.time())
