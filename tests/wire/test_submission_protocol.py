"""The submission role and MTAs that break the rules, or are told by somebody to say nonsense.

Whatever is said about who has been authenticated: without both sides of it nobody sends, and
nothing of one transaction counts in the next.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

import canary
import dkim_verifiers
from dkim_mail import records_of
from fake_keyservice import MemoryOwner
from letterlock.dkim.keys import KeyDirectory
from letterlock.roles import Role
from milter_process import MilterProcess
from milterproto import NR_CONNECT, NR_HELO, NR_MAIL, Ended, MilterClient, packet
from stack import wait_until
from submission_keyservice import CA, SubmissionKeyService
from violations import BODY, CANARY, STEPS, VIOLATIONS, Step, Violation, eoh

ALICE, BOB = "alice@example.test", "bob@example.test"
CAROL, DAVE = "carol@outside.test", "dave@outside.test"
LOGIN = {b"{auth_type}": b"PLAIN", b"{auth_authen}": BOB.encode()}
CERTIFICATE = {b"{cert_subject}": BOB.encode(), b"{cert_issuer}": CA.encode()}
NOT_AUTHENTICATED = (530, "5.7.0 Authentication required")
NOT_IN_FORCE = (550, "5.7.1 Client certificate is not in force")
FIELDS = [(b"From", b" bob@example.test"), (b"To", b" x:;"), (b"Subject", b" hello")]


@pytest.fixture(scope="module")
def alice() -> MemoryOwner:
    return MemoryOwner(ALICE)


@pytest.fixture(scope="module")
def carol() -> MemoryOwner:
    return MemoryOwner(CAROL)


@pytest.fixture(scope="module")
def milter(alice: MemoryOwner, carol: MemoryOwner) -> Iterator[MilterProcess]:
    owners = (alice, MemoryOwner(BOB), carol)
    with MilterProcess(*owners, submission=1, keyservice=SubmissionKeyService) as milter:
        yield milter


@pytest.fixture
def client(milter: MilterProcess) -> Iterator[MilterClient]:
    """A session in which Bob has logged in."""
    milter.reentry.received.clear()
    with milter.client(role=Role.SUBMISSION) as client:
        client.identity, client.sender = LOGIN, f"<{BOB}>"
        yield client


def hand_in(client: MilterClient, to: str = ALICE, **more: object) -> Ended:
    """A whole transaction."""
    options = {"fields": FIELDS, "body": b"text\r\n"} | more
    return client.transact([f"<{path}>" for path in to.split()], **options)  # type: ignore[arg-type]


def said(ended: Ended) -> tuple[int, str]:
    """Return the reply; nothing was changed and nobody was added."""
    assert (None, [], [], []) == (ended.body, ended.headers, ended.additions, ended.added)
    return ended.code, ended.reply.octets.rstrip(b"\0").decode()[4:]


def good(client: MilterClient, alice: MemoryOwner, word: str) -> None:
    """A whole transaction of Bob's, and nothing in it but its own words."""
    client.identity, client.sender = LOGIN, f"<{BOB}>"
    fields = [*FIELDS[:2], (b"Subject", f" {word}".encode())]
    ended = hand_in(client, fields=fields, body=f"{word}\r\n".encode())
    inside = alice.decrypt(ended.body or b"")

    assert (250, []) == (ended.code, ended.deleted)
    assert f"\r\nSubject: {word}\r\n".encode() in inside
    assert inside.endswith(f"\r\n\r\n{word}\r\n".encode())
    assert CANARY.encode() not in inside


def test_it_is_told_of_the_connection_without_answering(client: MilterClient) -> None:
    """The macros of TLS come with HELO; neither costs a round trip."""
    unanswered = NR_CONNECT | NR_HELO | NR_MAIL
    assert unanswered == client.protocol & unanswered


def test_what_leaves_is_signed_and_each_gets_his_own(
    client: MilterClient, milter: MilterProcess, carol: MemoryOwner
) -> None:
    """A peer that is known by re-entry, the other by what Postfix holds."""
    ended = hand_in(client, f"{DAVE} {CAROL}", body=b"canary\r\n")
    ((recipients, copy),) = milter.reentry.received
    left = ended.header_section(FIELDS).replace(b"\n", b"\r\n") + b"\r\ncanary\r\n"
    signers = KeyDirectory(milter.dkim_directory).signers("example.test")
    records = records_of(signers, "example.test")
    good_ones = {signer.selector: "pass" for signer in signers}

    assert (250, [CAROL], None) == (ended.code, recipients, ended.body)
    assert b"canary\r\n" in carol.decrypt(copy)
    assert b"canary" not in copy
    assert [good_ones] * 2 == [dkim_verifiers.dkimpy(each, records) for each in (left, copy)]


@pytest.mark.parametrize("violation", VIOLATIONS, ids=lambda violation: violation.name)
def test_a_violation_harms_nobody_else(
    milter: MilterProcess, client: MilterClient, alice: MemoryOwner, violation: Violation
) -> None:
    """As with mail from outside."""
    violation.commit(client, lambda client: good(client, alice, "same session"))
    with milter.client(role=Role.SUBMISSION) as other:
        good(other, alice, "other session")


@pytest.mark.parametrize("begin", STEPS, ids=lambda step: step.__name__)
@pytest.mark.parametrize("end", ["abort", "two aborts", "gone", "gone in a packet"])
def test_a_transaction_that_is_broken_off_leaves_nothing(
    milter: MilterProcess, client: MilterClient, alice: MemoryOwner, begin: Step, end: str
) -> None:
    """Nobody gets a copy, and the next mail has nothing of it."""
    begin(client)
    match end:
        case "abort" | "two aborts":
            client.abort()
            if end == "two aborts":
                client.abort()
            good(client, alice, "same session")
        case _:
            client.raw(packet(b"B", b"x" * 1000)[:500] if "packet" in end else b"")
            client.socket.close()
    with milter.client(role=Role.SUBMISSION) as other:
        good(other, alice, "other session")

    assert [] == milter.reentry.received


def test_an_abort_gives_the_disk_back(milter: MilterProcess, client: MilterClient) -> None:
    """Ciphertexts and bodies set aside, in whichever role."""

    def spilled() -> list[Path]:
        return [file for pid in milter.pids for file in canary.open_in(pid, milter.spill)]

    eoh(client)
    client.body(BODY + bytes(200_000))
    wait_until(lambda: bool(spilled()), "spill file")
    client.abort()
    wait_until(lambda: not spilled(), "spill file closed")


# Who has been authenticated.


IDENTITIES = {
    "nothing": ({}, NOT_AUTHENTICATED),
    "empty login": ({b"{auth_authen}": b""}, NOT_AUTHENTICATED),
    "a method without a login": ({b"{auth_type}": b"PLAIN"}, NOT_AUTHENTICATED),
    "all of it empty": (dict.fromkeys([*LOGIN, *CERTIFICATE], b""), NOT_AUTHENTICATED),
    "subject without issuer": ({b"{cert_subject}": BOB.encode()}, NOT_IN_FORCE),
    "issuer without subject": ({b"{cert_issuer}": CA.encode()}, NOT_IN_FORCE),
    "somebody else's CA": (CERTIFICATE | {b"{cert_issuer}": b"Other CA"}, NOT_IN_FORCE),
    "CA in other letters": (CERTIFICATE | {b"{cert_issuer}": CA.upper().encode()}, NOT_IN_FORCE),
    "CA with a blank": (CERTIFICATE | {b"{cert_issuer}": CA.encode() + b" "}, NOT_IN_FORCE),
    "subject that is no mailbox": (CERTIFICATE | {b"{cert_subject}": b"Bob"}, NOT_IN_FORCE),
    "two subjects": (CERTIFICATE | {b"{cert_subject}": b"bob@example.test,x@y"}, NOT_IN_FORCE),
    "a login beside a bad certificate": (LOGIN | {b"{cert_subject}": BOB.encode()}, NOT_IN_FORCE),
    "somebody else's login": (
        LOGIN | {b"{auth_authen}": ALICE.encode()},
        (550, "5.7.1 From is not an address of the login's owner"),
    ),
    "somebody else's certificate": (
        CERTIFICATE | {b"{cert_subject}": ALICE.encode()},
        (550, "5.7.1 From is not an address of the client certificate's owner"),
    ),
    "two people": (
        LOGIN | CERTIFICATE | {b"{auth_authen}": ALICE.encode()},
        (550, "5.7.1 From is not an address of the login's owner"),
    ),
    "a login that is not UTF-8": ({b"{auth_authen}": b"\xff\xfe"}, (451, "")),
    "a subject that is not UTF-8": (CERTIFICATE | {b"{cert_subject}": b"\xff"}, (451, "")),
}


@pytest.mark.parametrize("case", IDENTITIES)
def test_who_is_not_known_sends_nothing(
    milter: MilterProcess, client: MilterClient, alice: MemoryOwner, case: str
) -> None:
    """Neither out nor to a mailbox here; and the session goes on."""
    client.identity, (code, text) = IDENTITIES[case]
    for to in (ALICE, f"{DAVE} {CAROL}"):
        ended = hand_in(client, to)

        assert code == ended.code
        assert said(ended)[1].startswith(text)
    assert [] == milter.reentry.received
    good(client, alice, "same session")


@pytest.mark.parametrize("identity", [LOGIN, CERTIFICATE, LOGIN | CERTIFICATE])
def test_who_is_known_sends(
    client: MilterClient, identity: dict[bytes, bytes], alice: MemoryOwner
) -> None:
    """By either, or both, if they agree."""
    client.identity = identity
    assert b"text" in alice.decrypt(hand_in(client).body or b"")


def test_a_certificate_of_which_postfix_tells_with_helo(
    client: MilterClient, alice: MemoryOwner
) -> None:
    """By default {cert_subject} comes there (milter_helo_macros), for all mail of the session."""
    client.identity = {}
    client.connect("laptop.test", "192.0.2.1")
    client.send(b"H", b"laptop.test\0")
    client.macros(b"H", CERTIFICATE)
    client.send(b"H", b"laptop.test\0")

    for _ in range(3):
        assert b"text" in alice.decrypt(hand_in(client).body or b"")


def test_a_greeting_after_that_one_counts(client: MilterClient) -> None:
    """EHLO without TLS, after one with it, cannot happen; whoever says so is believed."""
    client.identity = {}
    for macros in (CERTIFICATE, {b"{tls_version}": b"TLSv1.3"}):
        client.macros(b"H", macros)
        client.send(b"H", b"laptop.test\0")

    assert NOT_AUTHENTICATED == said(hand_in(client))


@pytest.mark.parametrize("command", [b"R", b"T", b"L", b"N", b"B", b"E"])
def test_whom_a_later_command_names_is_nobody(client: MilterClient, command: bytes) -> None:
    """Who sends is known with MAIL, or not at all; and it is not left over from the last mail."""
    client.identity = {}
    for _ in range(2):
        client.mail()
        client.macros(command, LOGIN)
        client.rcpt(f"<{ALICE}>")
        for name, value in FIELDS:
            client.header(name, value)
        client.eoh()
        client.body(b"text\r\n")

        assert NOT_AUTHENTICATED == said(client.end())


def test_every_mail_of_a_session_is_judged_by_itself(
    milter: MilterProcess, client: MilterClient, alice: MemoryOwner
) -> None:
    """Logins that change between mails, in any order; none is inherited."""
    as_alice = [(b"From", b" alice@example.test"), *FIELDS[1:]]
    names = {BOB: FIELDS, ALICE: as_alice}
    turns = [
        (login, author)
        for login in (BOB, ALICE, "", BOB, "", ALICE, BOB)
        for author in (BOB, ALICE)
    ]
    for login, author in turns:
        client.identity = LOGIN | {b"{auth_authen}": login.encode()} if login else {}
        ended = hand_in(client, fields=names[author], sender="<>")
        expected = 250 if login == author else 550 if login else 530

        assert expected == ended.code, (login, author)
        if ended.code == 250:
            assert f"From: {author}".encode() in alice.decrypt(ended.body or b"")
    assert [] == milter.reentry.received


def test_a_macro_that_says_another_mailbox_than_the_reverse_path(client: MilterClient) -> None:
    """{mail_addr} is what Postfix makes of MAIL; only MAIL counts."""
    client.identity = LOGIN | {b"{mail_addr}": BOB.encode(), b"{mail_host}": b"example.test"}
    ended = hand_in(client, sender=f"<{ALICE}>")

    assert (550, "5.7.1 MAIL FROM is not an address of the login's owner") == said(ended)


def test_a_refusal_costs_no_recipient_before_the_end(
    milter: MilterProcess, client: MilterClient
) -> None:
    """Copies are not sent, then refused: it is known before the first one."""
    client.identity = {}
    client.mail()
    assert [250] * 3 == [client.rcpt(f"<{path}>").code for path in (ALICE, CAROL, DAVE)]
    header_and_body(client)

    assert NOT_AUTHENTICATED == said(client.end())
    assert [] == milter.reentry.received


def header_and_body(client: MilterClient) -> None:
    for name, value in FIELDS:
        client.header(name, value)
    client.eoh()
    client.body(b"text\r\n" * 30_000)


def test_a_certificate_that_is_revoked_between_two_mails(
    milter: MilterProcess, client: MilterClient
) -> None:
    """The session goes on; within the seconds for which an answer is held, mail is refused."""
    assert isinstance(milter.keyservice, SubmissionKeyService)
    client.identity = CERTIFICATE
    assert 250 == hand_in(client).code
    milter.keyservice.refusing = BOB
    try:
        wait_until(lambda: hand_in(client).code == 550, "refused")
        assert NOT_IN_FORCE == said(hand_in(client))
    finally:
        milter.keyservice.refusing = ""
    # What was not allowed is asked anew: no wait for who has just been given one.
    assert 250 == hand_in(client).code


def test_a_key_service_that_talks_nonsense_defers(
    milter: MilterProcess, client: MilterClient
) -> None:
    """For a sender of whom nothing is held."""
    milter.keyservice.status = 500
    client.identity = LOGIN | {b"{auth_authen}": b"new@example.test"}
    fields = [(b"From", b" new@example.test"), *FIELDS[1:]]
    try:
        ended = hand_in(client, DAVE, fields=fields, sender="<new@example.test>")
    finally:
        milter.keyservice.status = 200

    assert 451 == ended.code


def test_a_header_section_that_others_read_differently(client: MilterClient) -> None:
    """Bare CR, NUL cannot come; a From beyond ASCII, a name with blanks: refused, not guessed."""
    for fields in (
        [(b"From", b" bob@example.test\rFrom: ceo@example.test"), *FIELDS[1:]],
        [*FIELDS, (b"X", b" a\rFrom: ceo@example.test")],
        [(b"From", b" ceo@example.test"), *FIELDS],
        [*FIELDS, (b"FROM", b" ceo@example.test")],
        [(b"From", "\u202eböb@example.test".encode()), *FIELDS[1:]],
    ):
        assert 550 == said(hand_in(client, fields=fields))[0], fields


# Last in this file: what all of it has left behind.


def test_violations_leave_no_plaintext_and_no_files(milter: MilterProcess) -> None:
    """Log, metrics, spill directory, open files."""
    files = [path for path in milter.directory.rglob("*") if path.is_file()]
    files += [file for pid in milter.pids for file in canary.open_files(pid)]

    assert [] == canary.found(files, [CANARY])
    assert [] == list(milter.spill.iterdir())


def test_violations_leave_no_session_open(milter: MilterProcess) -> None:
    """Had one been forgotten, the worker would not leave before its time is up."""
    milter.signal(15)
    wait_until(lambda: not milter.pids, "milter stopped", log=milter.log_file)

    assert [0, 0] == [event["sessions_open"] for event in milter.events("worker_left")]
