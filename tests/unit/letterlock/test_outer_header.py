"""What stays readable, as edits for the milter and as octets for copies that re-enter."""

import email
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

import messages
from keyservice.client import HeaderPolicy, Mailbox, MailboxPolicy
from letterlock import pgpmime
from letterlock.header_protection import Form, Recorded, inexact, payload_head
from letterlock.message import HeaderField, HeaderSection, split
from letterlock.outer_header import (
    OuterHeader,
    arrived_encrypted_outer_header,
    as_arrived,
    wrapped_outer_header,
)
from letterlock.own_fields import (
    ENCRYPTED_HEADER_OCTETS_MAX,
    Delivery,
    Marker,
    UnprintableField,
    encrypted_header_field,
)

FPR = "0123456789abcdef0123456789abcdef01234567"
BOUNDARY = pgpmime.boundary(bytes(16))
DELIVERY = Delivery(
    Mailbox.parse("alice@example.org"),
    Marker("mx.example.org", FPR),
    datetime(2026, 11, 20, 1, 30, tzinfo=timezone(timedelta(hours=2))),
    "<new@mx.example.org>",
)


def _wrapped(octets: bytes, **policy: object) -> OuterHeader:
    section, _ = split(octets)
    return wrapped_outer_header(section, MailboxPolicy(**policy), DELIVERY, BOUNDARY)


def _as_written(name: str, value: str) -> tuple[bytes, bytes]:
    return name.encode(), value.encode("ascii").replace(b"\n", b"\r\n")


def _edited(header: OuterHeader) -> bytes:
    """Do what Postfix does with the edits: one after the other, counting by name."""
    fields = [(f.name, f.value) for f in header.section]
    for change in header.changes():
        name = change.name.encode()
        at = [i for i, (n, _) in enumerate(fields) if n.rstrip().lower() == name.rstrip().lower()]
        target = at[change.occurrence - 1]
        if change.value is None:
            del fields[target]
        else:
            fields[target] = (name, change.value.encode("ascii").replace(b"\n", b"\r\n"))
    fields += [_as_written(*field) for field in header.additions()]
    for field in header.insertions():
        fields.insert(0, _as_written(*field))
    return b"".join(name + b":" + value + b"\r\n" for name, value in fields)


@given(messages.sections(), st.sampled_from(HeaderPolicy), st.booleans())
def test_edits_and_octets_agree(
    section: HeaderSection, header_policy: HeaderPolicy, wrapped: bool
) -> None:
    """The primary message and the copies that re-enter get the same header section."""
    section = HeaderSection(tuple(f for f in section if f.name == f.key or b" " not in f.name))
    policy = MailboxPolicy(header_policy=header_policy, keep_outside=("X-A",))
    if wrapped:
        header = wrapped_outer_header(section, policy, DELIVERY, BOUNDARY)
    else:
        field = encrypted_header_field(b"ciphertext")
        header = arrived_encrypted_outer_header(section, policy, DELIVERY, field)

    assert header.octets == _edited(header)


@given(messages.sections(), st.sampled_from(HeaderPolicy))
def test_the_outer_message_is_multipart_encrypted(
    section: HeaderSection, header_policy: HeaderPolicy
) -> None:
    """RFC 3156 §4, whatever Content-* the sender wrote; a marker of ours and no other."""
    clean = HeaderSection(tuple(f for f in section if b"\r" not in f.value.replace(b"\r\n", b"")))
    policy = MailboxPolicy(header_policy=header_policy)
    octets = wrapped_outer_header(clean, policy, DELIVERY, BOUNDARY).octets
    octets = octets.replace(b"X-Blank :", b"X-Blank:")

    root = email.message_from_bytes(
        octets + b"\r\n" + pgpmime.head(BOUNDARY) + b"armor\r\n" + pgpmime.tail(BOUNDARY)
    )

    types = ["application/pgp-encrypted", "application/octet-stream"]
    assert types == [part.get_content_type() for part in root.get_payload()]
    assert ["1.0"] == root.get_all("MIME-Version")
    assert 1 == len(root.get_all("Content-Type"))
    assert "Content-Transfer-Encoding" not in root
    assert [f"v=1; by=mx.example.org;\r\n fpr={FPR}"] == root.get_all("Letterlock")
    assert [] == [n for n in root if n.lower().startswith(("letterlock-", "arc-", "hp-outer"))]


def test_the_baseline_hides_the_subject_only() -> None:
    """Who wrote to whom and when stays readable; so do trace fields."""
    octets = _wrapped(messages.PLAIN).octets

    assert b"Subject: [...]\r\n" in octets
    assert b"canary" not in octets
    for line in messages.PLAIN.splitlines(keepends=True)[:4]:
        assert line in octets


def test_shy_shows_addresses_and_utc() -> None:
    """Display names and the sender's time zone are gone."""
    octets = _wrapped(messages.PLAIN, header_policy=HeaderPolicy.HCP_SHY).octets

    assert b"From: bob@sender.example\r\nTo: alice@example.org\r\n" in octets
    assert b"Date: Fri, 20 Nov 2026 06:00:00 +0000\r\n" in octets


def test_all_leaves_what_delivery_needs() -> None:
    """Nothing of the sender's: day, mailbox, mailer, a new Message-ID."""
    octets = _wrapped(messages.PLAIN, header_policy=HeaderPolicy.HCP_ALL).octets

    expected = (
        b"MIME-Version: 1.0\r\nContent-Type:" + pgpmime.content_type(BOUNDARY) + b"\r\n"
        b"Date: Thu, 19 Nov 2026 00:00:00 +0000\r\n"
        b"From: postmaster@example.org\r\n"
        b"To: alice@example.org\r\n"
        b"Message-ID: <new@mx.example.org>\r\n"
        b"Letterlock: v=1; by=mx.example.org;\r\n fpr=" + FPR.encode() + b"\r\n"
    )
    assert expected == octets


def test_what_the_operator_keeps_stays_as_it_is() -> None:
    """Under any policy; what must go goes even so."""
    octets = b"X-Spam-Flag: YES\r\nDate: whenever\r\nDKIM-Signature: x\r\n\r\n"

    outer = _wrapped(
        octets,
        header_policy=HeaderPolicy.HCP_ALL,
        keep_outside=("x-spam-flag", "Date", "DKIM-Signature", "Content-Type"),
    ).octets

    assert outer.startswith(b"X-Spam-Flag: YES\r\nDate: whenever\r\nMIME-Version")
    assert 1 == outer.count(b"Date:")
    assert b"DKIM" not in outer


def test_many_recipients_are_folded() -> None:
    """A changed list has no line over 78 characters."""
    to = b", ".join(b"Person %d <person%d@example.org>" % (n, n) for n in range(100))
    octets = _wrapped(b"To: " + to + b"\r\n\r\n", header_policy=HeaderPolicy.HCP_SHY).octets

    assert 78 >= max(len(line) for line in octets.splitlines())
    assert 100 == len(email.message_from_bytes(octets)["To"].split(","))


def test_mail_that_arrived_encrypted_keeps_its_structure() -> None:
    """Its body stays, so do the fields that describe it; the rest is inside of our field."""
    section, _ = split(messages.PLAIN)
    field = encrypted_header_field(b"x" * ENCRYPTED_HEADER_OCTETS_MAX)

    octets = arrived_encrypted_outer_header(section, MailboxPolicy(), DELIVERY, field).octets

    assert (
        messages.PLAIN.partition(b"\r\n\r\n")[0] + b"\r\n" == octets[: octets.index(b"Letterlock")]
    )


@pytest.mark.parametrize("header_policy", [HeaderPolicy.HCP_SHY, HeaderPolicy.HCP_ALL])
def test_stricter_policies_hide_its_subject_too(header_policy: HeaderPolicy) -> None:
    """Only the baseline leaves the Subject of mail that arrived encrypted."""
    section, _ = split(messages.PLAIN)
    policy = MailboxPolicy(header_policy=header_policy)
    field = encrypted_header_field(b"x")

    assert b"canary" not in arrived_encrypted_outer_header(section, policy, DELIVERY, field).octets


def test_an_encrypted_header_section_is_never_cut() -> None:
    """Postfix cuts at 60,000 octets; more than fits is refused, and the caller wraps."""
    assert 54_000 > len(encrypted_header_field(bytes(ENCRYPTED_HEADER_OCTETS_MAX)).octets)
    with pytest.raises(ValueError, match="cut"):
        encrypted_header_field(bytes(ENCRYPTED_HEADER_OCTETS_MAX + 1))


@pytest.mark.parametrize(
    "bad", ["", "a b", "a\r\nX: y", "a\n", "a;fpr=0", "\u00fc", "a\0", "x" * 256]
)
def test_a_marker_cannot_be_injected_into(bad: str) -> None:
    """Line ends, blanks, separators, NUL and 8-bit are refused, without being repeated."""
    with pytest.raises(UnprintableField, match=r"^Letterlock$"):
        Marker(bad, FPR)
    with pytest.raises(UnprintableField, match=r"^Letterlock$"):
        Marker("mx.example.org", bad)


@pytest.mark.parametrize(
    "bad", ["a\r\nBcc: x@y", "a@b\nBcc: x@y", "no address", "a@b, c@d", "\u00fc@x.org"]
)
def test_a_mailer_cannot_be_injected_into(bad: str) -> None:
    """One addr-spec of ASCII, or nothing is written."""
    with pytest.raises(UnprintableField):
        _wrapped(b"\r\n", header_policy=HeaderPolicy.HCP_ALL, mailer=bad)


@pytest.mark.parametrize("bad", ["<a>\r\nX: y", "<\u00fc>", "<a\0>"])
def test_a_message_id_cannot_be_injected_into(bad: str) -> None:
    """Printable ASCII, or nothing is written."""
    delivery = Delivery(DELIVERY.mailbox, DELIVERY.marker, DELIVERY.now, bad)
    policy = MailboxPolicy(header_policy=HeaderPolicy.HCP_ALL)
    with pytest.raises(UnprintableField):
        wrapped_outer_header(HeaderSection(()), policy, delivery, BOUNDARY)


@pytest.mark.parametrize(
    ("mailbox", "expected"),
    [
        ("alice@example.org", b"To: alice@example.org\r\n"),
        ("a..b@example.org", b'To: "a..b"@example.org\r\n'),
        ("\u00fc@example.org", b"To: undisclosed-recipients:;\r\n"),
    ],
)
def test_the_mailbox_is_shown_as_an_addr_spec(mailbox: str, expected: bytes) -> None:
    """Quoted where it must be; beyond ASCII nobody is named."""
    delivery = Delivery(Mailbox.parse(mailbox), DELIVERY.marker, DELIVERY.now, "<x@y>")
    policy = MailboxPolicy(header_policy=HeaderPolicy.HCP_ALL)

    octets = wrapped_outer_header(HeaderSection(()), policy, delivery, BOUNDARY).octets

    assert expected in octets


def test_an_ordinary_message_costs_little() -> None:
    """Payload head and edits for 25 fields: a tenth of a millisecond, with room for a busy host."""
    extra = b"".join(b"X-Header-%d: of ordinary length\r\n\tfolded once\r\n" % n for n in range(15))
    section, _ = split(extra + messages.PLAIN)

    def once() -> float:
        started = time.process_time()
        for _ in range(20):
            payload_head(section, Form.ROOT, inexact(section))
            header = wrapped_outer_header(section, MailboxPolicy(), DELIVERY, BOUNDARY)
            header.changes(), header.additions()
        return (time.process_time() - started) / 20

    assert 0.0004 > min(once() for _ in range(10))


def test_octets_beyond_ascii_stay_where_they_were() -> None:
    """They could not be written again; a field that needs no change is not touched."""
    header = _wrapped(b"X: \xff\r\nSubject: \xff\r\n\r\n")

    assert header.outside[0] is header.section.fields[0]
    assert HeaderField(b"Subject", b" [...]") == header.outside[1]


@given(messages.sections(), st.data())
def test_edits_of_what_was_made_of_a_section_are_edits_of_that_section(
    received: HeaderSection, data: st.DataObject
) -> None:
    """A submission is cleaned, then wrapped; Postfix holds what was handed in."""
    fates = [
        data.draw(st.sampled_from([field, None, HeaderField(field.name, b" new")]))
        for field in received.fields
    ]
    kept = tuple(fates)
    made = HeaderSection((*(f for f in fates if f is not None), HeaderField(b"Autocrypt", b" x")))
    header = wrapped_outer_header(made, MailboxPolicy(), DELIVERY, BOUNDARY)

    assert header.octets == _edited(header.over(received, kept))


def test_what_stays_readable_keeps_all_but_what_is_forged() -> None:
    """What we know goes in front."""
    section, _ = split(b"A: 1\r\nAuthentication-Results: us; x\r\nB: 2\r\n\r\n")
    ours = HeaderField(b"Authentication-Results", b" us; none")
    header = as_arrived(section, Recorded(ours, frozenset({1})))

    assert b"Authentication-Results: us; none\r\nA: 1\r\nB: 2\r\n" == header.octets
    assert header.octets == _edited(header)


def test_a_copy_that_leaves_does_not_say_who_encrypted_it() -> None:
    """The marker is for the mailboxes of the provider that writes it."""
    section, _ = split(b"From: a@x.org\r\n\r\n")
    delivery = replace(DELIVERY, marker=None)

    assert (
        b"Letterlock"
        not in wrapped_outer_header(section, MailboxPolicy(), delivery, BOUNDARY).octets
    )


@pytest.mark.parametrize(("marker", "expected"), [(DELIVERY.marker, []), (None, [b"Autocrypt"])])
def test_a_certificate_stays_outside_only_where_a_peer_is_to_learn_it(
    marker: Marker | None, expected: list[bytes]
) -> None:
    """In a copy that leaves (Autocrypt Level 1), but not in what is stored; gossip never."""
    section, _ = split(b"Autocrypt: addr=a@x.org; keydata=YQ==\r\nAutocrypt-Gossip: x\r\n\r\n")
    delivery = replace(DELIVERY, marker=marker)
    header = wrapped_outer_header(section, MailboxPolicy(), delivery, BOUNDARY)

    assert expected == [f.name for f in header.fields if f.key.startswith(b"autocrypt")]
