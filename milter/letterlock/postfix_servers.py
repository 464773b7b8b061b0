"""Rules about the servers of master.cf: what comes in here passes Letterlock, whole."""

from collections.abc import Iterator

from letterlock.postfix import MilterEntry, Service, Settings, elements, milters
from letterlock.postfix_findings import MAIN, Expected, Finding
from letterlock.postfix_submission import has_role, is_submission

_PUBLIC = frozenset({"smtp", "25", "smtpd"})
_LOOPBACK = ("127.", "[::1]:", "localhost:")


def non_smtpd(settings: Settings, expected: Expected) -> Iterator[Finding]:
    """Mail that does not come in through smtpd(8) passes Letterlock, too."""
    chain = settings.parameters.get("non_smtpd_milters", "")
    default = settings.parameters.get("milter_default_action", "")
    yield from _chain(MAIN, "non_smtpd_milters", chain, default, expected)
    for service in settings.services:
        # cleanup(8) is who asks them; pickup(8) and qmqpd(8) can tell it not to.
        if service.program == "cleanup" and "non_smtpd_milters" in service.overrides:
            chain, default = (
                settings.of(service, name)
                for name in ("non_smtpd_milters", "milter_default_action")
            )
            yield from _chain(service.title, "non_smtpd_milters", chain, default, expected)
        if service.program in ("pickup", "qmqpd"):
            yield from _bypasses(settings, service)


def servers(settings: Settings, expected: Expected) -> Iterator[Finding]:
    """Every server but the re-entry port has Letterlock last, and keeps every field for it."""
    for service in settings.services:
        if service.program == "smtpd" and service.name != expected.reentry:
            yield from _server_chain(settings, service, expected)
            yield from _bypasses(settings, service)
            yield from _dropped_fields(settings, service, expected)


def _server_chain(settings: Settings, service: Service, expected: Expected) -> Iterator[Finding]:
    chain = settings.of(service, "smtpd_milters")
    default = settings.of(service, "milter_default_action")
    if has_role(settings, expected) and is_submission(settings, service, expected):
        yield from _submission_chain(service, chain, default, expected)
    else:
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
    ours = next((e for e in entries if _is_for_strangers(e, expected)), None)
    option = parameter if where == MAIN else f"-o {parameter}"
    if ours is None:
        reason = "mail that comes in here does not pass Letterlock and is stored as it is"
        yield Finding(where, f"{option} = ..., $letterlock_milter", reason)
        return
    yield from _last(where, f"{option} = ..., $letterlock_milter", ours, entries, default_action)


def _is_for_strangers(entry: MilterEntry, expected: Expected) -> bool:
    return expected.milter in entry.address and expected.submission not in entry.address


def _submission_chain(
    service: Service, chain: str, default_action: str, expected: Expected
) -> Iterator[Finding]:
    entries = milters(chain)
    ours = next((e for e in entries if expected.submission in e.address), None)
    line = "-o smtpd_milters = ..., $letterlock_submission_milter"
    if ours is None:
        reason = "what your users send is neither signed nor compared with who sends it"
        yield Finding(service.title, line, reason)
        return
    if service.name.rpartition(":")[2] in _PUBLIC:
        reason = "mail from the Internet comes in here; the submission role refuses strangers"
        yield Finding(service.title, "-o smtpd_milters = ..., $letterlock_milter", reason)
    yield from _last(service.title, line, ours, entries, default_action)


def _last(
    where: str, line: str, ours: MilterEntry, entries: list[MilterEntry], default_action: str
) -> Iterator[Finding]:
    if ours is not entries[-1]:
        reason = "milters behind Letterlock see ciphertext, and may undo its header fields"
        yield Finding(where, f"{line} (last)", reason)
    if ours.settings.get("default_action", default_action) != "tempfail":
        reason = "when Letterlock does not answer, mail is let through or refused for good"
        yield Finding(where, f"{{ {ours.address}, default_action=tempfail, ... }}", reason)


def _bypasses(settings: Settings, service: Service) -> Iterator[Finding]:
    if "no_milters" in elements(settings.of(service, "receive_override_options")):
        reason = "mail that comes in here is stored as it is; that is for the re-entry port only"
        yield Finding(service.title, "receive_override_options without no_milters", reason)
    if service.program != "smtpd":
        return
    if settings.of(service, "smtpd_milter_maps"):
        reason = "its entries take the place of smtpd_milters, and may be DISABLE"
        yield Finding(service.title, "-o smtpd_milter_maps=", reason)
    if settings.of(service, "smtpd_proxy_filter"):
        # MILTER_README, "Limitations".
        reason = "with a before-queue filter, milters of this server see no content"
        yield Finding(service.title, "-o smtpd_proxy_filter=", reason)


def _dropped_fields(settings: Settings, service: Service, expected: Expected) -> Iterator[Finding]:
    dropped = _dropped(settings, service)
    cleanup = settings.of(service, "cleanup_service_name")
    if is_submission(settings, service, expected):
        if "bcc" not in dropped:
            reason = "the Bcc field of your users' mail is shown to everybody who gets it"
            has = has_role(settings, expected)
            name = "letterlock-submission-cleanup" if has else "cleanup"
            yield Finding(service.title, f"-o cleanup_service_name={name}", reason)
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


def sizes(settings: Settings, _: Expected) -> Iterator[Finding]:
    """No cleanup service refuses what a server has accepted."""
    for service in settings.services:
        if service.program == "cleanup" and settings.of(service, "message_size_limit") != "0":
            reason = "mail that smtpd accepted is refused as too large once it is encrypted"
            yield Finding(service.title, "-o message_size_limit=0", reason)


def reentry(settings: Settings, expected: Expected) -> Iterator[Finding]:
    """Copies re-enter from this host only, and unchanged."""
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
