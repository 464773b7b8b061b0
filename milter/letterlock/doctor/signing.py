"""Rules about what the submission role needs: signing keys, and whom Postfix trusts."""

from collections.abc import Callable, Iterable, Iterator

from letterlock.doctor.host import Host
from letterlock.postfix import Settings
from letterlock.postfix_findings import Expected, Finding, Severity
from letterlock.postfix_submission import has_role

Complaint = Callable[[str], str]
"""Why mail of a domain cannot be signed; empty: it can."""


def keys(domains: Iterable[str], complaint: Complaint) -> Iterator[Finding]:
    """Each domain has an active key that the milter can read."""
    for domain in domains:
        if why := complaint(domain):
            yield Finding(
                f"DKIM key of {domain}",
                f"letterlock dkim-key generate {domain}, publish what it prints, then "
                f"letterlock dkim-key activate {domain}",
                "what its users hand in is deferred, or refused",
                Severity.FAULT,
                why,
            )


def trusted(
    settings: Settings, expected: Expected, host: Host, authority: str
) -> Iterator[Finding]:
    """Postfix trusts our authority for client certificates, whose file is there."""
    if not has_role(settings, expected):
        return
    for path in sorted({f for f in _trusted_files(settings) if f}):
        text = host.read(path)
        if text is None or "-----BEGIN CERTIFICATE-----" not in text:
            yield Finding(
                path,
                "letterlock client-certificate ca create, and [client_ca] trusted_file",
                "no client certificate is accepted",
                Severity.FAULT,
                "smtpd_tls_CAfile is not there, or there is no certificate in it",
            )
        elif authority and path != authority:
            yield Finding(
                path,
                f"-o smtpd_tls_CAfile={authority}",
                "who is in a CA file may send as whomever its certificates name",
                what="smtpd_tls_CAfile is not the file that the key service writes",
            )


def _trusted_files(settings: Settings) -> Iterator[str]:
    for service in settings.services:
        asks = settings.of(service, "smtpd_tls_ask_ccert") == "yes"
        if service.program == "smtpd" and asks:
            yield settings.of(service, "smtpd_tls_CAfile")
