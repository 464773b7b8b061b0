"""Every final mailbox gets a copy of its own, encrypted to its owner and to nobody else."""

import smtplib
from collections.abc import Iterator
from contextlib import ExitStack

import pysequoia
import pytest

import certificates
import messages
from delivered import BEGIN, Delivered, deliver, watch
from letterlock.restore import restore
from lmtp_sink import LMTPSink
from stack import Owner, Stack

MAIL = messages.PLAIN.replace(b"alice@example.org", b"alice@example.test")


@pytest.fixture(scope="module")
def five(stack: Stack, alice: Owner, bob: Owner) -> Iterator[list[Owner]]:
    """Owners of five mailboxes; the third has two encryption subkeys, of different kinds."""
    with ExitStack() as kept:
        owners = [kept.enter_context(Owner(f"{n}@example.test")) for n in ("carol", "dave", "erin")]
        carol = owners[0]
        carol.gpg("--quick-add-key", carol.fingerprint, "rsa2048", "encr")
        for owner in owners:
            stack.enrol(owner.address, owner.certificate)
        yield [alice, bob, *owners]


def _to_alice(stack: Stack, *forward_paths: str) -> list[Delivered]:
    return deliver(stack, MAIL, forward_paths, into=["alice@example.test"])["alice@example.test"]


def _original(copy: Delivered, made: certificates.Made) -> bytes:
    """Restore the original without gpg, which knows nothing of version 6."""
    secret = pysequoia.Tsk.from_bytes(made.secret).decryptor()
    armor = copy.octets[copy.octets.index(BEGIN) :].partition(b"\r\n--=_")[0]
    return restore(pysequoia.decrypt(armor, secret).bytes or b"").octets


def _encryption_key_ids(owner: Owner) -> list[str]:
    listing = owner.gpg("--with-colons", "--list-keys", owner.address).decode()
    rows = [line.split(":") for line in listing.splitlines()]
    return sorted(row[4].lower() for row in rows if row[0] == "sub" and "e" in row[11])


def test_nobody_learns_of_the_others(stack: Stack, five: list[Owner]) -> None:
    """Three in To, two in Bcc: each copy names its own owner, by all of his subkeys, only."""
    addresses = [owner.address for owner in five]
    to = ", ".join(addresses[:3])
    mail = b"To: %b\r\nSubject: canary\r\n\r\nbody\r\n" % to.encode()

    stored = deliver(stack, mail, addresses)

    for owner in five:
        (copy,) = stored[owner.address]
        assert _encryption_key_ids(owner) == sorted(copy.key_ids)
        assert mail == copy.original(owner)
        others = {address.encode() for address in addresses[3:]} - {owner.address.encode()}
        assert [] == [other for other in others if other in copy.octets]
        assert [] == [o for o in five if o is not owner and o.fingerprint.encode() in copy.octets]


def test_copies_differ_in_what_is_about_their_recipient_only(
    stack: Stack, alice: Owner, bob: Owner
) -> None:
    """One inner text for all; outside, the marker, the boundary and the trace."""
    (hers,), (his,) = deliver(stack, MAIL, [alice.address, bob.address]).values()

    assert alice.read(hers.octets) == bob.read(his.octets)
    assert _without_own(hers) == _without_own(his)


def _without_own(copy: Delivered) -> list[bytes]:
    own = {b"return-path", b"delivered-to", b"received", b"content-type", b"letterlock"}
    return [field.octets for field in copy.section if field.key not in own]


@pytest.mark.parametrize(
    "address",
    [
        "alice@example.test",
        "ALICE@EXAMPLE.TEST",
        "alice+tag@example.test",
        "info@example.test",
        "info+tag@example.test",
        "chain@example.test",
        "anything@catchall.test",
        "anything+tag@catchall.test",
        "root@mx.example.test",
        "root+tag@mx.example.test",
    ],
)
def test_one_mailbox_by_any_path(stack: Stack, alice: Owner, address: str) -> None:
    """Extension, virtual alias, chain of them, catch-all, local alias: one copy, hers."""
    stored = _to_alice(stack, address)

    assert [_encryption_key_ids(alice)] == [copy.key_ids for copy in stored]
    assert MAIL == stored[0].original(alice)


@pytest.mark.parametrize("address", ["alice+tag@example.test", "info+tag@example.test"])
def test_an_extension_is_kept_in_delivery(stack: Stack, alice: Owner, address: str) -> None:
    """Dovecot sees it, and could file by it."""
    (stored,) = _to_alice(stack, address)

    assert [b"alice+tag@example.test"] == stored.shown(b"delivered-to")


@pytest.mark.parametrize(
    "address", ["team@example.test", "crowd@example.test", "staff@mx.example.test"]
)
def test_an_alias_to_several_mailboxes(
    stack: Stack, alice: Owner, bob: Owner, address: str
) -> None:
    """Each gets his own copy, once, though the envelope named one address."""
    stored = deliver(stack, MAIL, address, into=[alice.address, bob.address])

    assert [alice.address, bob.address] == list(stored)
    for owner in (alice, bob):
        (copy,) = stored[owner.address]
        assert _encryption_key_ids(owner) == copy.key_ids
        assert MAIL == copy.original(owner)


@pytest.mark.parametrize(
    ("copies", "second"),
    [
        (1, "alice@example.test"),
        (1, "info@example.test"),
        (1, "anything@catchall.test"),
        (2, "alice+tag@example.test"),
    ],
)
def test_the_same_mailbox_by_two_paths(
    stack: Stack, alice: Owner, copies: int, second: str
) -> None:
    """One copy for each final address."""
    stored = _to_alice(stack, alice.address, second)

    assert [MAIL] * copies == [copy.original(alice) for copy in stored]


def test_an_alias_that_leads_outside_as_well(stack: Stack, alice: Owner) -> None:
    """The provider's own mailbox is encrypted to; the foreign one is not his to encrypt."""
    both = [alice.address, "partner@outside.test"]
    stored = deliver(stack, MAIL, "partners@example.test", into=both)

    assert [MAIL] == [copy.original(alice) for copy in stored[alice.address]]
    assert [True] == [copy.octets.endswith(MAIL) for copy in stored["partner@outside.test"]]


def test_mixed_treatments_in_one_transaction(stack: Stack, alice: Owner) -> None:
    """Encrypted, in plaintext by consent, foreign and refused: each as if it were alone."""
    to = [alice.address, "newcomer@accept.test", "friend@relay.test", "nobody@example.test"]
    refused: dict[str, tuple[int, str]] = {}
    stored = watch(stack, to, lambda: refused.update(stack.send(MAIL, to).refused))

    assert ["nobody@example.test"] == list(refused)
    assert 450 == refused["nobody@example.test"][0]
    assert [] == stored["nobody@example.test"]
    assert [MAIL] == [copy.original(alice) for copy in stored[alice.address]]
    assert [True] == [copy.octets.endswith(MAIL) for copy in stored["newcomer@accept.test"]]
    assert [True] == [copy.octets.endswith(MAIL) for copy in stored["friend@relay.test"]]


def test_an_alias_to_mixed_treatments(stack: Stack, alice: Owner) -> None:
    """The plaintext by consent does not take the owner's copy with it."""
    stored = deliver(
        stack, MAIL, "mixed@example.test", into=[alice.address, "newcomer@accept.test"]
    )

    assert [MAIL] == [copy.original(alice) for copy in stored[alice.address]]
    assert [True] == [copy.octets.endswith(MAIL) for copy in stored["newcomer@accept.test"]]


def test_an_alias_with_a_member_that_is_refused(stack: Stack, alice: Owner, bob: Owner) -> None:
    """All of an alias or nothing: the sender hears it and nobody gets half of the mail."""
    to = ["hopeless@example.test", bob.address]
    stored = deliver(stack, MAIL, to, into=[alice.address, bob.address])

    assert [] == stored[alice.address]
    assert [MAIL] == [copy.original(bob) for copy in stored[bob.address]]


def test_the_header_policy_is_each_mailboxs_own(stack: Stack, alice: Owner, bob: Owner) -> None:
    """Two payload forms in one transaction."""
    stored = deliver(stack, MAIL, [alice.address, "bob@all.test", "alice@shy.test"])
    (baseline,), (everything,), (shy,) = stored.values()

    assert [b"Alice Test <alice@example.org>".replace(b"org", b"test")] == baseline.shown(b"to")
    assert [b"bob@all.test"] == everything.shown(b"to")
    assert [b"alice@example.test"] == shy.shown(b"to")
    assert [MAIL] * 3 == [baseline.original(alice), everything.original(bob), shy.original(alice)]


def test_a_hundred_recipients_in_one_transaction(stack: Stack) -> None:
    """RFC 5321 §4.5.3.1.8: a server must take a hundred; each has one own copy."""
    made = {}
    for number in range(100):
        address = f"member{number}@example.test"
        made[address] = certificates.sequoia(f"Member <{address}>")
        stack.enrol(address, made[address].certificate)

    stored = deliver(stack, MAIL, list(made))

    assert [1] * 100 == [len(copies) for copies in stored.values()]
    assert 100 == len({tuple(copies[0].key_ids) for copies in stored.values()})
    for address in ("member0@example.test", "member57@example.test", "member99@example.test"):
        assert MAIL == _original(stored[address][0], made[address])


def test_a_version_6_certificate(stack: Stack, alice: Owner) -> None:
    """RFC 9580: SEIPD version 2 for its owner, version 1 for others in the same transaction."""
    made = certificates.sequoia("Six <six@example.test>", version=6)
    stack.enrol("six@example.test", made.certificate)

    stored = deliver(stack, MAIL, ["six@example.test", alice.address])

    assert MAIL == _original(stored["six@example.test"][0], made)
    assert MAIL == stored[alice.address][0].original(alice)


def test_parameters_of_mail_and_rcpt_reach_every_copy(stack: Stack, sink: LMTPSink) -> None:
    """RFC 3461, RFC 6152, RFC 6531: the primary's and those of the copy that re-entered."""
    sink.transactions.clear()
    with smtplib.SMTP(*stack.layout.address("smtp"), timeout=60) as server:
        server.command_encoding = "utf-8"
        server.ehlo()
        server.docmd("MAIL FROM:<Jürgen@outside.test> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=e1")
        server.docmd("RCPT TO:<alice@params.test> NOTIFY=SUCCESS ORCPT=rfc822;a@first.test")
        server.docmd("RCPT TO:<bob@params.test> NOTIFY=NEVER ORCPT=rfc822;b@first.test")
        assert server.data(MAIL)[0] == 250
    stack.wait_until_queue_is_empty()

    mail = {"BODY=8BITMIME", "SMTPUTF8", "RET=HDRS", "ENVID=e1"}
    said = [
        (set(rcpt_to.split(":", 1)[1].split()), mail & set(mail_from.split()))
        for mail_from, rcpt_to in sorted(sink.transactions, key=lambda commands: commands[1])
    ]
    rcpt = [
        {"<alice@params.test>", "NOTIFY=SUCCESS", "ORCPT=rfc822;a@first.test"},
        {"<bob@params.test>", "NOTIFY=NEVER", "ORCPT=rfc822;b@first.test"},
    ]
    assert [(each, mail) for each in rcpt] == said
