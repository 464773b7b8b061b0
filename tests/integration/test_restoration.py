"""The owner gets back what the sender sent, octet for octet, or is told that it is not exact."""

import random
import smtplib

import dkim
import pytest

import messages
from delivered import deliver_one, watch
from letterlock.message import split
from signing import DOMAIN, Signer, signers
from stack import Owner, Stack
from stack.smtp import transact

MAIL = messages.PLAIN.replace(b"alice@example.org", b"alice@example.test")

_PLACE_FOR_FIELD = (
    b"From: Bob <bob@sender.example>\r\nSubject: canary\r\n%b\r\nX-Last: 1\r\n\r\nbody\r\n"
)
_FOLDS = (
    b"X-A:no blank",
    b"X-A:  two blanks",
    b"X-A:\ttab",
    b"X-A:",
    b"X-A: ",
    b"X-A: trailing blanks \t ",
    b"X-A: folded\r\n\twith a tab\r\n  and blanks",
    b"X-A:\r\n first line empty",
    b"X-A: line of one blank\r\n \r\n end",
    b"x-a: lower\r\nX-A: and upper\r\nx-A: case",
    b"Subject: second\r\nSubject: third",
    b"Bcc: carol@example.test\r\nReturn-Path: <x@outside.test>\r\nContent-Length: 3",
    b"Resent-Bcc: carol@example.test\r\nReceived: a\r\nReceived: b",
    "Subject: Grüße ✓".encode(),
    "X-A: Grüße".encode("latin-1"),
    b"X-A: " + b"x" * 5_000,
    b"X-A: " + b"\r\n ".join([b"x" * 70] * 700),
)
_BODIES = (
    b"",
    b"\r\n",
    b"\r\n\r\n\r\n",
    b" blank first\r\n",
    b"trailing blank lines\r\n\r\n\r\n",
    b".\r\n..\r\n.dot\r\n...\r\n",
    b"8-bit \xe2\x9c\x93 \xe4\xf6\xfc \xff\r\n",
    b"a\0b\0\r\n\0\r\n",
    b"y" * 998 + b"\r\n" + b"z" * 999 + b"\r\n",
    b"l" * 200_000 + b"\r\n",
    b"\r\n".join(b"%06d" % n for n in range(30_000)) + b"\r\n",
    b"From the first line on\r\n>From here\r\n",
    b"-----BEGIN PGP MESSAGE-----\r\n\r\nnot one\r\n-----END PGP MESSAGE-----\r\n",
    b"--=_\r\nContent-Type: text/html\r\n\r\n--=_--\r\n",
)
_LABELS = (
    b'multipart/encrypted; protocol="application/pgp-encrypted"; boundary="b"',
    b'application/pkcs7-mime; smime-type="enveloped-data"; name="smime.p7m"',
    b"application/pgp-encrypted",
    b'multipart/signed; protocol="application/pgp-signature"; micalg=pgp-sha512; boundary="b"',
)


def _is_kept(field: bytes) -> bool:
    """Whether Postfix shows `field` to milters as it came (`test_what_postfix_changes`)."""
    return b"\0" not in field and b"\r" not in field.replace(b"\r\n", b"") and b" :" not in field


def _random_message(chance: random.Random) -> bytes:
    names = (b"X-A", b"x-a", b"Subject", b"To", b"Content-Type", b"X-\x21", b"Comments", b"Date")
    inside = bytes(set(range(1, 256)) - set(b"\r\n"))

    def line(octets: bytes, most: int) -> bytes:
        return bytes(chance.choices(octets, k=chance.randrange(most)))

    fields = [
        chance.choice(names)
        + b":"
        + b"\r\n ".join(line(inside, 60) for _ in range(chance.randint(1, 3)))
        for _ in range(chance.randrange(12))
    ]
    # A line without octets would end the header section.
    head = b"".join(field.replace(b"\r\n \r\n", b"\r\n .\r\n") + b"\r\n" for field in fields)
    body = b"".join(
        line(inside + b"\0..\0", 120) + b"\r\n" for _ in range(chance.choice([0, 1, 5, 300]))
    )
    return head + b"\r\n" + body


def _exact() -> list[bytes]:
    """Return messages that pass Postfix unchanged, as different as they come."""
    fields = [*_FOLDS, *messages.NASTY_FIELDS]
    fields += [b"Content-Type: " + value for value in messages.CONTENT_TYPES_AGAINST_US]
    fields += [b"MIME-Version: 1.0\r\nContent-Type: " + label for label in _LABELS]
    found = [_PLACE_FOR_FIELD % field for field in fields if _is_kept(field)]
    found += [split(MAIL)[0].octets + b"\r\n" + body for body in _BODIES]
    found += [b"\r\n" + body for body in (b"", b"no header section\r\n")]
    found += [b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(1_000)) + b"\r\nthousand fields\r\n"]
    chance = random.Random(5322)
    return found + [_random_message(chance) for _ in range(60)]


def test_every_octet_comes_back(stack: Stack, alice: Owner) -> None:
    """What the client sent is what `letterlock decrypt --original` prints, for all of these."""
    sent = _exact()

    def send() -> None:
        with smtplib.SMTP(*stack.layout.address("smtp"), timeout=60) as server:
            for message in sent:
                transact(server, message, [alice.address], "sender@outside.test")

    stored = watch(stack, [alice.address], send)[alice.address]

    assert [] == [one.octets for one in stored if not one.is_wrapped]
    assert _listed(sent) == _listed([one.original(alice) for one in stored])


def test_the_payload_form_of_hcp_all_restores_as_well(stack: Stack, alice: Owner) -> None:
    """The original stands one level deeper there."""
    mail = _PLACE_FOR_FIELD % b'Content-Type: text/plain;\r\n hp="cipher"\r\nHP-Outer: Subject: x'

    assert mail == deliver_one(stack, mail, "alice@all.test").original(alice)


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        (b"X-A : 1\r\n\r\nx\r\n", b"X-A: 1\r\n\r\nx\r\n"),
        (b"X-A: a\rb\r\n\r\nx\r\n", b"X-A: a b\r\n\r\nx\r\n"),
        (b"X-A: a\0b\r\n\r\nx\r\n", b"X-A: a\r\n\r\nx\r\n"),
        (b"X-A: 1\r\n\r\na\rb\r\r\nc\r\n", b"X-A: 1\r\n\r\na b \r\nc\r\n"),
        (b"X-A: 1\r\n\r\na\nb\r\n", b"X-A: 1\r\n\r\na\r\nb\r\n"),
        (b"X-A: 1\r\n", b"X-A: 1\r\n\r\n"),
        (b"X-A: 1\r\nno field\r\n", b"X-A: 1\r\n\r\nno field\r\n"),
        (b"no field\r\n", b"\r\nno field\r\n"),
    ],
    ids=["blank", "cr", "nul", "body cr", "lf", "no blank line", "bad line", "no section"],
)
def test_what_postfix_changes_before_any_milter_sees_it(
    stack: Stack, alice: Owner, sent: bytes, seen: bytes
) -> None:
    """These changes leave no trace; what Postfix would have stored without us is restored."""
    stored = deliver_one(stack, sent, alice.address)

    assert stored.is_wrapped
    assert seen == stored.original(alice)


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"X-A: 1\r\nX-Long: " + b"x" * 70_000 + b"\r\n\r\nx\r\n", "header-cut"),
        (b"X-Long: " + b"\r\n ".join([b"x" * 900] * 70) + b"\r\n\r\nx\r\n", "header-cut"),
        (b"X-Long: " + b"\r\n ".join([b"x" * 54_000] * 2) + b"\r\n\r\nx\r\n", "header-cut"),
        (b"X-Long: " + b"\r\n ".join([b"x" * 50_000] * 2) + b"\r\n\r\nx\r\n", "header-cut"),
        (b"From bob Fri Nov 20 08:00:00 2026\r\nX-A: 1\r\n\r\nx\r\n", "mbox-line"),
    ],
    ids=["one line", "folded", "line lost", "line cut", "mbox"],
)
def test_what_postfix_changes_visibly_is_said(
    stack: Stack, alice: Owner, sent: bytes, why: str
) -> None:
    """A field at Postfix's limit and a turned `From ` line make the original "not exact"."""
    restored, said = deliver_one(stack, sent, alice.address).restored(alice)

    assert f"not exact: {why}\n" == said
    assert sent != restored


def test_the_largest_field_that_stays_whole(stack: Stack, alice: Owner) -> None:
    """Below the limit nothing is lost, and nothing is said."""
    sent = b"X-Long: " + b"\r\n ".join([b"x" * 900] * 59) + b"\r\n\r\nx\r\n"

    assert sent == deliver_one(stack, sent, alice.address).original(alice)


@pytest.mark.parametrize("canonicalize", [(b"simple", b"simple"), (b"relaxed", b"relaxed")])
@pytest.mark.parametrize("signer", signers(), ids=lambda signer: signer.algorithm.decode())
def test_dkim_verifies_after_decryption(
    stack: Stack, alice: Owner, signer: Signer, canonicalize: tuple[bytes, bytes]
) -> None:
    """RFC 6376, RFC 8463: the signature is inside, and still one over what is there."""
    sent = signer.signature(MAIL, canonicalize) + MAIL
    stored = deliver_one(stack, sent, alice.address)

    assert [] == stored.shown(b"dkim-signature")
    assert dkim.verify(stored.original(alice), dnsfunc=signer.dns)
    assert DOMAIN in stored.original(alice)


def test_a_mail_of_several_megabytes_is_spilled_and_restored(stack: Stack, alice: Owner) -> None:
    """Ciphertext above the threshold goes through a file."""
    sent = split(MAIL)[0].octets + b"\r\n" + b"0123456789abcdef" * 4 * 80_000 + b"\r\n"
    stored = deliver_one(stack, sent, alice.address)

    assert sent == stored.original(alice)


def _listed(originals: list[bytes]) -> list[bytes]:
    return sorted(original[:2_000] + b"%d" % hash(original) for original in originals)


def test_text_in_chunks(stack: Stack, alice: Owner) -> None:
    """RFC 3030: dots are not doubled, chunks end anywhere; Postfix adds a missing line end."""
    sent = b"X-A: folded\r\n here\r\n\r\n.\r\n..\r\n8-bit \xe2\x9c\x93 \0\r\nno line end"

    def send() -> None:
        with smtplib.SMTP(*stack.layout.address("smtp"), timeout=60) as server:
            server.ehlo()
            server.mail("sender@outside.test")
            server.rcpt(alice.address)
            for at in range(0, len(sent), 7):
                chunk = sent[at : at + 7]
                last = " LAST" if at + 7 >= len(sent) else ""
                server.send(b"BDAT %d%b\r\n" % (len(chunk), last.encode()) + chunk)
                assert server.getreply()[0] == 250

    (stored,) = watch(stack, [alice.address], send)[alice.address]

    assert sent + b"\r\n" == stored.original(alice)
