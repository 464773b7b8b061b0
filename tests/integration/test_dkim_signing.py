"""What we sign, opendkim, Mail::DKIM and dkimpy verify; what was changed on the way, they do not.

Debian's Mail::DKIM knows no Ed25519: it must not be disturbed by it.
"""

import base64
import itertools
import random
import time
from collections.abc import Iterator

import pytest

import dkim_verifiers
from dkim_mail import DOMAIN, new_signers, records_of, signed
from dkim_verifiers import OpenDKIM
from letterlock.dkim.key_record import zone_lines
from letterlock.dkim.signer import KeyType, Signer
from unbound import Signing, Unbound

LONG_DOMAIN = ".".join(["a" * 50, "b" * 50, "c" * 50, "example"])
DAY = 86_400
BOTH = {"rsa1": "pass", "ed1": "pass"}

PLAIN = (
    b"From: Alice <alice@example.org>\r\nTo: bob@example.net\r\nSubject: news\r\n"
    b"Date: Fri, 20 Nov 2026 11:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHello Bob.\r\n"
)
HEADER, _, _ = PLAIN.partition(b"\r\n\r\n")


def with_body(body: bytes) -> bytes:
    """Return the plain message with another body."""
    return HEADER + b"\r\n\r\n" + body


def with_fields(*fields: bytes) -> bytes:
    """Return the plain message with further fields on top."""
    return b"".join(field + b"\r\n" for field in fields) + PLAIN


MESSAGES = {
    "plain": PLAIN,
    "header section of one field": b"From: alice@example.org\r\n\r\nHello.\r\n",
    "folds": with_fields(
        b"References:\r\n" + b"\r\n".join(b" <%d@example.org>" % i for i in range(60)),
        b"Comments: a\r\n \tb\t \r\n  c",
        b"Reply-To:\r\n\t Alice\r\n <alice@example.org>",
    ),
    "blanks and capitals": with_fields(b"CC:carol@example.net  \t", b"in-REPLY-to:  <0@x>"),
    "header field of 8 KB": with_fields(
        b"Autocrypt: addr=alice@example.org; keydata=\r\n"
        + b"".join(b" %b\r\n" % (b"A" * 76) for _ in range(100)).rstrip()
    ),
    "8-bit octets": with_fields("Comments: Grüße".encode()).replace(b"news", "Süß".encode())
    + "Schöne Grüße\r\n".encode()
    + "Grüße".encode("latin-1")
    + b"\r\n",
    "fields that are there twice": with_fields(
        b"Subject: other news", b"List-Id: <a.test>", b"List-Id: <b.test>", b"To: carol@c.test"
    ),
    "a field without a body": with_fields(b"Cc:", b"Sender: "),
    "no body": with_body(b""),
    "blank lines only": with_body(b"\r\n\r\n"),
    "blanks only": with_body(b" \t\r\n \r\n"),
    "blank lines at the end": with_body(b"Hello.\r\n\r\n \r\n\t\r\n"),
    "blanks in lines": with_body(b" a  b\t\tc \r\n\r\n\r\n  \td\t\r\n"),
    "a line of 100 KB": with_body(b"word " * 20_000 + b"\r\n"),
    "200 KB": with_body(
        base64.encodebytes(random.Random(1).randbytes(150_000)).replace(b"\n", b"\r\n")
    ),
    "lines with dots": with_body(b".\r\n..\r\nFrom here\r\n"),
}

CHANGES = {
    "another recipient": PLAIN.replace(b"bob@", b"mallory@"),
    "another word": PLAIN.replace(b"Hello", b"Hullo"),
    "more words": PLAIN + b"Buy.\r\n",
    "fewer fields": PLAIN.replace(b"Subject: news\r\n", b""),
    "another From": with_fields(b"From: mallory@example.org"),
    "another Subject": with_fields(b"Subject: buy"),
    "a Reply-To": with_fields(b"Reply-To: mallory@example.org"),
    "a Cc": with_fields(b"Cc: mallory@example.org"),
    "an Autocrypt": with_fields(b"Autocrypt: addr=alice@example.org; keydata=AAAA"),
    "another Content-Type": with_fields(b"Content-Type: text/html"),
}

ON_THE_WAY = {
    "Received": with_fields(b"Received: from a by b; Fri, 20 Nov 2026 11:00:05 +0000"),
    "of a mailing list": with_fields(b"Sender: list@lists.test", b"List-Id: <list.lists.test>"),
    "a verdict": with_fields(b"X-Spam-Flag: NO", b"Authentication-Results: mx.test; none"),
    "folded anew": PLAIN.replace(b": Alice <", b":\r\n\tAlice\r\n <"),
    "names in capitals": PLAIN.replace(b"Subject", b"SUBJECT"),
    "a blank line more": PLAIN + b"\r\n",
}


@pytest.fixture(scope="module")
def signers() -> tuple[Signer, Signer]:
    """A key of each type."""
    return new_signers()


@pytest.fixture(scope="module")
def opendkim(signers: tuple[Signer, Signer]) -> Iterator[OpenDKIM]:
    """A real opendkim that knows the keys."""
    with OpenDKIM(records_of(signers, DOMAIN, LONG_DOMAIN)) as verifier:
        yield verifier


@pytest.fixture(scope="module")
def dns(signers: tuple[Signer, Signer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a real resolver that has the records as we print them."""
    zones = {
        domain: (Signing.NOT, "\n".join(zone_lines(domain, s) for s in signers) + "\n")
        for domain in (DOMAIN, LONG_DOMAIN)
    }
    with Unbound(tmp_path_factory.mktemp("dns"), zones, validating=False) as resolver:
        yield resolver.port


class Verifiers:
    """All of them."""

    def __init__(self, signers: tuple[Signer, Signer], opendkim: OpenDKIM, dns: int) -> None:
        self._records = records_of(signers, DOMAIN, LONG_DOMAIN)
        self._opendkim = opendkim
        self._dns = dns

    def say(self, message: bytes) -> dict[str, dict[str, str]]:
        """Return what each says; of Mail::DKIM only what it says about RSA."""
        perl = dkim_verifiers.mail_dkim(message, self._dns)
        assert "unsupported algorithm" in perl.pop("ed1")
        return {
            "dkimpy": dkim_verifiers.dkimpy(message, self._records),
            "opendkim": self._opendkim.verify(message),
            "Mail::DKIM": perl,
        }

    def accept(self, message: bytes) -> bool:
        """Whether all signatures are accepted by all; a disagreement is an error."""
        results = {r == "pass" for said in self.say(message).values() for r in said.values()}
        (result,) = results
        return result


@pytest.fixture(scope="module")
def verifiers(signers: tuple[Signer, Signer], opendkim: OpenDKIM, dns: int) -> Verifiers:
    """All of them."""
    return Verifiers(signers, opendkim, dns)


ALL_PASS = {"dkimpy": BOTH, "opendkim": BOTH, "Mail::DKIM": {"rsa1": "pass"}}


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES.keys())
def test_everybody_verifies(
    message: bytes, signers: tuple[Signer, Signer], verifiers: Verifiers
) -> None:
    """Both signatures, whatever the message is like."""
    assert ALL_PASS == verifiers.say(signed(message, signers))


def test_a_last_line_without_an_end(signers: tuple[Signer, Signer], verifiers: Verifiers) -> None:
    """SMTP ends it, so what is signed is the ended line, without the blanks before its end."""
    message = signed(with_body(b"Hello.\r\nBob \t"), signers)
    assert ALL_PASS == verifiers.say(message + b"\r\n")


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES.keys())
def test_changes_are_noticed(
    changed: bytes, signers: tuple[Signer, Signer], verifiers: Verifiers
) -> None:
    """Nobody accepts a message that says, or seems to say, something else."""
    signature = signed(PLAIN, signers).removesuffix(PLAIN)
    assert not verifiers.accept(signature + changed)


@pytest.mark.parametrize("handled", ON_THE_WAY.values(), ids=ON_THE_WAY.keys())
def test_handling_on_the_way_does_no_harm(
    handled: bytes, signers: tuple[Signer, Signer], verifiers: Verifiers
) -> None:
    """What relays and mailing lists add to a message leaves the signatures good."""
    signature = signed(PLAIN, signers).removesuffix(PLAIN)
    assert verifiers.accept(signature + handled)


def test_a_long_domain(signers: tuple[Signer, Signer], verifiers: Verifiers) -> None:
    """It is longer than a line, and is not folded."""
    assert verifiers.accept(signed(PLAIN, signers, LONG_DOMAIN))


def test_expiry(signers: tuple[Signer, Signer], verifiers: Verifiers) -> None:
    """A signature with x= is good until then."""
    now = int(time.time())
    assert verifiers.accept(signed(PLAIN, signers, days=14))
    assert verifiers.accept(signed(PLAIN, signers, now=now - 13 * DAY, days=14))
    assert not verifiers.accept(signed(PLAIN, signers, now=now - 15 * DAY, days=14))


@pytest.mark.parametrize("bits", [3072, 4096])
def test_longer_keys(bits: int) -> None:
    """Their records fit the DNS in strings, and others verify with them."""
    signer = Signer.generate("long", KeyType.RSA, bits)
    message = signed(PLAIN, [signer])
    records = records_of([signer], DOMAIN)
    assert {"long": "pass"} == dkim_verifiers.dkimpy(message, records)
    with OpenDKIM(records) as verifier:
        assert {"long": "pass"} == verifier.verify(message)


def test_many_messages(signers: tuple[Signer, Signer], opendkim: OpenDKIM) -> None:
    """Signatures by turns of several sizes; base64 is folded the same way each time."""
    for size in itertools.accumulate([0, 1, 70, 77, 500, 997]):
        assert BOTH == opendkim.verify(signed(with_body(b"x" * size + b"\r\n"), signers))
