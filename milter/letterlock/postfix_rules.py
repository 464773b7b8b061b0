"""What Postfix's settings must be for the promise to hold, as pure rules over `Settings`.

Each finding names one deviation, the line that removes it and the reason. What the
lines mean, and where the manual says so, is in postfix-conf/README.md.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from letterlock.postfix import Service, Settings, elements, milters

MAIN = "main.cf"
HEADER_OCTETS_MIN = 60_000
"""What Postfix hands to a milter of one header field; a lower limit cuts unseen."""

_SUBMISSION = frozenset({"submission", "submissions", "smtps", "587", "465"})
_LOOPBACK = ("127.", "[::1]:", "localhost:")


class Severity(Enum):
    """What a finding obliges the operator to."""

    BREACH = "breach"
    """Mail can be stored in plaintext, be disclosed, or be lost to its owner."""

    NOTE = "note"
    """Nothing that settings alone can tell to be wrong: to be looked at once."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One deviation."""

    where: str
    """`main.cf`, or the title of a service of master.cf."""

    line: str
    """The line to add there, or what to change."""

    reason: str
    severity: Severity = Severity.BREACH


@dataclass(frozen=True, slots=True)
class Expected:
    """How the operator's Letterlock is wired in."""

    milter: str = "letterlock"
    """Part of the milter's address in smtpd_milters that tells it from others."""

    reentry: str = "127.0.0.1:10027"
    """Service name of the re-entry port."""


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
}


def _non_smtpd(settings: Settings, expected: Expected) -> Iterator[Finding]:
    chain = settings.parameters.get("non_smtpd_milters", "")
    default = settings.parameters.get("milter_default_action", "")
    yield from _chain(MAIN, "non_smtpd_milters", chain, default, expected)


def _servers(settings: Settings, expected: Expected) -> Iterator[Finding]:
    for service in settings.services:
        if service.program == "smtpd" and service.name != expected.reentry:
            yield from _server_chain(settings, service, expected)
            yield from _bypasses(settings, service)
            yield from _dropped_fields(settings, service)


def _server_chain(settings: Settings, service: Service, expected: Expected) -> Iterator[Finding]:
    chain = settings.of(service, "smtpd_milters")
    default = settings.of(service, "milter_default_action")
    yield from _chain(service.title, "smtpd_milters", chain, default, expected)
    queue = settings.parameters.get("queue_directory", "")
    for milter in milters(chain):
        # The path is looked up after chroot(2), below the queue directory.
        if service.chrooted and milter.address.startswith(f"unix:{queue}/"):
            inside = milter.address.removeprefix(f"unix:{queue}/")
            reason = "this server runs chrooted and does not find the socket under that path"
            yield Finding(service.title, f"unix:{inside} in place of {milter.address}", reason)


def _chain(
    where: str, parameter: str, chain: str, default_action: str, expected: Expected
) -> Iterator[Finding]:
    entries = milters(chain)
    ours = next((e for e in entries if expected.milter in e.address), None)
    option = parameter if where == MAIN else f"-o {parameter}"
    if ours is None:
        reason = "mail that comes in here does not pass Letterlock and is stored as it is"
        yield Finding(where, f"{option} = ..., $letterlock_milter", reason)
        return
    if ours is not entries[-1]:
        reason = "milters behind Letterlock see ciphertext, and may undo its header fields"
        yield Finding(where, f"{option} = ..., $letterlock_milter (last)", reason)
    if ours.settings.get("default_action", default_action) != "tempfail":
        reason = "when Letterlock does not answer, mail is let through or refused for good"
        yield Finding(where, f"{{ {ours.address}, default_action=tempfail, ... }}", reason)


def _bypasses(settings: Settings, service: Service) -> Iterator[Finding]:
    if "no_milters" in elements(settings.of(service, "receive_override_options")):
        reason = "mail that comes in here is stored as it is; that is for the re-entry port only"
        yield Finding(service.title, "receive_override_options without no_milters", reason)
    if settings.of(service, "smtpd_milter_maps"):
        reason = "its entries take the place of smtpd_milters, and may be DISABLE"
        yield Finding(service.title, "-o smtpd_milter_maps=", reason)
    if settings.of(service, "smtpd_proxy_filter"):
        # MILTER_README, "Limitations".
        reason = "with a before-queue filter, milters of this server see no content"
        yield Finding(service.title, "-o smtpd_proxy_filter=", reason)


def _dropped_fields(settings: Settings, service: Service) -> Iterator[Finding]:
    dropped = _dropped(settings, service)
    cleanup = settings.of(service, "cleanup_service_name")
    if service.name in _SUBMISSION:
        if "bcc" not in dropped:
            reason = "the Bcc field of your users' mail is shown to everybody who gets it"
            yield Finding(service.title, "-o cleanup_service_name=cleanup", reason)
    elif dropped:
        reason = f"{cleanup} drops {', '.join(sorted(dropped))} before the milter sees them"
        yield Finding(service.title, "-o cleanup_service_name=letterlock-cleanup", reason)


def _dropped(settings: Settings, service: Service) -> set[str]:
    cleanup = settings.service(settings.of(service, "cleanup_service_name"))
    if cleanup is None:
        value = settings.parameters.get("message_drop_headers", "")
    else:
        value = settings.of(cleanup, "message_drop_headers")
    return {name.lower() for name in elements(value)}


def _sizes(settings: Settings, _: Expected) -> Iterator[Finding]:
    for service in settings.services:
        if service.program == "cleanup" and settings.of(service, "message_size_limit") != "0":
            reason = "mail that smtpd accepted is refused as too large once it is encrypted"
            yield Finding(service.title, "-o message_size_limit=0", reason)


def _reentry(settings: Settings, expected: Expected) -> Iterator[Finding]:
    service = settings.service(expected.reentry)
    if service is None or service.program != "smtpd":
        reason = "copies for further mailboxes cannot re-enter; mail to several is deferred"
        yield Finding("master.cf", f"{expected.reentry} inet n - y - - smtpd ...", reason)
        return
    if not service.name.startswith(_LOOPBACK):
        reason = "the re-entry port takes mail without milters and must be on loopback only"
        yield Finding(service.title, "127.0.0.1:PORT as the service name", reason)
    for name, (value, reason) in _REENTRY.items():
        if elements(settings.of(service, name)) != elements(value):
            yield Finding(service.title, f"-o {name}={value}", reason)
    if dropped := _dropped(settings, service):
        reason = f"copies lose {', '.join(sorted(dropped))}, the first mailbox's does not"
        yield Finding(service.title, "-o cleanup_service_name=letterlock-cleanup", reason)


_REENTRY = {
    "smtpd_milters": ("", "copies are encrypted already"),
    "smtpd_milter_maps": ("", "copies are encrypted already"),
    "receive_override_options": (
        "no_milters,no_address_mappings,no_header_body_checks",
        "copies carry final addresses and must not be changed, mapped or copied once more",
    ),
    "mynetworks": ("127.0.0.0/8,[::1]/128", "only this host may hand in copies"),
    "smtpd_client_restrictions": ("permit_mynetworks,reject", "only this host may hand in copies"),
    "local_header_rewrite_clients": ("", "header fields of copies must not be rewritten"),
    "smtpd_forbid_bare_newline_exclusions": ("", "a bare line feed must not end a copy"),
    "message_size_limit": ("0", "a copy is larger than the message that was accepted"),
    "content_filter": ("", "copies are ciphertext"),
    "smtpd_proxy_filter": ("", "copies are ciphertext"),
}


def _notes(settings: Settings, _: Expected) -> Iterator[Finding]:
    for name in _CHECKS:
        values = [settings.parameters.get(name, "")]
        values += [service.overrides.get(name, "") for service in settings.services]
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

RULES: tuple[Rule, ...] = (_warnings, _main_values, _non_smtpd, _servers, _sizes, _reentry, _notes)
