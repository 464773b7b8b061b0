"""Client certificates, the maps that Postfix asks about them, and logins fail, or end, meanwhile.

Whoever may not hand in mail any more does not, and nobody is refused for good because
something is ill.
"""

import smtplib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner

from canary import Canaries
from fault_host import (
    ACCEPTED,
    EVERYBODY,
    LOCAL,
    UNKNOWN,
    Host,
    Reply,
    Writer,
    reply,
)
from keyservice.client import (
    ClientCertificateRequest,
    ClientCertificateState,
    Mailbox,
    ServiceRefused,
)
from letterlock.cli import main
from mta import Heard, attempt
from stack import PASSWORD, Stack, dovecot, postfix, submission, wait_until

REVOKED: Reply = (554, "5.7.1")
"""By Postfix, at RCPT."""

NOT_IN_FORCE: Reply = (550, "5.7.1")
"""By the milter, at the end of the message."""

HELD_SECONDS = 5.0
"""For so long the milter may go by what it was told."""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with ExitStack() as resources:
        # A minute by default: for so long master(8) starts no program that failed.
        parameters = {"service_throttle_time": "1s"}
        yield Host(tmp_path_factory.mktemp("submitters"), resources, parameters=parameters)


@pytest.fixture
def writer(host: Host) -> Writer:
    """A user with a client certificate, of whom the milter has not heard."""
    return certified(host, host.writer().address)


@pytest.fixture
def canaries(host: Host, writer: Writer) -> Iterator[Canaries]:
    """Words of this test, which nothing may betray in the end."""
    canaries = writer.new_canaries()
    yield canaries
    host.require_nothing_betrayed(canaries)


def certified(host: Host, address: str) -> Writer:
    return Writer(host.stack, address, host.stack.client_certificate(address))


def revoke(host: Host, writer: Writer) -> None:
    """End all client certificates of the writer."""
    calls = host.stack.operator.client_certificates
    for listed in calls.listed(Mailbox.parse(writer.address)):
        calls.revoke(listed.fingerprint)


# The key of the authority


class Locked:
    """Ways to lock it."""

    def __init__(self, stack: Stack) -> None:
        self.file: Path = stack.layout.state / "client-ca.passphrase"

    def gone(self) -> None:
        self.file.unlink()

    def wrong(self) -> None:
        self.file.write_text("0" * 40)

    def empty(self) -> None:
        self.file.write_text("")

    def readable_by_all(self) -> None:
        self.file.chmod(0o644)


@pytest.fixture
def locked(host: Host) -> Iterator[Locked]:
    """The authority's key; unlocked in the end."""
    locked = Locked(host.stack)
    passphrase = locked.file.read_text()
    yield locked
    locked.file.write_text(passphrase)
    locked.file.chmod(0o600)


@pytest.mark.parametrize("how", [name for name in vars(Locked) if not name.startswith("_")])
def test_while_the_authority_is_locked_all_but_issuing_goes_on(
    host: Host, writer: Writer, canaries: Canaries, locked: Locked, how: str
) -> None:
    """Certificates are believed, and revoked; who asks for another is told why there is none."""
    calls = host.stack.operator.client_certificates
    mailbox = Mailbox.parse(writer.address)
    (listed,) = calls.listed(mailbox)
    passphrase, mode = locked.file.read_text(), locked.file.stat().st_mode
    getattr(locked, how)()

    for issue in (
        lambda: calls.issue(mailbox, ClientCertificateRequest()),
        lambda: calls.renew(listed.fingerprint),
    ):
        with pytest.raises(ServiceRefused, match=r"client_ca\.passphrase_file") as refused:
            issue()
        assert "ca_locked" == refused.value.error
    assert [listed] == list(calls.listed(mailbox))
    assert ACCEPTED == writer.hears(canaries.message(number=1), EVERYBODY)
    host.require_each_got_one(canaries, 1)
    revoke(host, writer)
    assert REVOKED == writer.hears(canaries.message(number=2), EVERYBODY)

    locked.file.write_text(passphrase)
    locked.file.chmod(mode)
    assert ACCEPTED == certified(host, writer.address).hears(canaries.message(number=3), [UNKNOWN])


def test_the_command_says_that_the_authority_is_locked(
    host: Host, locked: Locked, tmp_path: Path
) -> None:
    """It fails, names the option, and leaves no file behind."""
    locked.gone()
    out = tmp_path / "certificate.pem"
    service = ["--service", host.provider.service]
    command = ["client-certificate", "issue", "dora@example.test", "--out", str(out), *service]
    done = CliRunner().invoke(main, command)

    assert 0 != done.exit_code
    assert "client_ca.passphrase_file" in done.output
    assert not out.exists()


def test_without_the_file_of_authorities_nobody_hands_in_mail(host: Host) -> None:
    """Postfix has no TLS then, and nothing of a submission goes without; port 25 goes on.

    A restart of the key service writes the file anew.
    """
    writer = host.writer()
    certificate = certified(host, writer.address)
    file = submission.trusted_file(host.stack.layout)
    written = file.read_bytes()
    file.unlink()
    # Programs that run have read it; each new one does.
    postfix.reload(host.stack.layout)

    assert _is_hung_up_on(host)
    assert (454, "4.7.0") == _starttls(host)
    assert (530, "5.7.0") == _without_tls(host)
    host.stack.send(b"Subject: from outside\r\n\r\n", LOCAL[0])
    host.stack.stop_daemon("keyservice")
    host.stack.start_daemon("keyservice")
    assert written == file.read_bytes()
    postfix.reload(host.stack.layout)

    for one in (writer, certificate):
        # A program that was about to end may still take a connection.
        one.insists(one.new_canaries().message(), [UNKNOWN])
    assert 2 == len(host.sink.wait_for(2))
    host.sink.messages.clear()


def _is_hung_up_on(host: Host) -> bool:
    # On 465 nothing can be said without TLS.
    with socket.create_connection(host.stack.layout.address("submissions"), 60) as peer:
        try:
            return peer.recv(100) == b""
        except ConnectionResetError:
            return True


def _starttls(host: Host) -> Reply:
    with smtplib.SMTP(*host.stack.layout.address("submission"), timeout=60) as server:
        server.ehlo()
        return reply(*server.docmd("STARTTLS"))


def _without_tls(host: Host) -> Reply:
    with smtplib.SMTP(*host.stack.layout.address("submission"), timeout=60) as server:
        server.ehlo()
        assert not server.has_extn("auth")
        return reply(*server.mail("writer@example.test"))


# Revocation


def test_a_certificate_revoked_between_two_mails_of_a_session(
    host: Host, writer: Writer, canaries: Canaries
) -> None:
    """At once, with or without a password beside it, and in every session after it."""
    with host.stack.submission(certificate=writer.certificate) as server:
        server.login(writer.address, PASSWORD)
        server.sendmail(writer.address, EVERYBODY, canaries.message(number=1))
        revoke(host, writer)
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            server.sendmail(writer.address, EVERYBODY, canaries.message(number=2))

    assert dict.fromkeys(EVERYBODY, REVOKED) == {
        address: reply(*said) for address, said in refused.value.recipients.items()
    }
    assert REVOKED == writer.hears(canaries.message(number=3), EVERYBODY)
    host.require_each_got_one(canaries, 1)


def test_a_certificate_revoked_between_mail_and_data(
    host: Host, writer: Writer, canaries: Canaries
) -> None:
    """Postfix has let it in; the milter does not let it out."""
    with begun(host, writer) as server:
        revoke(host, writer)
        assert NOT_IN_FORCE == reply(*server.data(canaries.message(number=1)))

    host.require_each_got_one(canaries, 1, [])
    assert [] == host.sink.messages


def test_the_word_of_a_moment_ago_does_not_outlive_five_seconds(
    host: Host, writer: Writer, canaries: Canaries
) -> None:
    """The sender's record is held for so long, and may let through the mail that was begun."""
    assert ACCEPTED == writer.hears(canaries.message(number=1), EVERYBODY)
    with begun(host, writer) as server:
        revoke(host, writer)
        revoked = time.monotonic()
        # Neither Postfix nor the milter is asked anything that could hasten it.
        time.sleep(max(0.0, revoked + HELD_SECONDS - time.monotonic()))
        assert NOT_IN_FORCE == reply(*server.data(canaries.message(number=2)))

    host.require_each_got_one(canaries, 1)


def begun(host: Host, writer: Writer) -> smtplib.SMTP:
    """Return a session in which all recipients were accepted."""
    server = host.stack.submission(certificate=writer.certificate)
    server.ehlo()
    server.mail(writer.address)
    assert {250} == {server.rcpt(address)[0] for address in EVERYBODY}
    return server


def test_another_certificate_of_the_same_mailbox_stays(
    host: Host, writer: Writer, canaries: Canaries
) -> None:
    """One for each device: a lost one is revoked alone."""
    calls = host.stack.operator.client_certificates
    (lost,) = calls.listed(Mailbox.parse(writer.address))
    other = certified(host, writer.address)
    calls.revoke(lost.fingerprint)

    assert ClientCertificateState.REVOKED in {
        listed.state for listed in calls.listed(Mailbox.parse(writer.address))
    }
    assert REVOKED == writer.hears(canaries.message(number=1), EVERYBODY)
    assert ACCEPTED == other.hears(canaries.message(number=2), EVERYBODY)
    host.require_each_got_one(canaries, 2)


# The maps


def test_while_the_maps_are_down_certificates_defer(
    host: Host, writer: Writer, canaries: Canaries
) -> None:
    """451 at RCPT, and when they are back nobody has to be told."""
    message = canaries.message(number=1)
    with host.without("keyservice", "killed"):
        assert (451, "4.3.5") == writer.hears(message, EVERYBODY)
    host.require_each_got_one(canaries, 1, [])

    assert ACCEPTED == writer.hears(message, EVERYBODY)
    host.require_each_got_one(canaries, 1)


def test_while_the_maps_hang_postfix_waits(host: Host, writer: Writer, canaries: Canaries) -> None:
    """Nobody gets in by waiting. (After 100 s, Postfix' own limit, it would say 451 4.3.5.)"""
    said: list[Reply] = []
    message = canaries.message(number=1)
    client = threading.Thread(target=lambda: said.append(writer.hears(message, EVERYBODY)))
    with host.without("keyservice", "hung"):
        client.start()
        client.join(3)
        assert client.is_alive()
        assert [] == said
        assert [] == host.sink.messages
    client.join(120)

    assert [ACCEPTED] == said
    host.require_each_got_one(canaries, 1)


# Logins


def test_without_a_password_service_logins_defer(
    host: Host, writer: Writer, canaries: Canaries
) -> None:
    """454 4.7.0. Client certificates may go on; mail for mailboxes here waits in the queue."""
    by_login = Writer(host.stack, writer.address)
    message = canaries.message(number=1)
    with host.without("dovecot", "killed"):
        assert (454, "4.7.0") == by_login.hears(message, EVERYBODY)
        host.require_each_got_one(canaries, 1, [])
        # A smtpd(8) that begins has no list of SASL mechanisms and ends; one that runs has it.
        heard = attempt(writer, message, EVERYBODY)
        assert heard in (Heard.NOTHING, Heard.ACCEPTED)

    if heard is Heard.NOTHING:
        writer.insists(message, EVERYBODY)
    postfix.command(host.stack.layout, "flush")
    host.require_each_got_one(canaries, 1)


def test_a_login_disabled_in_the_middle_of_a_session(host: Host) -> None:
    """The next session is refused; that which is open was let in, and lasts (RFC 4954 §4)."""
    writer = host.writer()
    canaries = writer.new_canaries()
    disabled = dovecot.disabled_logins(host.stack.layout)
    with host.stack.submission() as server:
        server.login(writer.address, PASSWORD)
        disabled.write_text(f"{writer.address}:\n")
        another = lambda: writer.hears(canaries.message(number=2), [UNKNOWN])  # noqa: E731
        wait_until(lambda: (535, "5.7.8") == another(), "disabled")
        server.sendmail(writer.address, [UNKNOWN], canaries.message(number=1))
    host.settle()

    assert 1 == host.received(UNKNOWN, canaries)[1]
    host.sink.messages.clear()
