"""`letterlock`, the operator's command. Names the commands; each module owns its own."""

import click

from letterlock.cli.ending import Program

_PLACES = {
    "enrol": (
        "letterlock.cli.certificates:enrol",
        "Encrypt mail for ADDRESS to the certificate in FILE.",
    ),
    "withdraw": (
        "letterlock.cli.certificates:withdraw",
        "Stop using the certificate of ADDRESS; its mail is deferred from now on.",
    ),
    "list": (
        "letterlock.cli.certificates:list_mailboxes",
        "List mailboxes that have or had a certificate.",
    ),
    "explain": (
        "letterlock.cli.certificates:explain",
        "Tell everything that is known about ADDRESS.",
    ),
    "policy": (
        "letterlock.cli.policy:policy",
        "Show or override how mail for and from a mailbox is treated.",
    ),
    "client-certificate": (
        "letterlock.cli.client_certificates:client_certificate",
        "Issue and revoke the X.509 certificates with which owners submit mail.",
    ),
    "decrypt": (
        "letterlock.cli.decrypt:decrypt",
        "Decrypt the stored MESSAGE (a file, or - for standard input) with the owner's GnuPG.",
    ),
    "doctor": (
        "letterlock.cli.doctor:doctor",
        "Name everything on this host by which mail could be stored in plaintext, forged or lost.",
    ),
    "status": (
        "letterlock.cli.status:status",
        "Show what the milter and the key service do, until Ctrl-C.",
    ),
    "trace": (
        "letterlock.cli.trace:trace_message",
        "Tell what happened to the message QUEUE-ID, and to the copies that were made of it.",
    ),
    "dkim-key": (
        "letterlock.cli.dkim_keys:dkim_key",
        "Look after the keys that sign outgoing mail (docs/dkim.md).",
    ),
    "re-encrypt": (
        "letterlock.cli.re_encrypt:re_encrypt",
        "Encrypt stored mail to the certificate of ADDRESS, whose mail it must be.",
    ),
    "sweep-queue": (
        "letterlock.cli.sweep_queue:sweep_queue",
        "Find files in `incoming` of Postfix's queue that a killed cleanup(8) has left behind.",
    ),
    "man-pages": (
        "letterlock.cli.man_pages:man_pages",
        "Write a manual page for each command into DIRECTORY, /usr/local/share/man/man1 for"
        " instance.",
    ),
}
"""Where each is, and its first sentence: the docstring's."""


@click.group(
    "letterlock",
    cls=Program,
    places=_PLACES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="letterlock")
def main() -> None:
    """Look after Letterlock: certificates and policy of mailboxes, and this host."""
