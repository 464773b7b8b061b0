"""Two providers, set up by their operators alone, whose users get from clear to encrypted mail.

Alice's first mail to Bob carries her certificate; Bob's reply is encrypted to it, and so is all
that follows. Nobody does anything for it, and nobody who forges mail changes it.
"""

import base64
import email
import json
import smtplib
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from email.utils import formatdate
from pathlib import Path

import pytest

import canary
from autocrypt_mail import field, five_packets
from delivered import Delivered, watch
from dkim_verifiers import mail_dkim
from letterlock.message import split
from openpgp_tools import sq_decrypt
from stack import Owner, Stack, wait_until
from stack.submitting import CLIENT_HOST
from two_providers import ALICE, ALPHA, BETA, BOB, CAROL, Provider, TwoProviders

DORA, FRANK = f"dora@{ALPHA}", f"frank@{ALPHA}"
"""Submit mail, but have not enrolled a certificate."""

DRAWN = (b"subject", b"mime-version", b"content-type")
"""What of a message with canaries is about its content."""

KNOWN = "certificate in use (shown by autocrypt, level provider trust)"
UNKNOWN = "certificate none"


ODD = {
    "dots": b"\r\n.\r\n..\r\n.x\r\nFrom here\r\n",
    "blanks at the end": b"\r\nx  \r\n \t \r\n\r\n\r\n",
    "no line end": b"\r\nno end",
    "blank lines alone": b"\r\n\r\n\r\n",
    "a bare CR and a NUL": b"\r\na\rb\r\na\0b\r\n",
    "8-bit octets": "Comments: Grüße\r\n\r\nÜmlaut\r\n".encode(),
    "folds": b"Cc:\r\nReferences: <a@b>\r\n\t<c@d>\r\n \r\nKeywords:\ta\r\n\t  b \r\n\r\nx\r\n",
    "a header field of 40 KB": b"Keywords:" + b"\r\n word" * 6000 + b"\r\n\r\nx\r\n",
    "two subjects": b"Subject: another\r\n\r\nx\r\n",
}
"""What follows Subject in a mail."""


@dataclass(frozen=True, slots=True)
class Exchanged:
    """One mail from one provider to the other."""

    words: canary.Canaries
    wire: bytes
    """As it went from host to host."""

    stored: Delivered

    @property
    def outside(self) -> Message:
        """The header section on the way."""
        return email.message_from_bytes(split(self.wire)[0].octets)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoProviders]:
    with (
        Owner(ALICE) as alice,
        Owner(BOB, "rsa2048", "rsa2048") as bob,
        TwoProviders(tmp_path_factory.mktemp("world"), alice, bob) as world,
    ):
        yield world


@pytest.fixture(scope="module")
def first(world: TwoProviders) -> Exchanged:
    """Alice writes to Bob; the providers know nothing of each other's users."""
    return exchange(world, ALICE, BOB, "Message-ID: <first@laptop>", "User-Agent: Mutt/2.2.12")


@pytest.fixture(scope="module")
def reply(world: TwoProviders, first: Exchanged) -> Exchanged:
    """Bob replies."""
    wait_until_said(world.beta, ALICE, KNOWN)
    return exchange(
        world,
        BOB,
        ALICE,
        "Message-ID: <reply@desk>",
        "In-Reply-To: <first@laptop>",
        "References: <zero@laptop>\r\n <first@laptop>",
    )


@pytest.fixture(scope="module")
def third(world: TwoProviders, reply: Exchanged) -> Exchanged:
    """Alice goes on, at some length: her signature's body waits outside of memory."""
    wait_until_said(world.alpha, BOB, KNOWN)
    fields = ("Message-ID: <third@laptop>", "References: <first@laptop> <reply@desk>")
    return exchange(world, ALICE, BOB, *fields, body_octets=2_000_000)


def mail(words: canary.Canaries, sender: str, to: str, *fields: str, body_octets: int = 0) -> bytes:
    """Return a mail with a text and an attachment."""
    section, body = split(words.message(body_octets=body_octets))
    own = (f"From: {sender}", f"To: {to}", f"Date: {formatdate()}", *fields)
    drawn = [field.octets for field in section if field.key in DRAWN]
    return "".join(f"{line}\r\n" for line in own).encode() + b"".join(drawn) + b"\r\n" + body


def exchange(
    world: TwoProviders, sender: str, to: str, *fields: str, body_octets: int = 0
) -> Exchanged:
    """Let `sender` write one mail to `to`, the only one under way."""
    words = canary.Canaries()
    wires = world.to_beta.messages if to == BOB else world.to_alpha.messages
    (stored,) = world.submit(sender, mail(words, sender, to, *fields, body_octets=body_octets), to)
    return Exchanged(words, wires[-1], stored)


def from_elsewhere(world: TwoProviders, octets: bytes) -> Delivered:
    """Let a stranger's host send a mail to Bob, until his provider has drawn its lesson."""
    before = reports(world.beta)
    host, _, port = world.from_elsewhere.address.rpartition(":")

    def act() -> None:
        with smtplib.SMTP(host, int(port), "mail.elsewhere.example", timeout=60) as server:
            server.sendmail("bounces@elsewhere.example", BOB, octets)

    (stored,) = watch(world.beta.stack, [BOB], act)[BOB]
    wait_until(lambda: reports(world.beta) > before, "report")
    return stored


def autocrypt(address: str) -> str:
    """Return a field with a certificate that somebody else has made for `address`."""
    return f"Autocrypt:{field(address, five_packets(f'Eve <{address}>')).decode()}"


def reports(provider: Provider) -> float:
    """Return how much the milter has told, or tried to tell, the key service."""
    return provider.stack.counter("milter", "letterlock_reports_total")


def wait_until_said(provider: Provider, address: str, what: str) -> None:
    """Return as soon as `letterlock explain` says it."""
    wait_until(
        lambda: what in provider.letterlock("explain", address),
        what,
        60,
        provider.stack.log_file("keyservice"),
    )


def inside(owner: Owner, stored: Delivered) -> Message:
    """Return what the owner finds encrypted: the mail, or the header section of one."""
    if fields := stored.shown(b"letterlock-header"):
        return email.message_from_bytes(owner.decrypt(base64.b64decode(fields[0])))
    return email.message_from_bytes(owner.read(stored.octets))


def verdicts(world: TwoProviders, stored: Delivered, of: str = BOB) -> list[str]:
    """Return the results that the provider of `of` has recorded inside."""
    name = f"mx.{world.provider_of(of).domain}"
    fields = inside(world.owners[of], stored).get_all("Authentication-Results", [])
    (own,) = ("".join(f.splitlines()) for f in fields if f.startswith(f"{name};"))
    return [" ".join(result.split()) for result in own.split(";")[1:]]


def assert_signed(world: TwoProviders, wire: bytes) -> None:
    """Somebody else's verifier finds what it understands of the signatures good."""
    assert 2 == split(wire)[0].keys.count(b"dkim-signature")
    assert "pass" in mail_dkim(wire, world.dns.port).values()


def assert_encrypted_to(owner: Owner, exchanged: Exchanged) -> None:
    """Nobody else is named, and nothing of the mail can be read on the way."""
    wire = Delivered(exchanged.wire)
    assert wire.is_wrapped
    assert [owner.subkey_fingerprint[-16:]] == wire.key_ids
    assert [] == canary.betrayals(exchanged.wire, exchanged.words.words)


def test_the_first_mail_leaves_in_the_clear(world: TwoProviders, first: Exchanged) -> None:
    """Signed, with Alice's certificate, and without a word about where and how she wrote it."""
    assert first.words.subject == first.outside["Subject"]
    assert_signed(world, first.wire)
    assert first.outside["Autocrypt"].startswith(f"addr={ALICE};")
    for trace in (CLIENT_HOST, "127.0.0.1", "Mutt/2."):
        assert trace.encode() not in first.wire


def test_it_is_stored_encrypted_with_what_is_known_of_it(
    world: TwoProviders, first: Exchanged
) -> None:
    """Who vouched for it stands inside, and outside does not; Bob gets back what came in."""
    bob = world.owners[BOB]

    assert first.stored.is_wrapped
    assert [bob.subkey_fingerprint[-16:]] == first.stored.key_ids
    assert [] == first.stored.shown(b"authentication-results")
    assert ["dkim=pass", "dkim=pass", "spf=pass", "spf=pass"] == [
        result.split()[0] for result in verdicts(world, first.stored)
    ]
    assert all(f"header.d={ALPHA}" in result for result in verdicts(world, first.stored)[:2])
    assert first.wire == first.stored.original(bob)


def test_bobs_provider_has_learned_alices_certificate(
    world: TwoProviders, first: Exchanged
) -> None:
    """`letterlock explain` says which one it is, who showed it, and what stands behind it."""
    wait_until_said(world.beta, ALICE, KNOWN)

    said = world.beta.letterlock("explain", ALICE)
    assert world.owners[ALICE].fingerprint in said
    assert world.owners[ALICE].subkey_fingerprint in said


def test_the_reply_is_encrypted_to_alice(world: TwoProviders, reply: Exchanged) -> None:
    """Its subject is hidden, it is signed, brings Bob's certificate, and says not who encrypted."""
    assert_encrypted_to(world.owners[ALICE], reply)
    assert_signed(world, reply.wire)
    assert "[...]" == reply.outside["Subject"]
    assert reply.outside["Autocrypt"].startswith(f"addr={BOB};")
    assert "Letterlock" not in reply.outside
    wait_until_said(world.beta, ALICE, "encrypted to")


def test_alices_provider_knows_that_it_is_hers(world: TwoProviders, reply: Exchanged) -> None:
    """It is not encrypted twice: the header section is locked away, with what is known of it."""
    alice = world.owners[ALICE]

    assert split(reply.wire)[1] == reply.stored.body
    assert 1 == len(reply.stored.shown(b"letterlock-header"))
    assert [] == reply.stored.shown(b"autocrypt")
    assert ["dkim=pass", "dkim=pass", "spf=pass", "spf=pass"] == [
        result.split()[0] for result in verdicts(world, reply.stored, ALICE)
    ]
    assert reply.wire == reply.stored.original(alice)


def test_alice_reads_it_with_any_program(
    world: TwoProviders, reply: Exchanged, tmp_path: Path
) -> None:
    """gpg and sq: the subject, what it replies to, the text and the attachment."""
    alice = world.owners[ALICE]
    armor = reply.stored.octets[reply.stored.octets.index(b"-----BEGIN PGP") :]
    armor = armor[: armor.index(b"\r\n--=_")]
    secret = tmp_path / "alice.key"
    secret.write_bytes(alice.gpg("--armor", "--export-secret-keys", ALICE))

    for plaintext in (alice.decrypt(armor), sq_decrypt(armor, secret)):
        read = email.message_from_bytes(plaintext)
        assert (reply.words.subject, "<first@laptop>") == (read["Subject"], read["In-Reply-To"])
        text, attachment = (part.get_payload(decode=True) for part in read.get_payload())
        assert reply.words.body in text.decode()
        assert reply.words.attachment == attachment.decode()


def test_a_mail_program_shows_the_thread(
    world: TwoProviders, first: Exchanged, reply: Exchanged, tmp_path: Path
) -> None:
    """notmuch, which reads only what is outside, puts the reply below what Alice has sent."""
    box = tmp_path / "mail" / "cur"
    box.mkdir(parents=True)
    (box / "1:2,S").write_bytes(first.wire.replace(b"\r\n", b"\n"))
    (box / "2:2,").write_bytes(reply.stored.octets.replace(b"\r\n", b"\n"))
    config = tmp_path / "config"
    config.write_text(f"[database]\npath={tmp_path / 'mail'}\n[user]\nname=Alice\n")

    def notmuch(*arguments: str) -> bytes:
        environment = {
            "NOTMUCH_CONFIG": str(config),
            "GNUPGHOME": str(world.owners[ALICE].home),
            "HOME": str(tmp_path),
            "PATH": "/usr/bin:/bin",
        }
        command = ["notmuch", *arguments]
        return subprocess.run(command, env=environment, check=True, capture_output=True).stdout

    notmuch("new", "--quiet")
    ((shown,),) = json.loads(notmuch("show", "--decrypt=true", "--format=json", "*"))
    parent, ((child, _),) = shown
    assert [first.words.subject, reply.words.subject] == [
        message["headers"]["Subject"] for message in (parent, child)
    ]


def test_all_that_follows_is_encrypted(world: TwoProviders, third: Exchanged) -> None:
    """Alice's provider has learned Bob's certificate from mail that was encrypted itself."""
    assert_encrypted_to(world.owners[BOB], third)
    assert_signed(world, third.wire)
    assert third.wire == third.stored.original(world.owners[BOB])


def test_a_recipient_whose_certificate_is_not_known_changes_nothing_for_the_other(
    world: TwoProviders, third: Exchanged
) -> None:
    """Carol gets the clear, Bob a copy of his own that does not say so; both are signed."""
    words = canary.Canaries()
    before = len(world.carol.messages)
    (stored,) = world.submit(ALICE, mail(words, ALICE, f"{BOB}, {CAROL}"), BOB, CAROL)
    (carols,) = world.carol.messages[before:]
    bobs = Exchanged(words, world.to_beta.messages[-1], stored)

    assert_encrypted_to(world.owners[BOB], bobs)
    assert_signed(world, bobs.wire)
    assert [CAROL] == carols.forward_paths
    assert words.subject.encode() in carols.octets
    assert_signed(world, carols.octets)


def test_policy_required(world: TwoProviders, third: Exchanged) -> None:
    """All of it encrypted, or nothing sent to anybody, and the sender hears because of whom."""
    world.alpha.letterlock("policy", "set", DORA, "outgoing=required")
    carols, bobs = len(world.carol.messages), len(world.to_beta.messages)
    words = canary.Canaries()

    with pytest.raises(smtplib.SMTPResponseException) as refused:
        world.submit(DORA, mail(words, DORA, f"{BOB}, {CAROL}"), BOB, CAROL)

    assert 550 == refused.value.smtp_code
    assert CAROL in str(refused.value.smtp_error)
    assert BOB not in str(refused.value.smtp_error)
    assert (carols, bobs) == (len(world.carol.messages), len(world.to_beta.messages))
    (stored,) = world.submit(DORA, mail(words, DORA, BOB), BOB)
    assert_encrypted_to(world.owners[BOB], Exchanged(words, world.to_beta.messages[-1], stored))


def test_what_the_sender_has_encrypted_passes(world: TwoProviders, third: Exchanged) -> None:
    """Signed by the provider, encrypted by nobody else, and recognised where it arrives."""
    alice, bob = world.owners[ALICE], world.owners[BOB]
    alice.gpg("--import", stdin=bob.certificate)
    armor = alice.gpg("--armor", "--encrypt", "--recipient", BOB, stdin=b"\r\nwritten by Alice\r\n")
    body = (
        "--a\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n"
        f"--a\r\nContent-Type: application/octet-stream\r\n\r\n{armor.decode()}\r\n--a--\r\n"
    )
    head = (
        f"From: {ALICE}\r\nTo: {BOB}\r\nSubject: ...\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary="a"'
    )
    octets = f"{head}\r\n\r\n{body}".replace("\r\n", "\n").replace("\n", "\r\n").encode()
    (stored,) = world.submit(ALICE, octets, BOB)
    wire = world.to_beta.messages[-1]

    assert_signed(world, wire)
    assert split(octets)[1] == split(wire)[1] == stored.body
    assert b"written by Alice" in bob.read(stored.octets)
    assert "dkim=pass" in verdicts(world, stored)[0]


def test_what_cannot_be_delivered_comes_back_encrypted(
    world: TwoProviders, reply: Exchanged
) -> None:
    """The notification quotes the mail, so it is stored for its sender's eyes only."""
    words, nobody = canary.Canaries(), f"no-such-mailbox@{BETA}"
    octets = mail(words, ALICE, nobody)
    back = watch(world.alpha.stack, [ALICE], lambda: world.hand_in(ALICE, octets, nobody))
    (stored,) = back[ALICE]

    assert stored.is_wrapped
    returned = world.owners[ALICE].read(stored.octets)
    assert b"multipart/report" in returned
    assert words.subject.encode() in returned


@pytest.mark.parametrize("rest", ODD.values(), ids=ODD)
@pytest.mark.parametrize(("sender", "is_encrypted"), [(FRANK, False), (ALICE, True)])
def test_signatures_hold_whatever_is_written(
    world: TwoProviders, third: Exchanged, rest: bytes, sender: str, is_encrypted: bool
) -> None:
    """In the clear and encrypted, over two Postfixes; and the reader gets back what came in."""
    world.alpha.letterlock("policy", "set", FRANK, "outgoing=never")
    octets = f"From: {sender}\r\nTo: {BOB}\r\nSubject: odd\r\n".encode() + rest
    (stored,) = world.submit(sender, octets, BOB)
    wire = world.to_beta.messages[-1]

    assert is_encrypted is Delivered(wire).is_wrapped
    assert ["dkim=pass", "dkim=pass"] == [v.split()[0] for v in verdicts(world, stored)[:2]]
    assert wire == stored.original(world.owners[BOB])


def forged(_: Exchanged) -> bytes:
    """Nobody has signed it; the certificate in it is the forger's."""
    return mail(canary.Canaries(), ALICE, BOB, autocrypt(ALICE))


def with_another_certificate(first: Exchanged) -> bytes:
    """Alice's own mail, signatures and all, with the forger's certificate in place of hers."""
    section, body = split(first.wire)
    another = f"{autocrypt(ALICE)}\r\n".encode()
    fields = [another if f.key == b"autocrypt" else f.octets for f in section]
    return b"".join(fields) + b"\r\n" + body


def with_a_further_certificate(first: Exchanged) -> bytes:
    """The forger's certificate beside hers."""
    section, body = split(first.wire)
    return section.octets + f"{autocrypt(ALICE)}\r\n\r\n".encode() + body


def by_a_list(first: Exchanged) -> bytes:
    """A mailing list has put a tag into the subject and a footer below the text."""
    added = b"List-Id: <list.elsewhere.example>\r\nSubject: [list] "
    tagged = first.wire.replace(b"\r\nSubject: ", b"\r\n" + added, 1)
    return tagged.replace(b"\r\n--b--\r\n", b"\r\n--b--\r\n____\r\nYou are on a list.\r\n")


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (forged, "dkim=none"),
        (with_another_certificate, "dkim=fail"),
        (with_a_further_certificate, "dkim=fail"),
        (by_a_list, "dkim=fail"),
    ],
)
def test_nobody_else_changes_what_bob_encrypts_to(
    world: TwoProviders,
    third: Exchanged,
    first: Exchanged,
    change: Callable[[Exchanged], bytes],
    verdict: str,
) -> None:
    """Bob reads inside that nothing vouches for the mail, and his next one is for Alice's key."""
    stored = from_elsewhere(world, change(first))

    assert stored.is_wrapped
    assert verdict == verdicts(world, stored)[0].split()[0]
    assert KNOWN in world.beta.letterlock("explain", ALICE)
    assert_encrypted_to(world.owners[ALICE], exchange(world, BOB, ALICE))


def test_a_certificate_that_nothing_vouches_for_is_not_used(world: TwoProviders) -> None:
    """A first one neither: it is noted, and the answer to such mail leaves as it was written."""
    from_elsewhere(world, mail(canary.Canaries(), CAROL, BOB, autocrypt(CAROL)))
    words = canary.Canaries()
    world.hand_in(BOB, mail(words, BOB, CAROL), CAROL)

    assert UNKNOWN in world.beta.letterlock("explain", CAROL)
    assert words.subject.encode() in world.carol.messages[-1].octets


def test_nothing_of_it_rests_anywhere(
    world: TwoProviders, first: Exchanged, reply: Exchanged, third: Exchanged
) -> None:
    """Mail that came in the clear, too: not a word on the disks of both providers."""
    words = [word for each in (first, reply, third) for word in each.words.words]
    assert set(first.words.words) <= {
        found.split()[0] for found in canary.betrayals(first.wire, words)
    }
    for provider in world.providers:
        stack: Stack = provider.stack
        assert [] == stack.queue_files()
        files = {*canary.stored_files(stack), *stack.layout.base.rglob("*")}
        assert [] == canary.found((file for file in files if file.is_file()), words)
