"""Which header fields a thief can read, for each Header Confidentiality Policy, over the wire."""

import re
from collections.abc import Iterator

import pytest

from delivered import Delivered, deliver_one
from keyservice.mailbox import Mailbox
from stack import Owner, Stack

MAIL = (
    b"Received: from a.example by mx.sender.example; Fri, 20 Nov 2026 06:00:00 +0000\r\n"
    b"DKIM-Signature: v=1; a=rsa-sha256; d=sender.example; s=s; h=subject; b=YQ==\r\n"
    b"ARC-Seal: i=1; a=rsa-sha256; cv=none; d=sender.example; s=s; b=YQ==\r\n"
    b"Autocrypt: addr=bob@sender.example; keydata=YQ==\r\n"
    b"From: Bob Canary <bob@sender.example>\r\n"
    b"To: Alice Canary <alice@example.test>,\r\n other@elsewhere.example\r\n"
    b"Cc: Carol Canary <carol@elsewhere.example>\r\n"
    b"Subject: canary\r\n"
    b"Comments: canary\r\n"
    b"Keywords: canary\r\n"
    b"Thread-Topic: canary\r\n"
    b"Date: Fri, 20 Nov 2026 07:30:00 +0130\r\n"
    b"Message-ID: <1@sender.example>\r\n"
    b"In-Reply-To: <0@sender.example>\r\n"
    b"X-Spam-Flag: YES\r\n"
    b"X-Mailer: Canary 1.0\r\n"
    b"HP-Outer: Subject: canary\r\n"
    b"Letterlock: v=1; by=forged.example; fpr=0000000000000000000000000000000000000000\r\n"
    b"Letterlock-Header: YQ==\r\n"
    b"MIME-Version: 1.0\r\n"
    b'Content-Type: text/plain; charset=utf-8; name="canary.txt"\r\n'
    b"Content-Transfer-Encoding: 8bit\r\n"
    b"Content-Language: de\r\n"
    b"\r\n"
    b"canary \xe2\x9c\x93\r\n"
)
_DOVECOTS = ["Return-Path", "Delivered-To", "Received"]
_WRAPPED = ["MIME-Version", "Content-Type"]


@pytest.fixture(scope="module")
def untraced(tmp_path_factory: pytest.TempPathFactory, alice: Owner) -> Iterator[Stack]:
    """A stack that delivers without its own Received fields, as postfix-conf/ recommends."""
    domains: dict[str, dict[str, object]] = {
        "example.test": {},
        "shy.test": {"header_policy": "hcp_shy"},
        "all.test": {"header_policy": "hcp_all", "keep_outside": ["X-Spam-Flag"]},
    }
    stack = Stack(tmp_path_factory.mktemp("untraced"), domains=domains, untraced=True)
    with stack:
        for domain in domains:
            stack.enrol(f"alice@{domain}", alice.certificate)
        yield stack


def _outside(stored: Delivered) -> list[tuple[str, str]]:
    """Return names and unfolded bodies of all outer fields but Dovecot's three."""
    fields = [(f.name.decode(), f.unfolded.decode().strip()) for f in stored.section]
    assert _DOVECOTS == [name for name, _ in fields[:3]]
    return fields[3:]


def _constant(stored: Delivered) -> list[tuple[str, str]]:
    """Return them with what is new in every mail replaced."""
    return [
        (name, re.sub(r"=_[0-9a-f]{32}|<[0-9a-f]{32}@|\b[0-9a-f]{40}\b", "#", body))
        for name, body in _outside(stored)
    ]


_OURS = [
    ("MIME-Version", "1.0"),
    ("Content-Type", 'multipart/encrypted; protocol="application/pgp-encrypted"; boundary="#"'),
]
_MARKER = ("Letterlock", "v=1; by=mx.example.test; fpr=#")
_TRACE = ("Received", "from a.example by mx.sender.example; Fri, 20 Nov 2026 06:00:00 +0000")


def test_hcp_baseline(untraced: Stack, alice: Owner) -> None:
    """RFC 9788 §3.2.1: Subject hidden, Comments and Keywords gone, signatures inside only."""
    stored = deliver_one(untraced, MAIL, "alice@example.test")

    assert [
        _TRACE,
        ("From", "Bob Canary <bob@sender.example>"),
        ("To", "Alice Canary <alice@example.test>, other@elsewhere.example"),
        ("Cc", "Carol Canary <carol@elsewhere.example>"),
        ("Subject", "[...]"),
        ("Date", "Fri, 20 Nov 2026 07:30:00 +0130"),
        ("Message-ID", "<1@sender.example>"),
        ("In-Reply-To", "<0@sender.example>"),
        ("X-Spam-Flag", "YES"),
        ("X-Mailer", "Canary 1.0"),
        *_OURS,
        _MARKER,
    ] == _constant(stored)
    assert MAIL == stored.original(alice)


def test_hcp_shy(untraced: Stack, alice: Owner) -> None:
    """RFC 9788 §3.2.2: no display names and no time zone either."""
    stored = deliver_one(untraced, MAIL, "alice@shy.test")

    assert [
        _TRACE,
        ("From", "bob@sender.example"),
        ("To", "alice@example.test, other@elsewhere.example"),
        ("Cc", "carol@elsewhere.example"),
        ("Subject", "[...]"),
        ("Date", "Fri, 20 Nov 2026 06:00:00 +0000"),
        ("Message-ID", "<1@sender.example>"),
        ("In-Reply-To", "<0@sender.example>"),
        ("X-Spam-Flag", "YES"),
        ("X-Mailer", "Canary 1.0"),
        *_OURS,
        _MARKER,
    ] == _constant(stored)
    assert MAIL == stored.original(alice)


def test_hcp_all(untraced: Stack, alice: Owner) -> None:
    """Nothing but what delivery needs, and what the operator wants outside."""
    stored = deliver_one(untraced, MAIL, "alice@all.test")
    fields = _constant(stored)

    assert [
        ("X-Spam-Flag", "YES"),
        *_OURS,
        ("From", "postmaster@all.test"),
        ("To", "alice@all.test"),
        ("Message-ID", "#all.test>"),
        _MARKER,
    ] == [field for field in fields if field[0] != "Date"]
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} 00:00:00 \+0000", dict(fields)["Date"])
    assert b"canary" not in stored.octets.lower()
    assert MAIL == stored.original(alice)


def test_the_trace_of_this_host_is_removed_on_copies_too(untraced: Stack, alice: Owner) -> None:
    """It would name the client and, in `for`, the recipient as the sender wrote it."""
    stored = deliver_one(untraced, MAIL, "alice+secret-tag@all.test", into="alice@all.test")

    assert [] == [body for name, body in _outside(stored) if name == "Received"]
    assert MAIL == stored.original(alice)


def test_with_the_plain_transport_the_trace_stays(stack: Stack, alice: Owner) -> None:
    """The removal is lmtp-untraced's doing, and nobody else's."""
    stored = deliver_one(stack, MAIL, "alice@shy.test")

    assert 2 == [name for name, _ in _outside(stored)].count("Received")


def test_one_mailbox_may_keep_a_field_outside(stack: Stack, alice: Owner) -> None:
    """For a filter in the store, say; whatever the policy says about it."""
    mailbox = Mailbox.parse("alice@shy.test")
    stack.operator.set_policy(mailbox, {"keep_outside": ["Comments", "x-spam-FLAG"]})
    stored = deliver_one(stack, MAIL, str(mailbox))
    stack.operator.unset_policy(mailbox, "keep_outside")

    assert ("Comments", "canary") in _outside(stored)
    assert ("Comments", "canary") not in _outside(deliver_one(stack, MAIL, str(mailbox)))
    assert MAIL == stored.original(alice)
