"""`letterlock enrol`, `withdraw`, `list`, `explain`: certificates of mailboxes."""

from collections.abc import Sequence
from typing import BinaryIO

import click

from keyservice.client import Explanation, Mailbox, Outcome, Subkey
from letterlock.cli.service import (
    MailboxParameter,
    console,
    day,
    delay_note,
    key_service,
    moment,
    print_json,
    speaks_with_service,
    table,
)


@click.command()
@click.argument("mailbox", metavar="ADDRESS", type=MailboxParameter())
@click.argument("certificate", metavar="FILE|-", type=click.File("rb"))
@speaks_with_service
def enrol(mailbox: Mailbox, certificate: BinaryIO, service: str, as_json: bool) -> None:
    """Encrypt mail for ADDRESS to the certificate in FILE from now on.

    Armored or binary. It must be one public certificate with ADDRESS in a user ID.
    """
    with key_service(service) as client:
        enrolment = client.enrol(mailbox, certificate.read())
    if as_json:
        print_json(enrolment)
        return
    console().print(f"{enrolment.mailbox}: enrolled {enrolment.fingerprint}")
    if enrolment.replaced:
        console().print(f"It replaces {enrolment.replaced}.")
    _print_subkeys(enrolment.subkeys)
    _print_note(enrolment.effective_within)


@click.command()
@click.argument("mailbox", metavar="ADDRESS", type=MailboxParameter())
@speaks_with_service
def withdraw(mailbox: Mailbox, service: str, as_json: bool) -> None:
    """Stop using the certificate of ADDRESS; its mail is deferred from now on.

    It is not accepted in the clear, whatever the domain's policy says.
    """
    with key_service(service) as client:
        withdrawal = client.withdraw(mailbox)
    if as_json:
        print_json(withdrawal)
        return
    console().print(f"{withdrawal.mailbox}: withdrew {withdrawal.fingerprint}")
    _print_note(withdrawal.effective_within)


@click.command("list")
@click.option(
    "--expiring",
    metavar="[DAYS]",
    type=click.IntRange(0, 36_500),
    is_flag=False,
    flag_value=60,
    help="Only those whose certificate in use ends within DAYS (60) days, the next one first.",
)
@speaks_with_service
def list_mailboxes(expiring: int | None, service: str, as_json: bool) -> None:
    """List mailboxes that have or had a certificate."""
    with key_service(service) as client:
        mailboxes = list(client.mailboxes(expiring))
    if expiring is not None:
        mailboxes.sort(key=lambda one: one.not_after or 0)
    if as_json:
        print_json(mailboxes)
        return
    rows = [
        (m.mailbox, _STATES[m.outcome], m.fingerprint, day(m.not_after), m.reason)
        for m in mailboxes
    ]
    console().print(
        table("Mailboxes", ("mailbox", "certificate", "fingerprint", "until", "reason"), rows)
    )


@click.command()
@click.argument("mailbox", metavar="ADDRESS", type=MailboxParameter())
@speaks_with_service
def explain(mailbox: Mailbox, service: str, as_json: bool) -> None:
    """Tell everything that is known about ADDRESS."""
    with key_service(service) as client:
        explanation = client.explain(mailbox)
    if as_json:
        print_json(explanation)
    else:
        _print_explanation(explanation)


_STATES = {
    Outcome.FOUND: "in use",
    Outcome.NOT_FOUND: "none",
    Outcome.REJECTED: "must not be used",
    Outcome.OUTSIDE: "not ours",
    Outcome.UNAVAILABLE: "unknown",
}


def _print_explanation(explanation: Explanation) -> None:
    out = console()
    reason = f" ({explanation.reason})" if explanation.reason else ""
    out.print(f"{explanation.mailbox}: certificate {_STATES[explanation.outcome]}{reason}")
    if explanation.had_certificate:
        out.print("It has or had a certificate: never plaintext, whatever the domain says.")
    bindings = [
        (b.fingerprint, b.state, day(b.since), day(b.not_after), day(b.vetted_at), b.refused)
        for b in explanation.bindings
    ]
    bound = ("fingerprint", "state", "since", "until", "vetted", "refused")
    out.print(table("Certificates", bound, bindings))
    for binding in explanation.bindings:
        if binding.state == "active":
            _print_subkeys(binding.subkeys)
    sightings = [
        (moment(s.at), s.source, str(s.level), "yes" if s.authenticated else "no", s.fingerprint)
        for s in explanation.evidence
    ]
    seen = ("seen", "source", "level", "authenticated", "fingerprint")
    out.print(table("Evidence", seen, sightings))
    events = [(moment(e.at), e.kind, e.fingerprint, e.reason, e.detail) for e in explanation.events]
    out.print(table("Events", ("at", "kind", "fingerprint", "reason", "detail"), events))


def _print_subkeys(subkeys: Sequence[Subkey]) -> None:
    rows = [(s.fingerprint, day(s.not_after), s.refused or "encrypted to") for s in subkeys]
    console().print(table("Encryption subkeys", ("fingerprint", "until", "use"), rows))


def _print_note(effective_within: int) -> None:
    if note := delay_note(effective_within):
        console().print(note)
