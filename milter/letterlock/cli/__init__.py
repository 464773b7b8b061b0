"""`letterlock`, the operator's command. Assembles the commands; each module owns its own."""

import click

from letterlock.cli import (
    certificates,
    client_certificates,
    decrypt,
    dkim_keys,
    doctor,
    man_pages,
    policy,
    re_encrypt,
    status,
    sweep_queue,
    trace,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="letterlock")
def main() -> None:
    """Look after Letterlock: certificates and policy of mailboxes, and this host."""


main.add_command(certificates.enrol)
main.add_command(certificates.withdraw)
main.add_command(certificates.list_mailboxes)
main.add_command(certificates.explain)
main.add_command(policy.policy)
main.add_command(client_certificates.client_certificate)
main.add_command(decrypt.decrypt)
main.add_command(doctor.doctor)
main.add_command(status.status)
main.add_command(trace.trace_message)
main.add_command(dkim_keys.dkim_key)
main.add_command(re_encrypt.re_encrypt)
main.add_command(sweep_queue.sweep_queue)
main.add_command(man_pages.man_pages)
