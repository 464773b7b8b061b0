"""`letterlock doctor`: does this Postfix keep Letterlock's promise?"""

import sys

import click
import msgspec

from keyservice.client import ClientConfig, KeyServiceClient, Mailbox, Outcome
from letterlock import postfix
from letterlock.cli.service import speaks_with_service
from letterlock.postfix_findings import Expected, Finding, Severity
from letterlock.postfix_rules import delivered_domains, findings, unserved

EXIT_BREACH = 1
EXIT_UNREADABLE = 2


@click.command()
@click.option("--config-directory", default="/etc/postfix", show_default=True)
@click.option(
    "--milter",
    default=Expected().milter,
    show_default=True,
    help="Part of Letterlock's address in smtpd_milters.",
)
@click.option(
    "--submission",
    default=Expected().submission,
    show_default=True,
    help="The same for its submission role.",
)
@click.option(
    "--reentry",
    default=Expected().reentry,
    show_default=True,
    help="The re-entry port, as in the milter's configuration.",
)
@speaks_with_service
def doctor(
    config_directory: str, milter: str, submission: str, reentry: str, service: str, as_json: bool
) -> None:
    """Name every setting of Postfix by which mail could be stored in plaintext, forged or damaged.

    Exit status: 0 none (notes aside), 1 some, 2 the settings cannot be read.
    """
    try:
        settings = postfix.read(config_directory)
    except postfix.PostfixUnreadable as error:
        click.echo(f"letterlock doctor: {error}", err=True)
        sys.exit(EXIT_UNREADABLE)
    found = findings(settings, Expected(milter=milter, submission=submission, reentry=reentry))
    found += _unserved(settings, service)
    click.echo(msgspec.json.encode(found).decode() if as_json else _report(found))
    if any(finding.severity is Severity.BREACH for finding in found):
        sys.exit(EXIT_BREACH)


def _unserved(settings: postfix.Settings, service: str) -> list[Finding]:
    client = KeyServiceClient(ClientConfig(service=service))
    outcomes = {
        domain: client.lookup(Mailbox("postmaster", domain)).outcome
        for domain in delivered_domains(settings)
    }
    if Outcome.UNAVAILABLE in outcomes.values():
        reason = "it would tell which of Postfix' domains it does not serve"
        return [Finding("key service", "start it", reason, Severity.NOTE)]
    return list(unserved([d for d, outcome in outcomes.items() if outcome is Outcome.OUTSIDE]))


def _report(found: list[Finding]) -> str:
    if not found:
        return "Nothing to correct."
    return "\n\n".join(
        f"{finding.severity.value:6}  {finding.where}: {finding.line}\n        {finding.reason}"
        for finding in found
    )
