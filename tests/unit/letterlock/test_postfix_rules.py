"""The rules of `letterlock doctor` about Postfix's settings."""

import pytest

from letterlock.postfix import MilterEntry, Settings, elements, milters
from letterlock.postfix_findings import Expected, Finding, Severity
from letterlock.postfix_rules import delivered_domains, findings

OURS = "{ unix:letterlock/milter.sock, default_action=tempfail, connect_timeout=10s }"
SOUND = {
    "queue_directory": "/var/spool/postfix",
    "smtpd_milters": OURS,
    "non_smtpd_milters": OURS,
    "milter_default_action": "tempfail",
    "milter_protocol": "6",
    "internal_mail_filter_classes": "bounce, notify",
    "header_size_limit": "102400",
    "smtpd_forbid_bare_newline": "normalize",
    "message_drop_headers": "bcc, content-length, resent-bcc, return-path",
    "cleanup_service_name": "cleanup",
}
REENTRY = {
    "cleanup_service_name": "letterlock-cleanup",
    "smtpd_milters": "",
    "receive_override_options": "no_milters,no_address_mappings,no_header_body_checks",
    "mynetworks": "127.0.0.0/8,[::1]/128",
    "smtpd_client_restrictions": "permit_mynetworks,reject",
    "message_size_limit": "0",
}
SERVICES = {
    "smtp/inet": ("smtpd", {"cleanup_service_name": "letterlock-cleanup"}),
    "cleanup/unix": ("cleanup", {"message_size_limit": "0"}),
    "letterlock-cleanup/unix": (
        "cleanup",
        {"message_drop_headers": "", "message_size_limit": "0"},
    ),
    "127.0.0.1:10027/inet": ("smtpd", REENTRY),
}


def settings_with(
    parameters: dict[str, str] | None = None,
    services: dict[str, tuple[str, dict[str, str]]] | None = None,
    *,
    chroot: str = "y",
) -> Settings:
    """Sound settings with some lines changed, by way of postconf's own format."""
    main = SOUND | (parameters or {})
    lines = [f"{name} = {value}" for name, value in main.items()]
    fields, overrides = [], []
    for title, (command, options) in (SERVICES | (services or {})).items():
        name, _, kind = title.rpartition("/")
        columns = {"service": name, "type": kind, "chroot": chroot, "command": command}
        fields += [f"{title}/{column} = {value}" for column, value in columns.items()]
        overrides += [f"{title}/{name} = {value}" for name, value in options.items()]
    return Settings.parse("\n".join(lines), "\n".join(fields), "\n".join(overrides))


def breaches(settings: Settings) -> list[Finding]:
    """Findings that make doctor fail."""
    return [f for f in findings(settings, Expected()) if f.severity is Severity.BREACH]


def test_sound_settings_have_no_finding() -> None:
    """Without a deviation there is nothing to correct."""
    assert [] == findings(settings_with(), Expected())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("milter_default_action", "accept"),
        ("milter_default_action", "quarantine"),
        ("milter_protocol", "2"),
        ("internal_mail_filter_classes", "bounce"),
        ("internal_mail_filter_classes", ""),
        ("header_size_limit", "1000"),
        ("smtpd_forbid_bare_newline", "no"),
        ("always_bcc", "archive@example.test"),
        ("recipient_bcc_maps", "hash:/etc/postfix/bcc"),
        ("sender_bcc_maps", "hash:/etc/postfix/bcc"),
        ("non_smtpd_milters", ""),
        ("non_smtpd_milters", f"{OURS}, inet:127.0.0.1:11332"),
    ],
)
def test_a_deviation_in_main_cf_is_named_with_its_line(name: str, value: str) -> None:
    """The line to add names the parameter that deviates."""
    (finding,) = breaches(settings_with({name: value}))

    assert ("main.cf", name) == (finding.where, finding.line.split()[0])


@pytest.mark.parametrize(
    ("chain", "word"),
    [
        ("", "stored as it is"),
        ("inet:127.0.0.1:11332", "stored as it is"),
        (f"{OURS}, inet:127.0.0.1:11332", "behind Letterlock"),
        # Without braces the setting is one more milter to Postfix.
        ("unix:letterlock/milter.sock, default_action=accept", "behind Letterlock"),
        ("{ unix:letterlock/milter.sock, default_action=accept }", "let through"),
        ("{ unix:letterlock/milter.sock, default_action = accept }", "let through"),
    ],
)
def test_a_milter_chain_that_does_not_hold_is_named(chain: str, word: str) -> None:
    """Letterlock missing, not last, or softened in smtpd_milters."""
    found = breaches(settings_with({"smtpd_milters": chain}))

    assert "behind" == [f.where for f in found if word in f.reason] == ["smtp/inet"] or word


def test_a_milter_without_a_setting_of_its_own_takes_the_global_one() -> None:
    """An entry that is no more than an address follows milter_default_action."""
    settings = settings_with(
        {"smtpd_milters": "unix:letterlock/milter.sock", "milter_default_action": "accept"}
    )

    assert {"main.cf", "smtp/inet"} == {f.where for f in breaches(settings)}


@pytest.mark.parametrize(
    "options",
    [
        {"smtpd_milters": ""},
        {"receive_override_options": "no_milters"},
        {"smtpd_milter_maps": "cidr:/etc/postfix/milter_map"},
        {"smtpd_proxy_filter": "127.0.0.1:10025"},
    ],
)
def test_every_way_past_the_milter_is_named(options: dict[str, str]) -> None:
    """A further server that mail can come in through without Letterlock is a breach."""
    further = {"10025/inet": ("smtpd", {"cleanup_service_name": "letterlock-cleanup"} | options)}

    assert ["10025/inet"] == [f.where for f in breaches(settings_with(services=further))]


@pytest.mark.parametrize(
    ("title", "program", "options"),
    [
        ("pickup/unix", "pickup", {"receive_override_options": "no_milters"}),
        ("628/inet", "qmqpd", {"receive_override_options": "no_milters"}),
        ("cleanup/unix", "cleanup", {"non_smtpd_milters": "", "message_size_limit": "0"}),
    ],
)
def test_every_way_past_the_milter_that_is_not_smtp_is_named(
    title: str, program: str, options: dict[str, str]
) -> None:
    """What sendmail(1) and Postfix itself hand in passes cleanup(8) only."""
    assert [title] == [
        f.where for f in breaches(settings_with(services={title: (program, options)}))
    ]


def test_postscreen_hands_over_to_a_server_that_is_checked_too() -> None:
    """Behind postscreen(8) the server is of type pass."""
    further = {"smtpd/pass": ("smtpd", {"smtpd_milters": ""})}

    assert {"smtpd/pass"} == {f.where for f in breaches(settings_with(services=further))}


def test_fields_dropped_before_the_milter_are_named() -> None:
    """A Return-Path that cleanup(8) drops cannot be restored."""
    settings = settings_with(services={"smtp/inet": ("smtpd", {})})
    (finding,) = breaches(settings)

    assert "return-path" in finding.reason


def test_a_submission_server_must_go_on_dropping_bcc() -> None:
    """The cleanup service that keeps every field would disclose a user's Bcc."""
    keeping = {"cleanup_service_name": "letterlock-cleanup"}
    (finding,) = breaches(settings_with(services={"submission/inet": ("smtpd", keeping)}))

    assert "Bcc" in finding.reason


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("smtpd_milters", OURS),
        ("receive_override_options", "no_milters"),
        ("mynetworks", "192.0.2.0/24"),
        ("smtpd_client_restrictions", ""),
        ("message_size_limit", "10240000"),
        ("local_header_rewrite_clients", "permit_inet_interfaces"),
        ("content_filter", "smtp:127.0.0.1:10025"),
    ],
)
def test_a_deviation_of_the_reentry_port_is_named(name: str, value: str) -> None:
    """Copies must arrive unchanged, and from this host only."""
    changed = {"127.0.0.1:10027/inet": ("smtpd", REENTRY | {name: value})}
    (finding,) = breaches(settings_with(services=changed))

    assert finding.line.startswith(f"-o {name}=")


def test_a_cleanup_that_refuses_what_was_accepted_is_named() -> None:
    """Encrypted mail is larger than the message that smtpd found small enough."""
    limited = {"cleanup/unix": ("cleanup", {"message_size_limit": "10240000"})}
    (finding,) = breaches(settings_with(services=limited))

    assert "cleanup/unix" == finding.where


def test_a_missing_reentry_port_is_named() -> None:
    """Without it mail to several mailboxes cannot be delivered."""
    found = findings(settings_with(), Expected(reentry="127.0.0.1:10099"))

    assert "master.cf" in {f.where for f in found}


def test_a_reentry_port_that_others_can_reach_is_named() -> None:
    """A port without milters must be on loopback."""
    found = findings(
        settings_with(services={"10027/inet": ("smtpd", REENTRY)}), Expected(reentry="10027")
    )

    assert any("loopback" in f.reason for f in found if f.where == "10027/inet")


@pytest.mark.parametrize(("chroot", "expected"), [("y", 1), ("n", 0)])
def test_a_socket_path_that_a_chrooted_server_cannot_find_is_named(
    chroot: str, expected: int
) -> None:
    """Inside the chroot the queue directory is the root directory."""
    chain = "{ unix:/var/spool/postfix/letterlock/milter.sock, default_action=tempfail }"
    settings = settings_with({"smtpd_milters": chain}, chroot=chroot)

    assert expected == len(breaches(settings))


@pytest.mark.parametrize(
    "parameters",
    [
        {"header_checks": "regexp:/etc/postfix/header_checks"},
        {"content_filter": "smtp:127.0.0.1:10025"},
        {"alias_maps": "hash:/etc/aliases", "mydestination": "example.test"},
    ],
)
def test_what_settings_alone_cannot_tell_is_a_note(parameters: dict[str, str]) -> None:
    """It is named, but it is not a deviation."""
    found = findings(settings_with(parameters), Expected())

    assert [Severity.NOTE] == [f.severity for f in found if f.where == "main.cf"]


def test_the_domains_that_are_compared_are_those_that_are_written_out() -> None:
    """Tables and patterns cannot be listed; a domain of several lists counts once."""
    settings = settings_with(
        {
            "mydestination": "mx.example.test, localhost hash:/etc/postfix/more",
            "virtual_mailbox_domains": "Example.test /etc/postfix/domains",
            "relay_domains": "example.test !not.test",
        }
    )

    assert ["example.test", "localhost", "mx.example.test"] == delivered_domains(settings)


SUBMISSION = {
    "smtpd_milters": "{ unix:letterlock/submission.sock, default_action=tempfail }",
    "cleanup_service_name": "letterlock-submission-cleanup",
    "smtpd_tls_wrappermode": "yes",
    "smtpd_tls_ask_ccert": "yes",
    "smtpd_tls_CAfile": "/var/lib/letterlock-keyservice/client-ca.pem",
    "smtpd_tls_CApath": "",
    "tls_append_default_CA": "no",
    "smtpd_tls_fingerprint_digest": "sha256",
    "tls_ssl_options": "no_renegotiation, NO_TICKET",
    "relay_clientcerts": "socketmap:unix:letterlock/socketmap.sock:client-certificates",
    "smtpd_sasl_auth_enable": "yes",
    "smtpd_sender_login_maps": "hash:/etc/postfix/sender_logins",
    "smtpd_sender_restrictions": "reject_authenticated_sender_login_mismatch",
    "smtpd_relay_restrictions": "permit_sasl_authenticated,permit_tls_clientcerts,reject",
}
CLEANUP = {
    "header_checks": "regexp:/etc/postfix/letterlock-submission-received.regexp",
    "mime_header_checks": "",
    "nested_header_checks": "",
    "message_size_limit": "0",
}


def submission_with(
    options: dict[str, str] | None = None,
    cleanup: dict[str, str] | None = None,
    name: str = "submissions/inet",
) -> Settings:
    """Sound settings with a submission server, of which some lines are changed."""
    return settings_with(
        services={
            name: ("smtpd", SUBMISSION | (options or {})),
            "letterlock-submission-cleanup/unix": ("cleanup", CLEANUP | (cleanup or {})),
        }
    )


def test_a_sound_submission_server_has_no_finding() -> None:
    """Nor is anything to be looked at."""
    assert [] == findings(submission_with(), Expected())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("smtpd_tls_wrappermode", "no"),
        ("smtpd_milters", "{ unix:letterlock/submission.sock, default_action=accept }"),
        ("smtpd_milters", "{ unix:letterlock/submission.sock }, inet:127.0.0.1:11332"),
        ("smtpd_relay_restrictions", "permit_mynetworks,permit_sasl_authenticated,reject"),
        ("smtpd_relay_restrictions", "permit_sasl_authenticated,reject_unauth_destination"),
        ("smtpd_relay_restrictions", "permit_tls_all_clientcerts,reject"),
        ("smtpd_relay_restrictions", ""),
        ("smtpd_sender_restrictions", "reject_sender_login_mismatch"),
        ("smtpd_tls_ask_ccert", "no"),
        ("smtpd_tls_CAfile", ""),
        ("smtpd_tls_CAfile", "/etc/ssl/certs/ca-certificates.crt"),
        ("smtpd_tls_CApath", "/etc/ssl/certs"),
        ("tls_append_default_CA", "yes"),
        ("smtpd_tls_fingerprint_digest", "md5"),
        ("tls_ssl_options", ""),
        ("smtpd_tls_session_cache_database", "btree:/var/lib/postfix/smtpd_scache"),
        ("relay_clientcerts", ""),
        ("cleanup_service_name", "cleanup"),
        ("receive_override_options", "no_milters"),
    ],
)
def test_a_deviation_of_a_submission_server_is_named(name: str, value: str) -> None:
    """Each of them lets in strangers, lets out what nobody is to know, or forges a name."""
    assert {"submissions/inet"} == {f.where for f in breaches(submission_with({name: value}))}


@pytest.mark.parametrize("name", ["mime_header_checks", "nested_header_checks"])
def test_attached_messages_must_not_lose_their_trace_fields(name: str) -> None:
    """Not set, they are header_checks: what is attached would be rewritten, too."""
    checks = {k: v for k, v in CLEANUP.items() if k != name}
    settings = settings_with(
        services={
            "submissions/inet": ("smtpd", SUBMISSION),
            "letterlock-submission-cleanup/unix": ("cleanup", checks),
        }
    )

    assert [f"-o {name}="] == [f.line for f in breaches(settings)]


def test_a_submission_server_whose_cleanup_keeps_bcc_is_named() -> None:
    """Whatever its name is: the milter tells."""
    settings = submission_with(cleanup={"message_drop_headers": ""}, name="10465/inet")

    assert ["10465/inet"] == [f.where for f in breaches(settings) if "Bcc" in f.reason]


def test_a_closed_list_of_restrictions_is_enough() -> None:
    """All lists must agree, so others may be as the operator likes them."""
    settings = submission_with(
        {
            "smtpd_client_restrictions": "permit_sasl_authenticated, reject",
            "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
        }
    )

    assert [] == breaches(settings)


def test_without_client_certificates_nothing_is_asked_of_their_settings() -> None:
    """Passwords alone are a choice."""
    settings = submission_with(
        {
            "smtpd_tls_ask_ccert": "no",
            "smtpd_tls_CAfile": "",
            "relay_clientcerts": "",
            "smtpd_relay_restrictions": "permit_sasl_authenticated,reject",
        }
    )

    assert [] == breaches(settings)


def test_a_login_whose_sender_nobody_compares_is_a_note() -> None:
    """The milter compares, with From too; Postfix is the second lock."""
    settings = submission_with({"smtpd_sender_login_maps": ""})

    assert [Severity.NOTE] == [f.severity for f in findings(settings, Expected())]


def test_the_submission_role_at_the_public_port_is_named() -> None:
    """It would refuse all mail from outside."""
    settings = submission_with(name="smtp/inet")

    assert any("Internet" in f.reason for f in breaches(settings))


def test_a_submission_server_without_the_role_beside_one_with_it_is_named() -> None:
    """587 forgotten while 465 has it."""
    settings = settings_with(
        services={
            "submissions/inet": ("smtpd", SUBMISSION),
            "submission/inet": ("smtpd", {"smtpd_milters": OURS}),
            "letterlock-submission-cleanup/unix": ("cleanup", CLEANUP),
        }
    )

    assert ["submission/inet"] == [f.where for f in breaches(settings)]


def test_where_nothing_has_the_role_a_submission_server_is_a_note() -> None:
    """Mail that is stored is encrypted all the same."""
    settings = settings_with(services={"submission/inet": ("smtpd", {})})
    found = findings(settings, Expected())

    assert [("submission/inet", Severity.NOTE)] == [(f.where, f.severity) for f in found]


def test_logins_at_the_public_port_are_a_note_beside_the_role() -> None:
    """Who logs in there sends past it; and the password must not be in clear."""
    options = {"cleanup_service_name": "letterlock-cleanup", "smtpd_sasl_auth_enable": "yes"}
    settings = settings_with(
        services={
            "submissions/inet": ("smtpd", SUBMISSION),
            "smtp/inet": ("smtpd", options),
            "letterlock-submission-cleanup/unix": ("cleanup", CLEANUP),
        }
    )
    found = findings(settings, Expected())

    assert {
        ("smtp/inet", "-o smtpd_tls_auth_only=yes", Severity.BREACH),
        ("smtp/inet", "-o smtpd_sasl_auth_enable=no", Severity.NOTE),
    } == {(f.where, f.line, f.severity) for f in found}


def test_what_postconf_warns_about_is_a_breach() -> None:
    """A misspelt parameter is not in effect."""
    settings = Settings.parse("", "", "", ["unused parameter: smtpd_milter=x"])

    assert "smtpd_milter=x" in breaches(settings)[0].reason


def test_lists_keep_braces_together() -> None:
    """Elements are separated by blanks or commas, but not inside braces."""
    assert ["a:1", "{ b, c=d }", "e"] == elements("a:1, { b, c=d } e")


def test_a_milter_entry_is_read_with_its_settings() -> None:
    """Per-milter settings, with and without blanks around the sign."""
    expected = [
        MilterEntry("inet:127.0.0.1:1", {}),
        MilterEntry("unix:x", {"default_action": "tempfail", "connect_timeout": "10s"}),
    ]

    assert expected == milters(
        "inet:127.0.0.1:1 { unix:x, default_action = tempfail connect_timeout=10s }"
    )
