"""Mail that arrives encrypted: what parses as encrypted to its reader is not encrypted again."""

import base64

import pytest

import messages
from delivered import Delivered, deliver, deliver_one
from keyservice.mailbox import Mailbox
from letterlock.message import split
from stack import Owner, Stack

INNER = b"Content-Type: text/plain\r\n\r\ncanary of the sender\r\n"
_HEAD = (
    b"From: Bob Canary <bob@sender.example>\r\n"
    b"To: alice@example.test\r\n"
    b"Subject: not hidden by the sender\r\n"
    b"Comments: canary\r\n"
    b"Autocrypt: addr=bob@sender.example; keydata=YQ==\r\n"
    b"Message-ID: <1@sender.example>\r\n"
    b"MIME-Version: 1.0\r\n"
)
_LABEL = (
    b'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted";\r\n boundary="b"\r\n'
)


def _encrypted(*owners: Owner) -> bytes:
    """Return what gpg makes of INNER for `owners`, armored, with CRLF."""
    writer = owners[0]
    for owner in owners[1:]:
        writer.gpg("--import", stdin=owner.certificate)
    recipients = [part for owner in owners for part in ("--recipient", owner.fingerprint)]
    armor = writer.gpg("--armor", "--encrypt", *recipients, stdin=INNER)
    return armor.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _pgp_mime(armor: bytes) -> bytes:
    """Return PGP/MIME as mail programs send it (RFC 3156 §4)."""
    return (
        _HEAD + _LABEL + b"\r\n"
        b"This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156)\r\n"
        b"--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n"
        b'--b\r\nContent-Type: application/octet-stream; name="encrypted.asc"\r\n\r\n'
        + armor
        + b"\r\n--b--\r\n"
    )


def _is_body_of(stored: Delivered, sent: bytes) -> bool:
    return split(sent)[1] == stored.body


def test_header(stack: Stack, alice: Owner) -> None:
    """The default: body untouched, so that every client opens it; the header inside and exact."""
    sent = _pgp_mime(_encrypted(alice))
    stored = deliver_one(stack, sent, alice.address)

    assert _is_body_of(stored, sent)
    assert INNER.splitlines() == alice.read(stored.octets).splitlines()
    assert [b"not hidden by the sender"] == stored.shown(b"subject")
    assert 1 == len(stored.shown(b"letterlock-header"))
    assert b"canary" not in stored.octets.replace(b"Bob Canary", b"")
    assert [] == stored.shown(b"autocrypt")
    assert sent == stored.original(alice)


def test_wrap(stack: Stack, alice: Owner) -> None:
    """Encrypted a second time, header section included."""
    sent = _pgp_mime(_encrypted(alice))
    stored = deliver_one(stack, sent, "alice@wrap.test")

    assert stored.is_wrapped
    assert [b"[...]"] == stored.shown(b"subject")
    assert sent == stored.original(alice)


def test_pass(stack: Stack, alice: Owner) -> None:
    """Stored as it came, by the operator's decision."""
    sent = _pgp_mime(_encrypted(alice))

    assert deliver_one(stack, sent, "alice@pass.test").octets.endswith(sent)


def test_the_treatment_can_be_a_mailboxs_own(stack: Stack, bob: Owner) -> None:
    """Per mailbox, over the domain's."""
    mailbox = Mailbox.parse(bob.address)
    stack.operator.set_policy(mailbox, {"arrived_encrypted": "wrap"})
    stored = deliver_one(stack, _pgp_mime(_encrypted(bob)), bob.address)
    stack.operator.unset_policy(mailbox, "arrived_encrypted")

    assert stored.is_wrapped
    assert [] == stored.shown(b"letterlock-header")
    assert [b"[...]"] == stored.shown(b"subject")


def test_two_recipients_that_both_can_read_it(stack: Stack, alice: Owner, bob: Owner) -> None:
    """The second copy re-enters, and its body is the same to the octet."""
    sent = _pgp_mime(_encrypted(alice, bob))
    stored = deliver(stack, sent, [alice.address, bob.address])

    for owner in (alice, bob):
        (copy,) = stored[owner.address]
        assert _is_body_of(copy, sent)
        assert sent == copy.original(owner)


def test_a_large_one_for_two(stack: Stack, alice: Owner, bob: Owner) -> None:
    """The body that must be sent twice is set aside in a file."""
    writer = alice
    writer.gpg("--import", stdin=bob.certificate)
    to = ["--recipient", alice.fingerprint, "--recipient", bob.fingerprint]
    armor = writer.gpg("--armor", "--compress-algo", "none", "--encrypt", *to, stdin=bytes(3 << 20))
    sent = _pgp_mime(armor.replace(b"\n", b"\r\n"))
    stored = deliver(stack, sent, [alice.address, bob.address])

    assert [True, True] == [_is_body_of(copies[0], sent) for copies in stored.values()]


def test_it_is_judged_for_each_recipient(stack: Stack, alice: Owner, bob: Owner) -> None:
    """Encrypted to Alice only: hers keeps its body, Bob's is wrapped."""
    sent = _pgp_mime(_encrypted(alice))
    (hers,), (his,) = deliver(stack, sent, [alice.address, bob.address]).values()

    assert _is_body_of(hers, sent)
    assert his.is_wrapped
    assert [b"[...]"] == his.shown(b"subject")
    assert [sent, sent] == [hers.original(alice), his.original(bob)]


def test_what_only_others_can_read_is_wrapped(stack: Stack, alice: Owner, bob: Owner) -> None:
    """Encrypted, but not to the owner."""
    sent = _pgp_mime(_encrypted(bob))
    stored = deliver_one(stack, sent, alice.address)

    assert [b"[...]"] == stored.shown(b"subject")
    assert sent == stored.original(alice)


_SMIME = b'Content-Type: application/pkcs7-mime; smime-type="enveloped-data"\r\n'
_BASE64 = b"Content-Transfer-Encoding: base64\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        _HEAD + _LABEL + b"\r\n--b\r\n\r\ncanary\r\n--b--\r\n",
        _pgp_mime(b"-----BEGIN PGP MESSAGE-----\r\n\r\nY2FuYXJ5\r\n-----END PGP MESSAGE-----\r\n"),
        _pgp_mime(b"canary\r\n"),
        _HEAD + _SMIME + _BASE64 + base64.encodebytes(b"canary").replace(b"\n", b"\r\n"),
        _HEAD + b"Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n",
        messages.PLAIN.replace(b"Subject:", b"Subject: [encrypted]"),
    ],
    ids=["label", "armor of nothing", "no armor", "smime", "control part", "subject"],
)
@pytest.mark.parametrize("to", ["alice@example.test", "alice@pass.test"])
def test_a_label_is_never_believed(stack: Stack, alice: Owner, sent: bytes, to: str) -> None:
    """Whatever it calls itself: wrapped, under every treatment."""
    stored = deliver_one(stack, sent, to)

    assert stored.is_wrapped
    assert b"canary" not in stored.octets.replace(b"Bob Canary", b"")
    assert sent == stored.original(alice)


@pytest.mark.parametrize("to", ["alice@example.test", "alice@pass.test"])
def test_inline_pgp_is_wrapped(stack: Stack, alice: Owner, to: str) -> None:
    """Text may stand around it, and a subject above."""
    sent = _HEAD + b"\r\nbefore\r\n" + _encrypted(alice) + b"canary behind\r\n"
    stored = deliver_one(stack, sent, to)

    assert b"canary" not in stored.octets.replace(b"Bob Canary", b"")
    assert sent == stored.original(alice)


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (b"This is an OpenPGP/MIME encrypted message", b"canary"),
        (b"Version: 1\r\n", b"Version: 1\r\ncanary\r\n"),
        (b"\r\n--b--\r\n", b"\r\n--b\r\n\r\ncanary\r\n--b--\r\n"),
        (b"--b--\r\n", b"--b--\r\ncanary\r\n"),
        (b"-----END PGP MESSAGE-----", b"-----END PGP MESSAGE-----\r\ncanary"),
    ],
    ids=["preamble", "control part", "third part", "epilogue", "behind the armor"],
)
def test_plaintext_around_ciphertext_is_wrapped(
    stack: Stack, alice: Owner, was: bytes, becomes: bytes
) -> None:
    """A message to the owner with something readable beside it is not an encrypted one."""
    sent = _pgp_mime(_encrypted(alice)).replace(was, becomes)
    stored = deliver_one(stack, sent, alice.address)

    assert b"canary" not in stored.octets.replace(b"Bob Canary", b"")
    assert [b"[...]"] == stored.shown(b"subject")
    assert sent == stored.original(alice)


def test_a_header_section_too_large_for_a_field(stack: Stack, alice: Owner) -> None:
    """Wrapped instead: nothing is cut."""
    fields = b"".join(b"X-%d: %b\r\n" % (n, b"x" * 600) for n in range(120))
    sent = fields + _pgp_mime(_encrypted(alice))
    stored = deliver_one(stack, sent, alice.address)

    assert [] == stored.shown(b"letterlock-header")
    assert sent == stored.original(alice)
