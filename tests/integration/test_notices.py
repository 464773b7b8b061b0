"""The owner is told about his certificate in a mail that only he can read."""

import email
import json
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import default

import pytest

from keyservice.mailbox import Mailbox
from stack import Owner, Stack, wait_until


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One whose key service hands notices to its Postfix."""
    with Stack(tmp_path_factory.mktemp("s"), notices=True) as stack:
        yield stack


def notices(stack: Stack, owner: Owner, count: int) -> list[EmailMessage]:
    """Return what the owner reads, as soon as there are `count` mails; all are ciphertext."""
    stored = stack.wait_for_mail(owner.address, count, 120)
    assert count == len(stored)
    for mail in stored:
        assert b"multipart/encrypted" in mail
        assert b"ertificate" not in mail
        assert owner.fingerprint[-8:].upper().encode() not in mail.replace(b" ", b"")
    return [_read(owner, mail) for mail in stored]


def _read(owner: Owner, mail: bytes) -> EmailMessage:
    return email.message_from_bytes(owner.read(mail), policy=default)


def _grouped(fingerprint: str) -> str:
    return " ".join(fingerprint.upper()[at : at + 4] for at in range(0, 40, 4))


def _results(stack: Stack, address: str) -> list[str]:
    # The last one may be in work.
    whole = [line for line in stack.log("keyservice").splitlines(True) if line.endswith("\n")]
    lines = [json.loads(line) for line in whole if "{" in line]
    return [
        line["result"]
        for line in lines
        if line.get("event") == "notice" and line.get("mailbox") == address
    ]


def test_the_owner_reads_what_happened_to_his_certificate(stack: Stack) -> None:
    """Enrolled, and soon to end; the header section of the notice is protected, too."""
    with Owner("alice@example.test", expires="20d") as alice:
        stack.enrol(alice.address, alice.certificate)
        notices(stack, alice, 1)
        # It looks for what ends soon at its start, and once an hour.
        stack.stop_daemon("keyservice")
        stack.start_daemon("keyservice")
        enrolled, ending = notices(stack, alice, 2)

        assert "Your mail is encrypted to a certificate" == enrolled["Subject"]
        assert ending["Subject"].startswith("Your certificate ends on 20")
        assert "postmaster@example.test" == ending["From"].addresses[0].addr_spec
        for mail in (enrolled, ending):
            assert _grouped(alice.fingerprint) in mail.get_content()


def test_the_holder_of_the_old_key_hears_of_a_replacement_in_time(stack: Stack) -> None:
    """While it waits, mail is still encrypted to his; once confirmed, to the new one."""
    with Owner("dave@example.test") as old, Owner("dave@example.test") as new:
        stack.enrol(old.address, old.certificate)
        notices(stack, old, 1)
        stack.enrol(old.address, new.certificate)
        _, waiting = notices(stack, old, 2)
        stack.operator.enrol(Mailbox.parse(new.address), new.certificate, new.fingerprint)
        stored = stack.wait_for_mail(new.address, 3, 120)
        replaced = _read(new, stored[2])
        both = [_grouped(owner.fingerprint) for owner in (old, new)]

    assert "Another certificate is to replace yours" == waiting["Subject"]
    assert "Your mail is encrypted to another certificate" == replaced["Subject"]
    for fingerprint in both:
        assert fingerprint in waiting.get_content()
        assert fingerprint in replaced.get_content()


def test_a_notice_that_cannot_be_encrypted_is_not_sent(stack: Stack) -> None:
    """The milter defers it like all mail for that mailbox, and nothing stays in the queue."""
    with Owner("bob@example.test") as bob:
        stack.enrol(bob.address, bob.certificate)
        notices(stack, bob, 1)
        stack.operator.withdraw(Mailbox.parse(bob.address))
        wait_until(
            lambda: "deferred" in _results(stack, bob.address),
            "the notice deferred",
            120,
            stack.log_file("keyservice"),
        )

        assert 1 == len(stack.maildir(bob.address))
        assert [] == stack.queue_files()
        assert stack.counter("keyservice", "keyservice_notices_total", result="deferred") >= 1


def test_postfix_may_be_down_while_something_happens(stack: Stack) -> None:
    """Enrolment does not wait for it, and the notice comes when it is back."""
    with Owner("carol@example.test") as carol:
        stack.stop_daemon("postfix")
        stack.enrol(carol.address, carol.certificate)
        wait_until(
            lambda: "notices_wait" in stack.log("keyservice"),
            "the key service noticing that Postfix is down",
            120,
            stack.log_file("keyservice"),
        )
        stack.start_daemon("postfix")
        (notice,) = notices(stack, carol, 1)

        assert _grouped(carol.fingerprint) in notice.get_content()
