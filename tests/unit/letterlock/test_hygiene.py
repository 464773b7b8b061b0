"""What leaves of a submission's header section, and that the document says the same."""

import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import messages
from keyservice.mailbox import Mailbox
from letterlock.hygiene import REMOVED, OwnFields, clean, is_removed
from letterlock.message import HeaderField, HeaderSection, split

DOCUMENT = Path(__file__).parents[3] / "docs/submission-fields.md"
AUTOCRYPT = HeaderField(b"Autocrypt", b" addr=alice@example.org;\r\n keydata=AAAA")
OWN = OwnFields(
    author=Mailbox.parse("alice@example.org"),
    now=datetime(2026, 11, 20, 1, 30, tzinfo=timezone(timedelta(hours=2))),
    random=lambda octets: b"\xab" * octets,
    autocrypt=AUTOCRYPT,
)

THUNDERBIRD = (
    b"Received: from laptop.home.test ([198.51.100.7]) by localhost\r\n"
    b"X-Mozilla-Status: 0801\r\n"
    b"X-Mozilla-Draft-Info: internal/draft; vcard=0; receipt=0\r\n"
    b"X-Identity-Key: id1\r\n"
    b"X-Account-Key: account1\r\n"
    b"Message-ID: <7b5f2b2e@laptop.home.test>\r\n"
    b"Date: Fri, 20 Nov 2026 07:00:00 +0100\r\n"
    b"MIME-Version: 1.0\r\n"
    b"User-Agent: Mozilla Thunderbird\r\n"
    b"x-enigmail-version: 2.2\r\n"
    b"Content-Language: de-DE\r\n"
    b"To: bob@outside.test\r\n"
    b"BCC : eve@outside.test,\r\n"
    b" mallory@outside.test\r\n"
    b"References: <1@outside.test>\r\n"
    b"In-Reply-To: <1@outside.test>\r\n"
    b"From: Alice <alice@example.org>\r\n"
    b"Autocrypt: addr=alice@example.org; keydata=BBBB\r\n"
    b"Autocrypt-Draft-State: encrypt=no;\r\n"
    b"OpenPGP: id=0123456789ABCDEF\r\n"
    b"Disposition-Notification-To: alice@example.org\r\n"
    b"X-Priority: 1 (Highest)\r\n"
    b"List-Unsubscribe: <https://example.org/>\r\n"
    b"Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n"
    b"FCC: imap://alice@mail.example.org/Sent\r\n"
    b"Content-Type: text/plain; charset=UTF-8\r\n"
    b"\r\n"
)
LEAVES = (
    b"Message-ID: <7b5f2b2e@laptop.home.test>\r\n"
    b"Date: Fri, 20 Nov 2026 07:00:00 +0100\r\n"
    b"MIME-Version: 1.0\r\n"
    b"Content-Language: de-DE\r\n"
    b"To: bob@outside.test\r\n"
    b"References: <1@outside.test>\r\n"
    b"In-Reply-To: <1@outside.test>\r\n"
    b"From: Alice <alice@example.org>\r\n"
    b"Autocrypt: addr=alice@example.org; keydata=BBBB\r\n"
    b"OpenPGP: id=0123456789ABCDEF\r\n"
    b"Disposition-Notification-To: alice@example.org\r\n"
    b"X-Priority: 1 (Highest)\r\n"
    b"List-Unsubscribe: <https://example.org/>\r\n"
    b"Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n"
    b"Content-Type: text/plain; charset=UTF-8\r\n"
)


def section(*lines: bytes) -> HeaderSection:
    """A header section of complete fields."""
    return split(b"".join(line + b"\r\n" for line in lines) + b"\r\n")[0]


def leaving(*lines: bytes) -> list[bytes]:
    """The lines that stay."""
    kept = clean(section(*lines), OWN).kept
    return [field.octets[:-2] for field in kept if field is not None]


def test_a_mail_from_thunderbird():
    """What tells of the client is gone; what the mail says, and who wrote it, is untouched."""
    cleaned = clean(split(THUNDERBIRD)[0], OWN)

    assert LEAVES == cleaned.section.octets
    assert () == cleaned.added
    assert b"\r\n" == cleaned.section.end


def test_what_stays_is_the_field_itself():
    """Byte by byte, whatever is in it; nothing is written anew."""
    arrived = split(THUNDERBIRD)[0]

    pairs = zip(arrived.fields, clean(arrived, OWN).kept, strict=True)

    assert all(now is was or now is None for was, now in pairs)


def test_what_is_missing_is_added_behind_the_rest():
    """RFC 6409 §8.2, §8.3: the Date in UTC, the Message-ID with neither time nor host in it."""
    cleaned = clean(section(b"From: alice@example.org", b"X-Mailer: x"), OWN)

    assert (
        b"From: alice@example.org\r\n"
        b"Date: Thu, 19 Nov 2026 23:30:00 +0000\r\n"
        b"Message-ID: <%b@example.org>\r\n"
        b"Autocrypt: addr=alice@example.org;\r\n keydata=AAAA\r\n" % (b"ab" * 16)
    ) == cleaned.section.octets
    assert cleaned.section.fields[1:] == cleaned.added


@pytest.mark.parametrize(
    "name", [b"Autocrypt", b"AUTOCRYPT", b"autocrypt ", b"Date", b"message-id"]
)
@pytest.mark.parametrize("value", [b"", b" not valid", b" a\r\n\tb", b" \xff"])
def test_what_the_client_wrote_is_never_replaced(name, value):
    """Not even where it is of no use: a second one beside it would not be either."""
    field = HeaderField(name, value)

    cleaned = clean(HeaderSection((field,)), OWN)

    assert (field,) == cleaned.kept
    assert field.key not in [added.key for added in cleaned.added]


def test_no_autocrypt_field_without_a_certificate():
    """Or where the policy is not to add one."""
    own = OwnFields(OWN.author, OWN.now, OWN.random)

    assert [b"date", b"message-id"] == [f.key for f in clean(section(b"To: b@c"), own).added]


@pytest.mark.parametrize(
    "forged",
    [
        b"Letterlock: v=1; by=mx.example.org; fpr=" + b"0" * 40,
        b"letterlock-header: AAAA",
        b"Authentication-Results: mx.example.org; dkim=pass header.d=bank.test",
        b"authentication-RESULTS\t: some.filter; dkim=pass",
        b"ARC-Seal: i=1; cv=none; d=list.test",
        b"X-Spam-Flag: NO",
        b"Received-SPF: pass",
        b"X-Leap-Signature: valid",
    ],
)
def test_forged_trust_goes(forged):
    """Nobody has checked anything before a submission: whatever says so was made up."""
    assert [b"Subject: x"] == leaving(forged, b"Subject: x")


@pytest.mark.parametrize(
    "value",
    [
        b" v=1; a=rsa-sha256; d=example.org; s=s; h=From; bh=; b=",
        b" v=1;d=EXAMPLE.org",
        b" v=1;\r\n\td = example.org ;\r\n s=s",
        b"d=other.test; d=example.org",
    ],
)
def test_a_signature_in_our_name_goes(value):
    """It is old or forged, and would fail beside the one that is made at the end."""
    assert [] == leaving(b"DKIM-Signature:" + value)
    assert [] == leaving(b"dkim-signature :" + value)


@pytest.mark.parametrize(
    "value",
    [
        b" v=1; a=rsa-sha256; d=other.test; s=s; h=From; bh=; b=",
        b" v=1; d=sub.example.org",
        b" v=1; d=example.org.test",
        b" v=1; bh=d=example.org",
        b" v=1; i=@example.org",
        b" nonsense \xff",
        b"",
    ],
)
def test_signatures_of_others_stay(value):
    """RFC 6376 §4.2."""
    line = b"DKIM-Signature:" + value

    assert [line] == leaving(line)


@pytest.mark.parametrize(
    "line",
    [
        b"X-Sender-Notes: mine",
        b"X-Spammer: no prefix without its dash",
        b"Bccc: x",
        b"Statuses: x",
        b"Autocrypt-Setup-Message: v1",
        b"Autocrypt-Gossip: addr=b@c; keydata=AAAA",
        b"Auto-Submitted: auto-replied",
        b"Thread-Index: AdX",
        b"Organization: Example",
        b"X-Face: x",
        b"HP-Outer: Subject: [...]",
        b"Resent-From: alice@example.org",
        b"X-\xff: unknown",
    ],
)
def test_what_is_not_on_the_list_stays(line):
    """The list is all there is."""
    field = HeaderField(*line.split(b":", 1))

    assert (field,) == clean(HeaderSection((field,)), OWN).kept


def listed_fields() -> st.SearchStrategy[HeaderField]:
    """Fields whose names are on the list."""
    patterns = [name for names in REMOVED.values() for name in names]
    names = st.sampled_from(patterns).map(lambda name: name.replace("*", "Any").encode())
    return st.builds(HeaderField, names, st.sampled_from([b"", b" x", b" a\r\n b", b" \xff"]))


@given(
    st.randoms(use_true_random=False),
    st.lists(st.one_of(messages.header_fields(), listed_fields()), max_size=12),
)
def test_cleaning_is_by_name_only_and_done_once(random, fields):
    """Order and case do not matter; what was cleaned is clean."""
    arrived = HeaderSection(tuple(fields))
    cleaned = clean(arrived, OWN)
    recased = HeaderSection(
        tuple(
            HeaderField(
                bytes(map(random.choice, zip(f.name.lower(), f.name.upper(), strict=True))),
                f.value,
                f.line_end,
            )
            for f in arrived.fields
        ),
        arrived.end,
    )

    assert [f is None for f in cleaned.kept] == [f is None for f in clean(recased, OWN).kept]
    again = clean(cleaned.section, OWN)
    assert cleaned.section.fields == again.kept
    assert () == again.added
    assert [f for f in fields if not is_removed(f.key)] == [f for f in cleaned.kept if f]


def test_the_document_has_the_list():
    """Under the same headings, every name and nothing else."""
    found = {}
    for heading, text in re.findall(r"### (.+)\n((?:(?!#).*\n)*)", DOCUMENT.read_text()):
        found[heading] = [
            name
            for row in re.findall(r"(?m)^\| (`.+?`) \|", text)
            for name in re.findall(r"`([^`]+)`", row)
        ]

    assert {why: sorted(names) for why, names in REMOVED.items()} == {
        heading: sorted(names) for heading, names in found.items()
    }
