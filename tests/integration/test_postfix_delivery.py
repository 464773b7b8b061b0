"""Mail from the Internet is stored as PGP/MIME only, or is not taken at all."""

import smtplib
import time

import pytest

import messages
from canary import Canaries, found, stored_files
from delivered import deliver, deliver_one, watch
from keyservice.mailbox import Mailbox
from stack import Owner, Stack, wait_until

MAIL = messages.PLAIN.replace(b"alice@example.org", b"alice@example.test")


def test_a_thief_finds_nothing_and_the_owner_everything(stack: Stack, alice: Owner) -> None:
    """Subject and body are in the encrypted part only, the header section with them."""
    stored = deliver_one(stack, MAIL, alice.address)

    assert stored.is_wrapped
    assert b"canary" not in stored.octets
    assert [b"[...]"] == stored.shown(b"subject")
    assert MAIL == stored.original(alice)


def test_stored_mail_is_recognised_by_another_parser(stack: Stack, alice: Owner) -> None:
    """The outer message has two parts and no defect, whatever the sender wrote."""
    hostile = (
        b'Content-Type: multipart/mixed; boundary="=_"\r\nContent-Transfer-Encoding: base64\r\n'
        b"MIME-Version: 2.0\r\n\r\n--=_\r\n\r\n--=_--\r\n"
    )
    stored = deliver_one(stack, hostile, alice.address)

    assert stored.is_wrapped
    assert [b"1.0"] == stored.shown(b"mime-version")
    assert [] == stored.shown(b"content-transfer-encoding")


def _refusal(stack: Stack, to: str) -> smtplib.SMTPResponseException:
    """Return the reply to RCPT, having seen that nothing was stored."""
    refused: list[smtplib.SMTPResponseException] = []

    def send() -> None:
        with pytest.raises(smtplib.SMTPResponseException) as reply:
            stack.send(MAIL, to)
        refused.append(reply.value)

    assert {to: []} == watch(stack, [to], send)
    return refused[0]


def test_without_a_certificate_mail_waits_at_its_sender(stack: Stack) -> None:
    """The default: nobody who has not decided for plaintext gets plaintext."""
    reply = _refusal(stack, "newcomer@example.test")

    assert 450 == reply.smtp_code
    assert str(reply.smtp_error).startswith("4.7.5 ")


def test_a_rejection_tells_the_sender_what_to_do(stack: Stack) -> None:
    """He reads it in his bounce, so it says what is missing and whom to ask."""
    reply = _refusal(stack, "newcomer@reject.test")

    assert 550 == reply.smtp_code
    assert str(reply.smtp_error).startswith("5.7.5 ")
    assert "ask the owner" in str(reply.smtp_error)


@pytest.mark.parametrize("to", ["newcomer@accept.test", "friend@relay.test"])
def test_plaintext_by_consent_and_other_peoples_mail_pass_untouched(stack: Stack, to: str) -> None:
    """A domain that accepts without certificate, and one that is not served at all."""
    stored = deliver_one(stack, MAIL, to)

    assert stored.octets.endswith(MAIL)
    assert [] == stored.shown(b"letterlock")


def test_a_withdrawn_certificate_never_means_plaintext(stack: Stack) -> None:
    """Whoever can take a certificate away must not get mail in the clear for it."""
    address = "leaver@accept.test"
    with Owner(address) as leaver:
        assert deliver_one(stack, MAIL, address).octets.endswith(MAIL)
        stack.enrol(address, leaver.certificate)
        assert MAIL == deliver_one(stack, MAIL, address).original(leaver)

        stack.operator.withdraw(Mailbox.parse(address))

        assert 450 == _refusal(stack, address).smtp_code


def test_a_certificate_that_expires_is_not_used_a_second_longer(stack: Stack) -> None:
    """Whatever was remembered of it."""
    address = "fading@accept.test"
    with Owner(address, expires="seconds=25") as fading:
        ends = stack.operator.enrol(Mailbox.parse(address), fading.certificate).not_after
        assert ends is not None
        assert MAIL == deliver_one(stack, MAIL, address).original(fading)

        wait_until(lambda: time.time() >= ends, "expiry")

        assert 450 == _refusal(stack, address).smtp_code


def test_a_mailbox_may_differ_from_its_domain(stack: Stack) -> None:
    """The operator's client sets it, and takes it back."""
    mailbox = Mailbox.parse("exception@example.test")
    stack.operator.set_policy(mailbox, {"without_certificate": "accept"})
    assert deliver_one(stack, MAIL, str(mailbox)).octets.endswith(MAIL)

    stack.operator.unset_policy(mailbox, "without_certificate")

    assert 450 == _refusal(stack, str(mailbox)).smtp_code


def test_counters_and_log_say_what_was_done_and_for_whom_not(stack: Stack, alice: Owner) -> None:
    """One line and one count for each outcome; no address, no subject."""
    labels = {"disposition": "encrypted", "reason": "wrapped"}
    before = stack.counter("milter", "letterlock_messages_total", **labels)
    logged = len(stack.log("milter"))

    deliver(stack, MAIL, alice.address)

    assert before + 1 == stack.counter("milter", "letterlock_messages_total", **labels)
    lines = stack.log("milter")[logged:].splitlines()
    assert 1 == len(lines)
    assert alice.address not in lines[0]
    assert "canary" not in lines[0]


def test_nothing_of_a_message_rests_anywhere(stack: Stack, alice: Owner, bob: Owner) -> None:
    """Mailboxes, logs, database, Redis' dump, spill files: no word of it, in no encoding."""
    canaries = Canaries()
    mail = canaries.message(body_octets=3_000_000)
    stored = deliver(stack, mail, [alice.address, "bob@all.test"])

    assert mail == stored[alice.address][0].original(alice)
    assert mail == stored["bob@all.test"][0].original(bob)
    assert [] == found([*stored_files(stack), *stack.queue_files()], canaries.words)
