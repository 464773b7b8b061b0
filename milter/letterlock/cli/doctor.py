"""`letterlock doctor`: does this Postfix keep Letterlock's promise?"""

import sys

import click
import msgspec

from letterlock import postfix
from letterlock.postfix_findings import Expected, Finding, Severity
from letterlock.postfix_rules import findings

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
    "--reentry",
    default=Expected().reentry,
    show_default=True,
    help="The re-entry port, as in the milter's configuration.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON array, for programs.")
def doctor(config_directory: str, milter: str, reentry: str, as_json: bool) -> None:
    """Name every setting of Postfix by which mail could be stored in plaintext or damaged.

    Exit status: 0 none (notes aside), 1 some, 2 the settings cannot be read.
    """
    try:
        settings = postfix.read(config_directory)
    except postfix.PostfixUnreadable as error:
        click.echo(f"letterlock doctor: {error}", err=True)
        sys.exit(EXIT_UNREADABLE)
    found = findings(settings, Expected(milter=milter, reentry=reentry))
    click.echo(msgspec.json.encode(found).decode() if as_json else _report(found))
    if any(finding.severity is Severity.BREACH for finding in found):
        sys.exit(EXIT_BREACH)


def _report(found: list[Finding]) -> str:
    if not found:
        return "Nothing to correct."
    return "\n\n".join(
        f"{finding.severity.value:6}  {finding.where}: {finding.line}\n        {finding.reason}"
        for finding in found
    )
