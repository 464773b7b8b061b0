"""Rules about the servers where your users hand in mail: who may, and what it says of them."""

from collections.abc import Iterator

from letterlock.postfix import Service, Settings, elements, milters
from letterlock.postfix_findings import Expected, Finding, Severity

_NAMES = frozenset({"submission", "submissions", "smtps", "587", "465"})
_LISTS = (
    "smtpd_client_restrictions",
    "smtpd_helo_restrictions",
    "smtpd_sender_restrictions",
    "smtpd_relay_restrictions",
    "smtpd_recipient_restrictions",
)
_BY_CERTIFICATE = "permit_tls_clientcerts"
_AUTHENTICATED = frozenset({"permit_sasl_authenticated", _BY_CERTIFICATE})
_OWNED = frozenset({"reject_authenticated_sender_login_mismatch", "reject_sender_login_mismatch"})
_SYSTEM_CAS = ("/etc/ssl/", "/usr/share/", "/etc/pki/", "/usr/lib/ssl/")


def is_submission(settings: Settings, service: Service, expected: Expected) -> bool:
    """Whether this server is for your users' mail: by its milter, or by its name."""
    return _passes_role(settings, service, expected) or (service.name.rpartition(":")[2] in _NAMES)


def has_role(settings: Settings, expected: Expected) -> bool:
    """Whether the milter's submission role is used at all."""
    return any(_passes_role(settings, service, expected) for service in settings.services)


def _passes_role(settings: Settings, service: Service, expected: Expected) -> bool:
    if service.program != "smtpd":
        return False
    entries = milters(settings.of(service, "smtpd_milters"))
    return any(expected.submission in entry.address for entry in entries)


def submissions(settings: Settings, expected: Expected) -> Iterator[Finding]:
    """Each server of the submission role lets in whom it knows, and tells nobody about him."""
    for service in settings.services:
        if service.program != "smtpd" or service.name == expected.reentry:
            continue
        yield from _passwords(settings, service)
        if _passes_role(settings, service, expected):
            for rule in (_tls, _strangers, _logins, _certificates, _trace):
                yield from rule(settings, service)
        else:
            yield from _past_the_role(settings, service, expected)


def _past_the_role(settings: Settings, service: Service, expected: Expected) -> Iterator[Finding]:
    is_used = has_role(settings, expected)
    if not is_used and is_submission(settings, service, expected):
        reason = "what your users send is neither signed nor compared with who sends it"
        line = "-o smtpd_milters=$letterlock_submission_milter"
        yield Finding(service.title, line, reason, Severity.NOTE)
    if is_used and _is(settings, service, "smtpd_sasl_auth_enable"):
        reason = "users who log in here hand in mail past the submission role"
        yield Finding(service.title, "-o smtpd_sasl_auth_enable=no", reason, Severity.NOTE)


def _passwords(settings: Settings, service: Service) -> Iterator[Finding]:
    if not _is(settings, service, "smtpd_sasl_auth_enable") or _requires_tls(settings, service):
        return
    if not _is(settings, service, "smtpd_tls_auth_only"):
        reason = "passwords can be sent in clear"
        yield Finding(service.title, "-o smtpd_tls_auth_only=yes", reason)


def _tls(settings: Settings, service: Service) -> Iterator[Finding]:
    if not _requires_tls(settings, service):
        reason = "mail can be handed in without TLS"
        yield Finding(service.title, "-o smtpd_tls_security_level=encrypt", reason)


def _strangers(settings: Settings, service: Service) -> Iterator[Finding]:
    # One list that ends in `reject` is enough: all of them must agree (SMTPD_ACCESS_README).
    lists = [elements(settings.of(service, name)) for name in _LISTS]
    if not any(_is_closed(each) for each in lists):
        reason = "clients that are not authenticated can hand in mail"
        line = "-o smtpd_relay_restrictions=permit_sasl_authenticated,permit_tls_clientcerts,reject"
        yield Finding(service.title, line, reason)


def _is_closed(restrictions: list[str]) -> bool:
    if "reject" not in restrictions:
        return False
    before = restrictions[: restrictions.index("reject")]
    return {word for word in before if word.startswith("permit")} <= _AUTHENTICATED


def _logins(settings: Settings, service: Service) -> Iterator[Finding]:
    if not _is(settings, service, "smtpd_sasl_auth_enable"):
        return
    words = _words(settings, service)
    if not words & _OWNED or not settings.of(service, "smtpd_sender_login_maps"):
        reason = "Postfix takes any MAIL FROM of a login; only the milter compares"
        line = "-o smtpd_sender_restrictions=reject_authenticated_sender_login_mismatch"
        where = f"{line}, with smtpd_sender_login_maps"
        yield Finding(service.title, where, reason, Severity.NOTE)
    by_certificate = _is(settings, service, "smtpd_tls_ask_ccert")
    if by_certificate and "reject_sender_login_mismatch" in words:
        reason = "refuses who shows a certificate: there is no login to own the address"
        line = "reject_authenticated_sender_login_mismatch in place of reject_sender_login_mismatch"
        yield Finding(service.title, line, reason)


def _certificates(settings: Settings, service: Service) -> Iterator[Finding]:
    if not _is(settings, service, "smtpd_tls_ask_ccert"):
        if _BY_CERTIFICATE in _words(settings, service):
            reason = "no client is asked for the certificate that would let it in"
            yield Finding(service.title, "-o smtpd_tls_ask_ccert=yes", reason)
        return
    for name, (line, reason) in _TRUST.items():
        if not _is_trustworthy(name, settings.of(service, name)):
            yield Finding(service.title, f"-o {name}={line}", reason)
    if "permit_tls_all_clientcerts" in _words(settings, service):
        reason = "lets in revoked certificates, too"
        yield Finding(service.title, f"{_BY_CERTIFICATE} in place of permit_tls_all_...", reason)


_TRUST = {
    "smtpd_tls_CAfile": (
        "(the key service's trusted_file)",
        "the milter must be told names that our CA vouches for, and no others",
    ),
    "smtpd_tls_CApath": ("", "the milter would be told names that other CAs vouch for"),
    "tls_append_default_CA": ("no", "the milter would be told names that other CAs vouch for"),
    "smtpd_tls_fingerprint_digest": ("sha256", "the key service knows certificates by SHA-256"),
    "relay_clientcerts": (
        "socketmap:unix:letterlock/socketmap.sock:client-certificates",
        "nothing says which certificates are in force",
    ),
    "tls_ssl_options": (
        "NO_TICKET",
        "a TLS session of another port brings along a name that was verified there, by other CAs",
    ),
    "smtpd_tls_session_cache_database": ("", "a TLS session of another port, see tls_ssl_options"),
}


def _is_trustworthy(name: str, value: str) -> bool:
    match name:
        case "smtpd_tls_CAfile":
            return bool(value) and not value.startswith(_SYSTEM_CAS)
        case "smtpd_tls_CApath" | "smtpd_tls_session_cache_database":
            return not value
        case "relay_clientcerts":
            return bool(value)
        case "tls_ssl_options":
            return "NO_TICKET" in elements(value.upper())
        case _:
            return value == _TRUST[name][0]


def _trace(settings: Settings, service: Service) -> Iterator[Finding]:
    name = settings.of(service, "cleanup_service_name")
    cleanup = settings.service(name)
    if cleanup is None or not settings.of(cleanup, "header_checks"):
        reason = "the Received field names your users' addresses, programs and logins"
        line = "-o cleanup_service_name=letterlock-submission-cleanup"
        yield Finding(service.title, line, reason)
        return
    for checks in ("mime_header_checks", "nested_header_checks"):
        # Their default is header_checks, whatever postconf(1) makes of it for main.cf.
        if cleanup.overrides.get(checks) != "":
            reason = "what is attached would be changed as well"
            yield Finding(cleanup.title, f"-o {checks}=", reason)


def _requires_tls(settings: Settings, service: Service) -> bool:
    level = settings.of(service, "smtpd_tls_security_level")
    return level == "encrypt" or _is(settings, service, "smtpd_tls_wrappermode")


def _words(settings: Settings, service: Service) -> set[str]:
    return {word for name in _LISTS for word in elements(settings.of(service, name))}


def _is(settings: Settings, service: Service, name: str) -> bool:
    return settings.of(service, name) == "yes"
