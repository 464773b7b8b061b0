"""`letterlock enrol`, `withdraw`, `list`, `explain`: certificates of mailboxes."""

from typing import BinaryIO

import click

from keyservice.client import Mailbox
from letterlock.cli.explanation import STATES, print_explanation, print_subkeys
from letterlock.cli.output import console, day, moment, print_json, print_table
from letterlock.cli.service import (
    Fingerprint,
    MailboxParameter,
    delay_note,
    key_service,
    speaks_with_service,
)


@click.command()
@click.argument("mailbox", metavar="ADDRESS", type=MailboxParameter())
@click.argument("certificate", metavar="FILE|-", type=click.File("rb"))
@click.option(
    "--confirmed-fingerprint",
    "confirmed",
    metavar="FPR",
    type=Fingerprint(),
    help="What the owner says it is, by another way than the file: then it need not wait.",
)
@speaks_with_service
def enrol(
    mailbox: Mailbox, certificate: BinaryIO, confirmed: str | None, service: str, as_json: bool
) -> None:
    """Encrypt mail for ADDRESS to the certificate in FILE.

    Armored or binary. It must be one public certificate with ADDRESS in a user ID. A first one
    is used from now on. One that replaces another waits, a week by default, unless the other
    one certified it, has expired or was revoked: its owner is to have time to object.
    """
    with key_service(service) as client:
        enrolment = client.enrol(mailbox, certificate.read(), confirmed)
    if as_json:
        print_json(enrolment)
        return
    if enrolment.waits_until is None:
        console().print(f"{enrolment.mailbox}: enrolled {enrolment.fingerprint}")
    else:
        console().print(f"{enrolment.mailbox}: {enrolment.fingerprint} waits")
        console().print(
            f"It replaces {enrolment.waits_for} at {moment(enrolment.waits_until)}, or at once"
            " with --confirmed-fingerprint."
        )
    if enrolment.replaced:
        console().print(f"It replaces {enrolment.replaced}.")
    print_subkeys(enrolment.subkeys)
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
    type=click.IntRange(1, 36_500),
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
        (
            m.mailbox,
            STATES[m.outcome],
            m.fingerprint,
            day(m.not_after),
            day(m.waits_until),
            m.reason,
        )
        for m in mailboxes
    ]
    titles = ("mailbox", "certificate", "fingerprint", "until", "replaced at", "reason")
    print_table("Mailboxes", titles, rows)


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
        print_explanation(explanation)


def _print_note(effective_within: int) -> None:
    if note := delay_note(effective_within):
        console().print(note)
