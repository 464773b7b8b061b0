"""What Postfix's settings must be for the promise to hold, as pure rules over `Settings`.

Each finding names one deviation, the line that removes it and the reason. What the
lines mean, and where the manual says so, is in postfix-conf/README.md.
"""

from collections.abc import Callable, Iterator

from letterlock import postfix_servers, postfix_submission
from letterlock.postfix import Settings, elements
from letterlock.postfix_findings import MAIN, Expected, Finding, Severity

HEADER_OCTETS_MIN = 60_000
"""What Postfix hands to a milter of one header field; a lower limit cuts unseen."""

Rule = Callable[[Settings, Expected], Iterator[Finding]]


def findings(settings: Settings, expected: Expected) -> list[Finding]:
    """Return every deviation, breaches first."""
    found = [finding for rule in RULES for finding in rule(settings, expected)]
    return sorted(found, key=lambda finding: finding.severity is Severity.NOTE)


def _warnings(settings: Settings, _: Expected) -> Iterator[Finding]:
    for warning in settings.warnings:
        yield Finding(MAIN, "correct or remove the line", f"Postfix does not take it: {warning}")


def _main_values(settings: Settings, _: Expected) -> Iterator[Finding]:
    for name, (good, line, reason) in _MAIN_VALUES.items():
        if not good(settings.parameters.get(name, "")):
            yield Finding(MAIN, f"{name} = {line}", reason)


def _is_number_from(least: int) -> Callable[[str], bool]:
    return lambda value: value.isdecimal() and int(value) >= least


_MAIN_VALUES: dict[str, tuple[Callable[[str], bool], str, str]] = {
    "milter_default_action": (
        lambda value: value == "tempfail",
        "tempfail",
        "a milter that does not answer must defer mail, not let it through",
    ),
    "milter_protocol": (
        lambda value: elements(value)[:1] == ["6"],
        "6",
        "older versions lose the leading space of header fields; Letterlock then defers all mail",
    ),
    "internal_mail_filter_classes": (
        lambda value: {"bounce", "notify"} <= set(elements(value)),
        "bounce, notify",
        "delivery status notifications quote mail and would be stored as they are",
    ),
    "header_size_limit": (
        _is_number_from(HEADER_OCTETS_MIN),
        "102400",
        "header fields are cut before the milter sees them and cannot be restored",
    ),
    "smtpd_forbid_bare_newline": (
        lambda value: value in ("normalize", "yes", "reject"),
        "normalize",
        "without it a sender can smuggle in mail under another sender's name",
    ),
    "always_bcc": (
        lambda value: not value,
        "",
        "its recipient is unknown to the milter and gets what it is not encrypted to, or plaintext",
    ),
    "sender_bcc_maps": (
        lambda value: not value,
        "",
        "its recipients are unknown to the milter, see always_bcc",
    ),
    "recipient_bcc_maps": (
        lambda value: not value,
        "",
        "its recipients are unknown to the milter, see always_bcc",
    ),
    "canonical_maps": (
        lambda value: not value,
        "",
        "rewrites recipients behind the milter, which looked up others; use sender_canonical_maps "
        "or virtual_alias_maps",
    ),
    "recipient_canonical_maps": (
        lambda value: not value,
        "",
        "rewrites recipients behind the milter, see canonical_maps",
    ),
    "append_dot_mydomain": (
        lambda value: value != "yes",
        "no",
        "an address with an incomplete domain is looked up as it is and completed afterwards",
    ),
    "luser_relay": (
        lambda value: not value,
        "",
        "local(8) sends mail for unknown users to a mailbox that the milter did not look up",
    ),
}


def _notes(settings: Settings, _: Expected) -> Iterator[Finding]:
    for name in _CHECKS:
        values = [settings.parameters.get(name, "")]
        values += [service.overrides.get(name, "") for service in settings.services]
        values = [value for value in values if "letterlock-submission-received" not in value]
        if any(values):
            reason = "WARN, INFO and HOLD write what they match, Subject included, to the log"
            yield Finding(MAIN, f"look through {name}", reason, Severity.NOTE)
    if settings.parameters.get("content_filter"):
        reason = "it is given ciphertext; the server it returns mail to is checked like any other"
        yield Finding(MAIN, "content_filter =", reason, Severity.NOTE)
    if settings.parameters.get("alias_maps") and settings.parameters.get("mydestination"):
        reason = "mail that local(8) hands to a |command or a file is not encrypted for a mailbox"
        yield Finding(MAIN, "look through alias_maps", reason, Severity.NOTE)


_CHECKS = (
    "header_checks",
    "mime_header_checks",
    "nested_header_checks",
    "body_checks",
    "milter_header_checks",
)


def delivered_domains(settings: Settings) -> list[str]:
    """Return the domains that are written out as delivered by this Postfix."""
    names = ("mydestination", "virtual_mailbox_domains", "relay_domains")
    listed = [d for name in names for d in elements(settings.parameters.get(name, ""))]
    return sorted({d.lower() for d in listed if not set(d) & set(":/!=")})


def unserved(domains: list[str]) -> Iterator[Finding]:
    """Yield a note for each of `domains`, which the key service does not know."""
    for domain in domains:
        reason = "Postfix delivers its mail, and the key service does not know it: stored as it is"
        yield Finding("keyservice.toml", f'[domains."{domain}"]', reason, Severity.NOTE)


RULES: tuple[Rule, ...] = (
    _warnings,
    _main_values,
    postfix_servers.non_smtpd,
    postfix_servers.servers,
    postfix_submission.submissions,
    postfix_servers.sizes,
    postfix_servers.reentry,
    _notes,
)
