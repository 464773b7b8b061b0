"""Postfix's part of submission: who may hand in mail, what the milter is told, what leaves.

The milter is a stranger that lets everything pass, and the map of client certificates says
what the test wants: so all that is refused here, Postfix refuses by itself. Its main.cf is that
of an operator who trusts his network, the CAs of the system and one more on port 25.
"""

import re
import smtplib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from client_ca import ClientCA, Shown
from recording_milter import RecordingMilter, Told
from smtp_sink import SMTPSink, Taken
from socketmap_server import SocketmapServer
from stack import PASSWORD, Stack, submission
from stack.submitting import CLIENT_HOST

ALICE = "alice@example.test"
BOB = "bob@example.test"
OUTSIDE = "partner@outside.test"
SERVICES = ("submissions", "submission")
TLS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
MAIL = (
    b"From: Alice <alice@example.test>\r\nTo: partner@outside.test\r\nBcc: hidden@outside.test\r\n"
    b"Subject: hello\r\n\r\ntext\r\n.dots\r\n"
)


class Host:
    """A Postfix with submission, and everything that it talks to."""

    def __init__(self, directory: Path, resources: ExitStack) -> None:
        self.ca = ClientCA(directory)
        self.other_ca = ClientCA(directory, "Somebody else's CA")
        (directory / "other-ca.pem").write_bytes(self.other_ca.certificate)
        self.sink = resources.enter_context(SMTPSink())
        self.stack = Stack(
            directory / "stack",
            milter=False,
            submission=True,
            virtual_aliases={"info@example.test": ALICE, "team@example.test": f"{ALICE}, {BOB}"},
            relays={"outside.test": self.sink.address},
            parameters={
                "mynetworks": "127.0.0.0/8",
                "smtpd_relay_restrictions": "permit_mynetworks, reject",
                "smtpd_client_restrictions": "permit_mynetworks",
                "smtpd_tls_security_level": "may",
                "smtpd_tls_ask_ccert": "yes",
                "smtpd_tls_CAfile": str(directory / "other-ca.pem"),
                "smtpd_tls_CApath": "/etc/ssl/certs",
                "tls_append_default_CA": "yes",
                "smtpd_tls_received_header": "yes",
                "smtpd_sasl_authenticated_header": "yes",
            },
        )
        layout = self.stack.layout
        submission.trusted_file(layout).write_bytes(self.ca.certificate)
        self.milter_socket = layout.queue / submission.MILTER_SOCKET
        self.milter = resources.enter_context(RecordingMilter(self.milter_socket))
        self.map = resources.enter_context(SocketmapServer(layout.queue / submission.SOCKETMAP))
        resources.enter_context(self.stack)

    def know(self, shown: Shown, address: str = ALICE) -> None:
        """Have the map say that a client certificate is in force."""
        self.map.tables = {
            "client-certificates": {shown.fingerprint: address},
            "client-certificate-access": {shown.fingerprint: "OK"},
        }

    def told(self) -> Told:
        """Return what the milter was told of the last transaction."""
        return self.milter.transactions[-1]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with ExitStack() as resources:
        yield Host(tmp_path_factory.mktemp("submission"), resources)


@pytest.fixture(autouse=True)
def _clean(host: Host) -> Iterator[None]:
    host.map.tables, host.map.fault, host.map.is_down = {}, "", False
    host.sink.messages.clear()
    yield
    assert [] == host.stack.queue()


@pytest.fixture(scope="module")
def alices(host: Host) -> Shown:
    """Alice's client certificate."""
    return host.ca.issue(ALICE)


def left(host: Host, count: int = 1) -> list[Taken]:
    """Return what has left, once it is all."""
    host.stack.wait_until_queue_is_empty()
    assert count == len(host.sink.messages)
    return host.sink.messages


def refusal(host: Host, **how: object) -> tuple[int, str]:
    """Submit, and return the reply that ends it."""
    how = {"sender": ALICE, "to": OUTSIDE} | how
    with pytest.raises(smtplib.SMTPResponseException) as raised:
        host.stack.submit(MAIL, **how)  # type: ignore[arg-type]
    assert [] == host.sink.messages
    return raised.value.smtp_code, str(raised.value.smtp_error)


def swaks(host: Host, *arguments: str, service: str = "submissions") -> str:
    """Hand in a mail with swaks, and return what was said."""
    address = "{}:{}".format(*host.stack.layout.address(service))
    tls = "--tls-on-connect" if service == "submissions" else "--tls"
    command = ["swaks", "--server", address, tls, "--ehlo", CLIENT_HOST, "--to", OUTSIDE]
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("to", [OUTSIDE, BOB])
def test_nobody_hands_in_mail_anonymously(host: Host, service: str, to: str) -> None:
    """Not even from this host, and not even to a mailbox that is here."""
    assert 554 == refusal(host, to=to, service=service)[0]


def test_a_mailbox_that_does_not_exist_is_refused_at_once(host: Host) -> None:
    """Rules for strangers do not count here, but this one does."""
    assert 550 == refusal(host, to="no-such-user@example.test", login=(ALICE, PASSWORD))[0]


def test_nothing_happens_without_tls(host: Host) -> None:
    """No login is offered, and MAIL is refused, before STARTTLS (RFC 3207 §4)."""
    with smtplib.SMTP(*host.stack.layout.address("submission"), timeout=60) as server:
        server.ehlo()

        assert not server.has_extn("auth")
        assert 530 == server.mail(ALICE)[0]


@pytest.mark.parametrize("service", SERVICES)
def test_swaks_with_a_client_certificate(host: Host, alices: Shown, service: str) -> None:
    """What docs/install.md shows; no login is needed."""
    host.know(alices)
    file = str(alices.file)

    said = swaks(host, "--tls-cert", file, "--tls-key", file, "--from", ALICE, service=service)

    assert [[OUTSIDE]] == [t.forward_paths for t in left(host)], said
    assert "" == host.told().macros.get("{auth_authen}", "")


@pytest.mark.parametrize("service", SERVICES)
def test_swaks_with_a_login(host: Host, service: str) -> None:
    """The milter is told the login, and no certificate."""
    login = ("--auth", "PLAIN", "--auth-user", BOB, "--auth-password", PASSWORD)

    said = swaks(host, *login, "--from", BOB, service=service)

    assert [[OUTSIDE]] == [t.forward_paths for t in left(host)], said
    assert BOB == host.told().macros["{auth_authen}"]
    assert "{cert_subject}" not in host.told().macros


def test_a_wrong_password(host: Host) -> None:
    """It opens nothing."""
    assert 535 == refusal(host, login=(ALICE, "wrong"))[0]


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("version", TLS)
def test_the_milter_is_told_whose_certificate_it_is(
    host: Host, alices: Shown, service: str, version: str
) -> None:
    """Common names of subject and issuer come with MAIL, in each form of TLS."""
    host.know(alices)
    context = host.stack.tls_context
    context.minimum_version = context.maximum_version = TLS[version]
    context.load_cert_chain(alices.file)
    with _session(host, service, context) as server:
        server.ehlo()
        server.mail(ALICE)
        server.rcpt(OUTSIDE)
        server.rset()
    macros = host.told().macros

    assert f"TLSv{version}" == macros["{tls_version}"]
    assert (ALICE, "Test client CA") == (macros["{cert_subject}"], macros["{cert_issuer}"])


def _session(host: Host, service: str, context: ssl.SSLContext) -> smtplib.SMTP:
    address = host.stack.layout.address(service)
    if service == "submissions":
        return smtplib.SMTP_SSL(*address, timeout=60, context=context)
    server = smtplib.SMTP(*address, timeout=60)
    server.starttls(context=context)
    return server


def _bad(host: Host, what: str) -> Shown:
    match what:
        case "expired":
            return host.ca.issue(ALICE, days=-1)
        case "self-signed":
            return host.ca.issue(ALICE, self_signed=True)
        case "for servers":
            return host.ca.issue(ALICE, usage=ExtendedKeyUsageOID.SERVER_AUTH)
        case _:
            return host.other_ca.issue(ALICE)


BAD = ("expired", "self-signed", "for servers", "of another CA")


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("service", SERVICES)
def test_a_certificate_that_is_not_in_force_lets_nobody_in(
    host: Host, alices: Shown, service: str, what: str
) -> None:
    """Its fingerprint is not known to the key service."""
    host.know(alices)

    assert 554 == refusal(host, certificate=_bad(host, what).file, service=service)[0]


@pytest.mark.parametrize("what", BAD)
def test_the_milter_is_told_no_name_that_our_ca_does_not_vouch_for(host: Host, what: str) -> None:
    """Even if the map lets it in: without a name the milter has nobody to allow anything."""
    bad = _bad(host, what)
    host.know(bad)

    host.stack.submit(MAIL, OUTSIDE, ALICE, certificate=bad.file)

    assert 1 == len(left(host))
    assert "{tls_version}" in host.told().macros
    assert {"{cert_subject}", "{cert_issuer}"}.isdisjoint(host.told().macros)


@pytest.mark.parametrize("flag", ["-tls1_2", "-tls1_3"])
def test_openssl_with_a_client_certificate(host: Host, alices: Shown, flag: str) -> None:
    """The other client of docs/install.md."""
    host.know(alices)
    mail = MAIL.decode().replace("\r\n.", "\r\n..")

    said = s_client(
        host,
        "submissions",
        f"mail from:<{ALICE}>\r\nrcpt to:<{OUTSIDE}>\r\ndata\r\n{mail}.\r\n",
        *(flag, "-cert", str(alices.file), "-key", str(alices.file)),
    )

    assert [[OUTSIDE]] == [t.forward_paths for t in left(host)], said


@pytest.mark.parametrize("flag", ["-tls1_2", "-tls1_3"])
def test_a_tls_session_of_another_port_is_not_resumed(
    host: Host, tmp_path: Path, flag: str
) -> None:
    """It would bring along a name that was verified there, where another CA is trusted."""
    foreign = str(host.other_ca.issue(ALICE).file)
    ticket = str(tmp_path / "ticket")
    s_client(host, "smtp", "", flag, "-cert", foreign, "-key", foreign, "-sess_out", ticket)
    assert "Reused" in s_client(host, "smtp", "", flag, "-sess_in", ticket)

    said = s_client(host, "submission", f"mail from:<{ALICE}>\r\n", flag, "-sess_in", ticket)

    assert "Reused" not in said
    assert {"{cert_subject}", "{cert_issuer}"}.isdisjoint(host.told().macros)


def test_a_tls_session_is_not_resumed_at_all(host: Host, alices: Shown, tmp_path: Path) -> None:
    """It would outlive the certificate."""
    ticket = str(tmp_path / "ticket")
    shown = ("-cert", str(alices.file), "-key", str(alices.file))
    s_client(host, "submissions", "", "-tls1_2", *shown, "-sess_out", ticket)

    assert "Reused" not in s_client(host, "submissions", "", "-tls1_2", "-sess_in", ticket)


def s_client(host: Host, service: str, commands: str, *options: str) -> str:
    """Speak SMTP by `openssl s_client`; return all that was said.

    In small letters: it takes a line that begins with Q or R for a command of its own.
    """
    address = "{}:{}".format(*host.stack.layout.address(service))
    starttls = [] if service == "submissions" else ["-starttls", "smtp"]
    done = subprocess.run(
        ["openssl", "s_client", "-connect", address, *starttls, "-ign_eof", *options],
        input=f"ehlo {CLIENT_HOST}\r\n{commands}quit\r\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def test_a_login_does_not_send_in_somebody_elses_name(host: Host) -> None:
    """reject_authenticated_sender_login_mismatch."""
    code, said = refusal(host, login=(BOB, PASSWORD))

    assert (553, "5.7.1") == (code, said.split()[0])


@pytest.mark.parametrize("sender", ["alice+news@example.test", "info@example.test", ""])
def test_a_login_sends_under_every_address_of_its_own(host: Host, sender: str) -> None:
    """Extensions, what the operator's table says, and notifications, which have no sender."""
    host.stack.submit(MAIL, OUTSIDE, sender, login=(ALICE, PASSWORD))

    assert [sender] == [t.reverse_path for t in left(host)]


def test_the_sender_of_a_client_certificate_is_the_milters_business(
    host: Host, alices: Shown
) -> None:
    """Postfix has no owner's name for it; this says why the milter must look."""
    host.know(alices)

    host.stack.submit(MAIL, OUTSIDE, BOB, certificate=alices.file)

    assert 1 == len(left(host))
    assert (ALICE, f"<{BOB}>") == (
        host.told().macros["{cert_subject}"],
        host.told().reverse_path,
    )


@pytest.mark.parametrize("login", [None, (ALICE, PASSWORD)])
def test_a_certificate_that_is_revoked_ends_a_session(
    host: Host, alices: Shown, login: tuple[str, str] | None
) -> None:
    """At the next mail, with the reason; a password beside it does not help."""
    host.know(alices)
    with host.stack.submission(certificate=alices.file) as server:
        if login:
            server.login(*login)
        server.sendmail(ALICE, OUTSIDE, MAIL)
        host.map.tables = {
            "client-certificate-access": {alices.fingerprint: "REJECT 5.7.1 it was revoked"}
        }
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            server.sendmail(ALICE, OUTSIDE, MAIL)

    assert 1 == len(left(host))
    (code, said) = refused.value.recipients[OUTSIDE]
    assert (554, True) == (code, b"5.7.1" in said and b"it was revoked" in said)


@pytest.mark.parametrize("fault", ["TEMP later", "PERM not so", "TIMEOUT ", "no such status"])
def test_a_map_that_does_not_know_defers(host: Host, alices: Shown, fault: str) -> None:
    """Nobody is refused for good because the key service is ill."""
    host.know(alices)
    host.map.fault = fault

    assert 451 == refusal(host, certificate=alices.file)[0]


def test_a_key_service_that_is_down_defers(host: Host, alices: Shown) -> None:
    """And those who have a password go on."""
    host.know(alices)
    host.map.is_down = True

    assert 451 == refusal(host, certificate=alices.file)[0]
    host.stack.submit(MAIL, OUTSIDE, ALICE, login=(ALICE, PASSWORD))
    assert 1 == len(left(host))


def test_a_milter_that_is_down_defers(host: Host) -> None:
    """Nothing is sent unsigned."""
    away = host.milter_socket.with_suffix(".away")
    host.milter_socket.rename(away)
    try:
        assert 4 == refusal(host, login=(ALICE, PASSWORD))[0] // 100
    finally:
        away.rename(host.milter_socket)


TRACE = re.compile(
    rb"Received: by mx\.example\.test \(Postfix\) with (?:ESMTPSA?|UTF8SMTPSA) id [0-9A-F]+;\r\n"
    rb"\t[^;\r\n]+\(UTC\)\r\n"
)


@pytest.mark.parametrize("to", [[OUTSIDE], [OUTSIDE, "second@outside.test"]])
@pytest.mark.parametrize(
    "helo",
    [
        CLIENT_HOST,
        "[192.0.2.77]",
        "laptop.home.test by mx.example.test (Postfix) with ESMTP id 1; Mon",
        "laptop." * 70,
    ],
)
@pytest.mark.parametrize("by_login", [False, True])
def test_what_leaves_does_not_tell_of_the_client(
    host: Host, alices: Shown, to: list[str], helo: str, by_login: bool
) -> None:
    """One trace field without name, address, greeting, login and recipient; and no Bcc."""
    host.know(alices)
    certificate = None if by_login else alices.file
    with host.stack.submission(certificate=certificate) as server:
        server.ehlo(helo)
        if by_login:
            server.login(ALICE, PASSWORD)
        server.sendmail(ALICE, to, MAIL)
    (taken,) = left(host)
    trace, rest = taken.octets.split(b"From:", 1)

    assert TRACE.fullmatch(trace), trace
    assert MAIL.replace(b"Bcc: hidden@outside.test\r\n", b"") == b"From:" + rest
    assert [b"From", b"To", b"Subject"] == [name for name, _ in host.told().fields]


def test_a_trace_field_inside_an_attached_message_stays(host: Host) -> None:
    """What this host once wrote there belongs to the content, which is signed."""
    attached = (
        b"From: alice@example.test\r\nContent-Type: message/rfc822\r\n\r\n"
        b"Received: from a by mx.example.test (Postfix) with ESMTP id 1; Fri, 20 Nov 2026\r\n"
        b"Subject: attached\r\n\r\ntext\r\n"
    )
    host.stack.submit(attached, OUTSIDE, ALICE, login=(ALICE, PASSWORD))
    (taken,) = left(host)

    assert taken.octets.endswith(attached)


def test_a_copy_for_somebody_outside_reenters_unchanged(host: Host) -> None:
    """The port through which the milter hands in copies relays them, Bcc and all."""
    with smtplib.SMTP(*host.stack.layout.address("reentry"), timeout=60) as server:
        server.sendmail(ALICE, OUTSIDE, MAIL)
    (taken,) = left(host)

    assert taken.octets.endswith(MAIL)
    assert 1 == taken.octets.count(b"Received:")


def test_the_reentry_port_takes_nothing_from_the_network(host: Host) -> None:
    """It relays, so it must be on loopback only."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.2", 0))
        with pytest.raises(OSError):  # noqa: PT011 (which one is the kernel's choice)
            probe.connect(("127.0.0.2", host.stack.layout.ports["reentry"]))


def test_the_key_services_word_counts_at_once(tmp_path: Path) -> None:
    """The real map: a certificate is issued, used, revoked, and refused in the same session."""
    with ExitStack() as resources:
        sink = resources.enter_context(SMTPSink())
        stack = Stack(tmp_path / "real", submission=True, relays={"outside.test": sink.address})
        resources.push(stack)
        resources.enter_context(RecordingMilter(stack.layout.queue / submission.MILTER_SOCKET))
        for name in ("redis", "keyservice", "dovecot", "postfix"):
            stack.start_daemon(name)
        certificate = stack.client_certificate(ALICE)
        (listed,) = stack.operator.client_certificates.listed()
        with stack.submission(certificate=certificate) as server:
            server.sendmail(ALICE, OUTSIDE, MAIL)
            stack.operator.client_certificates.revoke(listed.fingerprint)
            with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
                server.sendmail(ALICE, OUTSIDE, MAIL)
        sink.wait_for(1)

    (code, said) = refused.value.recipients[OUTSIDE]
    assert (554, True) == (code, b"revoked" in said)
    assert 1 == len(sink.messages)
