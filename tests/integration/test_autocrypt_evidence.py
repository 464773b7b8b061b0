"""Mail from outside makes the certificates of its senders known, and nobody else's, ever.

Postfix, the milter and the key service; the senders' domains are in a DNS of ours.
"""

import base64
import signal
import textwrap
import time
from collections.abc import Iterator
from email.utils import formatdate

import dkim
import msgspec
import pytest

from autocrypt_mail import field, five_packets, message
from delivered import Delivered, deliver_one
from keyservice.autocrypt_peer import UIRecommendation
from keyservice.client import Explanation, Mailbox, PeerAnswer, PeerClient, PeerOutcome
from keyservice.levels import Level, Source
from keyservice.packets import fingerprint, split
from signing import Signer, signers
from stack import Owner, Stack, daemons, wait_until
from unbound import Signing, Unbound

LOCAL = "alice@example.test"
SIGNED = ("from", "to", "subject", "date", "autocrypt", "content-type")
DAY = 86_400
STRANGERS_MAX = 8

PEER, MALLORY = "peer.example", "mallory.example"


@pytest.fixture(scope="module")
def keys() -> dict[str, Signer]:
    """The signing key of each sender's domain."""
    return {domain: signers()[0] for domain in (PEER, MALLORY)}


@pytest.fixture(scope="module")
def host(
    tmp_path_factory: pytest.TempPathFactory, alice: Owner, keys: dict[str, Signer]
) -> Iterator[Stack]:
    """A stack that verifies signatures, and takes mail for good that its filter lets through."""
    zones = {domain: (Signing.NOT, _record(signer)) for domain, signer in keys.items()}
    directory = tmp_path_factory.mktemp("unbound")
    with Unbound(directory, zones, validating=False) as unbound:
        stack = Stack(
            tmp_path_factory.mktemp("evidence"),
            # One, so that reports arrive in the order of the mails.
            workers=1,
            authentication={
                "nameserver": f"127.0.0.1:{unbound.port}",
                "spam_field": "X-Spam-Flag: YES",
                "unjudged_is_spam": False,
            },
        )
        with stack:
            stack.enrol(LOCAL, alice.certificate)
            yield stack


def _record(signer: Signer) -> str:
    text = signer.record.decode()
    strings = " ".join(f'"{text[at : at + 200]}"' for at in range(0, len(text), 200))
    return f"s._domainkey TXT {strings}\n"


def mail(sender: str, *fields: tuple[str, bytes], sent: float = 0, body: bytes = b"x\r\n") -> bytes:
    """Return a mail of this sender to Alice; without fields, with his Autocrypt field."""
    return message(
        ("From", f" {sender}".encode()),
        ("To", f" {LOCAL}".encode()),
        ("Subject", b" evidence"),
        ("Date", f" {formatdate(sent or time.time() - 60)}".encode()),
        ("Message-ID", f" <{time.time_ns()}@test.example>".encode()),
        *(fields or (autocrypt(sender),)),
        body=body,
    )


def autocrypt(addr: str, certificate: bytes = b"") -> tuple[str, bytes]:
    """Return an Autocrypt field."""
    return ("Autocrypt", field(addr, certificate or five_packets(addr)))


def signed(octets: bytes, domain: str, signer: Signer, **options: object) -> bytes:
    """Return a mail with the signature of `domain` on top."""
    names = [name.encode() for name in SIGNED]
    added = dkim.sign(
        octets, b"s", domain.encode(), signer.private, include_headers=names, **options
    )
    return bytes(added) + octets


class Seen:
    """What has become of mail."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.service = f"unix:{daemons.keyservice_socket(stack.layout)}"

    def report(self, octets: bytes) -> Delivered:
        """Send a mail, and return it when the milter has told what it is evidence of.

        So must all that is evidence of something: else the next report could be taken for its.
        """
        before = self.reports()
        arrived = deliver_one(self.stack, octets, LOCAL)
        wait_until(lambda: self.reports() > before, "report")
        return arrived

    def reports(self, **labels: str) -> float:
        """Return how many reports have ended, or ended so."""
        return self.stack.counter("milter", "letterlock_reports_total", **labels)

    def peer(self, address: str) -> PeerAnswer:
        """Return what is answered to who wants to write there."""
        return PeerClient(self.service).lookup(Mailbox.parse(address))  # one that holds nothing

    def evidence(self, address: str) -> list[tuple[str, str, int]]:
        """Return every sighting: fingerprint, source, level."""
        found = self.story(address).evidence
        return [(each.fingerprint, each.source, each.level) for each in found]

    def story(self, address: str) -> Explanation:
        """Return all that is known of it, but not when the milter's answer was made."""
        story = self.stack.operator.explain(Mailbox.parse(address))
        if story.sender is None:
            return story
        sender = msgspec.structs.replace(story.sender, issued_at=0)
        return msgspec.structs.replace(story, sender=sender)


@pytest.fixture
def seen(host: Stack) -> Seen:
    """What has become of mail to the stack."""
    return Seen(host)


def identity(certificate: bytes) -> str:
    """Return a certificate's fingerprint."""
    return fingerprint(split(certificate)[0])


def test_the_first_mail_makes_its_sender_known(seen: Seen, keys: dict[str, Signer]) -> None:
    """Vouched for by his domain: the reply can be encrypted."""
    sender = f"carol@{PEER}"
    assert PeerOutcome.NOT_FOUND is seen.peer(sender).outcome
    seen.report(signed(mail(sender), PEER, keys[PEER]))
    found = seen.peer(sender)

    assert (PeerOutcome.FOUND, Source.AUTOCRYPT, Level.PROVIDER_TRUST) == (
        found.outcome,
        found.source,
        found.level,
    )
    assert identity(five_packets(sender)) == found.fingerprint
    assert found.autocrypt is not None
    assert UIRecommendation.AVAILABLE is found.autocrypt.recommendation


def test_what_nobody_vouches_for_is_weak(seen: Seen, keys: dict[str, Signer]) -> None:
    """Unsigned, signed by another, broken on the way, or with l=: noted, and not used."""
    for number, forge in enumerate(
        (
            lambda octets: octets,
            lambda octets: signed(octets, MALLORY, keys[MALLORY]),
            lambda octets: signed(octets, PEER, keys[PEER]) + b"a footer\r\n",
            lambda octets: signed(octets, PEER, keys[PEER], length=True),
            lambda octets: signed(octets, PEER, keys[MALLORY]),
        )
    ):
        sender = f"weak{number}@{PEER}"
        seen.report(forge(mail(sender)))

        assert PeerOutcome.NOT_FOUND is seen.peer(sender).outcome, number
        expected = (identity(five_packets(sender)), "autocrypt", Level.WEAK_CHAIN.value)
        assert [expected] == seen.evidence(sender), number


def test_mail_from_outside_changes_nothing_for_a_mailbox_of_ours(
    seen: Seen, keys: dict[str, Signer], alice: Owner
) -> None:
    """However it is forged: not the certificate, not the evidence, not the next mail."""
    before = seen.story(LOCAL)
    forged = five_packets.__wrapped__(LOCAL)
    body = b"--b\r\nContent-Type: application/pgp-keys\r\n\r\n%b\r\n--b--\r\n" % forged
    fields = (
        autocrypt(LOCAL, forged),
        ("OpenPGP", f" id={identity(forged)}".encode()),
        ("MIME-Version", b" 1.0"),
        ("Content-Type", b" multipart/mixed; boundary=b"),
        ("Content-Transfer-Encoding", b"8bit"),
    )
    as_alice = mail(LOCAL, *fields, body=body)
    as_mallory = mail(f"mallory@{MALLORY}", *fields, body=body)
    for octets in (
        as_alice,
        signed(as_alice, MALLORY, keys[MALLORY]),
        signed(as_alice, "example.test", keys[MALLORY]),
        signed(as_mallory, MALLORY, keys[MALLORY]),
        mail(f"mallory@{MALLORY}, {LOCAL}", *fields, body=body),
        b"From: %b\r\n" % LOCAL.encode() + as_mallory,
    ):
        seen.report(octets)
    after = seen.story(LOCAL)
    arrived = seen.report(mail(f"dave@{PEER}"))

    assert before == after
    assert [alice.subkey_fingerprint[-16:]] == arrived.key_ids
    assert b"evidence" in alice.read(arrived.octets)
    assert seen.reports(result="refused") >= 4


def test_nobody_speaks_for_another_peer(seen: Seen, keys: dict[str, Signer]) -> None:
    """A peer who is known stays who he is, whoever writes in his name."""
    sender = f"erin@{PEER}"
    seen.report(signed(mail(sender), PEER, keys[PEER]))
    known = seen.peer(sender)
    forged = five_packets.__wrapped__(sender)
    honest = signed(mail(sender), PEER, keys[PEER])
    for octets in (
        mail(sender, autocrypt(sender, forged)),
        signed(mail(sender, autocrypt(sender, forged)), MALLORY, keys[MALLORY]),
        signed(mail(f"mallory@{MALLORY}", autocrypt(sender, forged)), MALLORY, keys[MALLORY]),
        # The signature verifies over the last field still, and From.
        b"Autocrypt:%b\r\n" % field(sender, forged) + honest,
        b"From: mallory@%b\r\n" % MALLORY.encode() + honest,
        signed(
            mail(f'"{sender}" <mallory@{MALLORY}>', autocrypt(sender, forged)),
            MALLORY,
            keys[MALLORY],
        ),
    ):
        seen.report(octets)

    assert known.fingerprint == seen.peer(sender).fingerprint
    assert {Level.WEAK_CHAIN.value} == {
        level for seen_as, _, level in seen.evidence(sender) if seen_as == identity(forged)
    }


def test_a_flood_of_forgeries_fills_its_own_measure_only(
    seen: Seen, keys: dict[str, Signer]
) -> None:
    """Eight strangers are noted; then the peer's own provider is still heard."""
    sender = f"frank@{PEER}"
    for _ in range(STRANGERS_MAX + 4):
        seen.report(mail(sender, autocrypt(sender, five_packets.__wrapped__(sender))))
    assert STRANGERS_MAX == len(seen.evidence(sender))
    assert PeerOutcome.NOT_FOUND is seen.peer(sender).outcome
    seen.report(signed(mail(sender), PEER, keys[PEER]))

    assert identity(five_packets(sender)) == seen.peer(sender).fingerprint


def test_an_attached_certificate_is_noted_and_not_used(seen: Seen, keys: dict[str, Signer]) -> None:
    """Base64 within multiparts, as clients send it; a forwarded mail's is left alone."""
    sender = f"grace@{PEER}"
    certificate = five_packets(sender)
    part = b"Content-Type: application/pgp-keys; name=k.asc\r\n" + (
        b"Content-Transfer-Encoding: base64\r\n\r\n"
        + "\r\n".join(textwrap.wrap(base64.b64encode(certificate).decode(), 76)).encode()
    )
    forwarded = b"Content-Type: message/rfc822\r\n\r\nFrom: x@x.example\r\n" + part.replace(
        b"Cont", b"cont"
    )
    inner = b"Content-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n%b\r\n--i--\r\n" % part
    fields = (
        ("MIME-Version", b" 1.0"),
        ("Content-Type", b' multipart/signed; boundary="o"'),
    )
    body = b"--o\r\n%b\r\n--o\r\n%b\r\n--o--\r\n"
    seen.report(signed(mail(sender, *fields, body=body % (forwarded, inner)), PEER, keys[PEER]))
    other = f"heidi@{PEER}"
    seen.report(signed(mail(other, *fields, body=body % (forwarded, b"\r\n")), PEER, keys[PEER]))

    noted = (identity(certificate), "attached", Level.WEAK_CHAIN.value)
    assert [noted] == seen.evidence(sender)
    assert PeerOutcome.NOT_FOUND is seen.peer(sender).outcome
    assert [] == seen.evidence(other)


@pytest.mark.parametrize(
    "field_",
    [
        ("X-Spam-Flag", b" YES"),
        ("Content-Type", b" multipart/report; report-type=x; boundary=b"),
        ("Auto-Submitted", b" auto-replied"),
    ],
    ids=["spam", "report", "reply"],
)
def test_spam_and_what_programs_write_say_nothing(
    field_: tuple[str, bytes], seen: Seen, keys: dict[str, Signer]
) -> None:
    """However well it is signed."""
    sender = f"{field_[0].lower()}@{PEER}"
    refused = seen.reports(result="refused")
    seen.report(signed(mail(sender, autocrypt(sender), field_), PEER, keys[PEER]))

    assert [] == seen.evidence(sender)
    assert seen.peer(sender).autocrypt is None
    assert refused + 1 == seen.reports(result="refused")


def test_the_table_of_peers_hears_of_silence(seen: Seen, keys: dict[str, Signer]) -> None:
    """Weeks after the last field a mail without one discourages; a forged one does not."""
    sender = f"ivan@{PEER}"
    seen.report(signed(mail(sender, sent=time.time() - 40 * DAY), PEER, keys[PEER]))
    silent = mail(sender, ("X-Mailer", b" webmail"))
    deliver_one(seen.stack, silent, LOCAL)
    seen.report(signed(mail(f"judy@{PEER}"), PEER, keys[PEER]))
    forged = seen.peer(sender).autocrypt
    seen.report(signed(silent, PEER, keys[PEER]))
    after = seen.peer(sender)

    assert forged is not None
    assert UIRecommendation.AVAILABLE is forged.recommendation
    assert after.autocrypt is not None
    assert UIRecommendation.DISCOURAGE is after.autocrypt.recommendation
    assert identity(five_packets(sender)) == after.fingerprint


def test_a_key_service_that_hangs_keeps_no_mail_waiting(
    seen: Seen, keys: dict[str, Signer]
) -> None:
    """The answer about the recipient is cached; the report is tried, and given up."""
    seen.report(mail(f"kate@{PEER}"))
    unheard = seen.reports(result="unheard")
    octets = signed(mail(f"leo@{PEER}"), PEER, keys[PEER])
    seen.stack.signal_daemon("keyservice", signal.SIGSTOP, children=True)
    try:
        assert deliver_one(seen.stack, octets, LOCAL).is_wrapped
        # It is there before that has been given up.
        assert unheard == seen.reports(result="unheard")
        wait_until(lambda: seen.reports(result="unheard") > unheard, "unheard")
    finally:
        seen.stack.signal_daemon("keyservice", signal.SIGCONT, children=True)
    seen.report(signed(mail(f"mia@{PEER}"), PEER, keys[PEER]))

    assert PeerOutcome.FOUND is seen.peer(f"mia@{PEER}").outcome
