"""From the octets of a message to what it is evidence of: the milter's half, then the judge's."""

import time
from email.utils import parsedate_to_datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import messages
from autocrypt_mail import field, five_packets, message
from certificates import ALICE, BOB, sequoia
from keyservice.autocrypt import Fault, PreferEncrypt
from keyservice.levels import Level, Source
from keyservice.openpgp_field import Hint
from keyservice.report_wire import (
    FIELD_OCTETS_MAX,
    FIELDS_MAX,
    Refused,
    Report,
    VerifiedSignature,
)
from keyservice.sightings import Evidence, RefusedReport, evidence
from letterlock.attached import Attached
from letterlock.evidence import is_silent, report
from letterlock.message import HeaderSection, split

NOW = 1_795_000_000
SENT = b" Wed, 18 Nov 2026 07:00:00 +0100"
SENT_AT = int(parsedate_to_datetime(SENT.decode()).timestamp())
OURS = frozenset({"ours.example"})

VOUCHED_FOR = (Source.AUTOCRYPT, Level.PROVIDER_TRUST)
WEAK = (Source.AUTOCRYPT, Level.WEAK_CHAIN)
ATTACHED = (Source.ATTACHED, Level.WEAK_CHAIN)

FROM = ("From", b" Alice <alice@example.org>")
DATE = ("Date", SENT)
KEY = five_packets(ALICE)
AUTOCRYPT = ("Autocrypt", field("alice@example.org", KEY))
PLAIN = ("Content-Type", b" text/plain")


def signature(domain: str = "example.org", fields: str = "from autocrypt") -> VerifiedSignature:
    """Return what a DKIM signature says that verified."""
    return VerifiedSignature(
        domain=domain, signed_fields=tuple(fields.split()), has_body_length=False
    )


def reported(
    mail: bytes,
    signatures: tuple[VerifiedSignature, ...] = (signature(),),
    is_spam: bool | None = False,
) -> Report | None:
    """Return what the milter reports."""
    section, body = split(mail)
    attached = Attached(section)
    attached.write(body)
    return report(section, NOW, signatures, is_spam, attached.close())


def judged(*fields: tuple[str, bytes], **circumstances: object) -> Evidence:
    """Return what the key service makes of a message with these fields. Raises RefusedReport."""
    said = reported(message(*fields), **circumstances)
    assert said is not None
    # As it is transported.
    return evidence(msgspec.json.decode(msgspec.json.encode(said), type=Report), OURS)


def worth(found: Evidence) -> list[tuple[Source, Level]]:
    """Return what is noted, and at which level."""
    return [(sighting.source, sighting.level) for sighting in found.sightings]


def test_a_signed_mail_with_a_field_is_believed() -> None:
    """Header, date, preference and level all arrive."""
    mutual = field("alice@example.org", KEY, attributes="prefer-encrypt=mutual; ")
    found = judged(FROM, DATE, PLAIN, ("Autocrypt", mutual))

    assert [VOUCHED_FOR] == worth(found)
    assert ("alice@example.org", SENT_AT) == (found.mailbox.key, found.effective_date)
    assert found.header is not None
    assert (KEY, PreferEncrypt.MUTUAL) == (found.header.keydata, found.header.prefer_encrypt)


@pytest.mark.parametrize(
    "circumstances",
    [
        {"signatures": ()},
        {"signatures": (signature("mallory.example"),)},
        {"signatures": (signature(fields="from to subject"),)},
        {"signatures": (signature("mallory.example"), signature(fields="from"))},
        {"is_spam": None},
    ],
)
def test_a_forged_field_is_weak(circumstances: dict[str, object]) -> None:
    """Whoever signs for another domain, or for other fields, vouches for nothing."""
    assert [WEAK] == worth(judged(FROM, DATE, AUTOCRYPT, **circumstances))


@pytest.mark.parametrize(
    "sender",
    [
        b" alice@example.org",
        b' "Alice (not Bob)" <Alice@Example.ORG>',
        b" Alice\r\n (with a comment)\r\n <alice@example.org>",
        b" =?utf-8?q?bob=40ours=2Eexample?= <alice@example.org>",
        b" alice (c) @ example . org",
    ],
)
def test_the_sender_is_read_as_the_grammar_has_it(sender: bytes) -> None:
    """Display names, comments and folds are no part of an address."""
    assert [VOUCHED_FOR] == worth(judged(("From", sender), DATE, AUTOCRYPT))


@pytest.mark.parametrize(
    "senders",
    [
        (b" alice@example.org, bob@example.org",),
        (b" alice@example.org", b" alice@example.org"),
        (b" alice@example.org", b" bob@example.org"),
        (b' "a b"@example.org',),
    ],
)
def test_several_senders_are_none(senders: tuple[bytes, ...]) -> None:
    """Level 1 wants one From field with one address; which one a client shows is luck."""
    with pytest.raises(RefusedReport) as refused:
        judged(*(("From", each) for each in senders), DATE, AUTOCRYPT)

    assert Refused.NOT_ONE_SENDER is refused.value.reason


@pytest.mark.parametrize(
    "senders",
    [
        (),
        (b"",),
        (b" friends: alice@example.org;",),
        (b" alice@example.org <bob@example.org>",),
        (b" alice@example.org", b" @@"),
        (b" <alice@example.org",),
        (" älice@example.org".encode(),),
        (b" a@b.example" + b", a@b.example" * FIELDS_MAX,),
    ],
)
def test_a_sender_whom_nobody_understands_is_not_reported(senders: tuple[bytes, ...]) -> None:
    """Two programs could read two senders out of it."""
    assert reported(message(*(("From", each) for each in senders), DATE, AUTOCRYPT)) is None


@pytest.mark.parametrize(
    ("dates", "effective"),
    [
        ((SENT,), SENT_AT),
        ((b" 18 Nov 2026 06:00 GMT (a comment)",), SENT_AT),
        ((b" Wed, 18 Nov 2026 06:00:00 -0000",), SENT_AT),
        ((b" Wed,\r\n 18 Nov 2026 07:00:00\r\n +0100",), SENT_AT),
        ((b" Tue, 18 Nov 2036 07:00:00 +0100",), NOW),
        ((), NOW),
        ((SENT, SENT), NOW),
        ((b" yesterday",), NOW),
        ((b" Wed, 32 Nov 2026 07:00:00 +0100",), NOW),
        ((b" Wed, 18 Nov 2026 07:00:00 +9999",), NOW),
        ((b" Fri, 31 Dec 9999 23:59:59 -2359",), NOW),
        ((b" 2026-11-18T07:00:00+01:00",), NOW),
    ],
    ids=repr,
)
def test_the_effective_date(dates: tuple[bytes, ...], effective: int) -> None:
    """A Date that is missing, to come, doubled or unreadable counts as the time of receipt."""
    found = judged(FROM, *(("Date", each) for each in dates), AUTOCRYPT)

    assert effective == found.effective_date


@pytest.mark.parametrize(
    "fields",
    [
        [("Content-Type", b" multipart/report; report-type=delivery-status")],
        [("content-type", b"\r\n Multipart/REPORT;x=y;x=z")],
        [("Content-Type", b" text/plain"), ("Content-Type", b" multipart/report")],
        [("Auto-Submitted", b" auto-replied")],
        [("Auto-Submitted", b" Auto-Replied (vacation); owner=x")],
        [("Auto-Submitted", b" no"), ("Auto-Submitted", b" auto-replied")],
    ],
)
def test_reports_and_replies_by_programs_say_nothing(fields: list[tuple[str, bytes]]) -> None:
    """Level 1, "Updating Autocrypt Peer State"; however the type is written."""
    with pytest.raises(RefusedReport) as refused:
        judged(FROM, DATE, AUTOCRYPT, *fields)

    assert Refused.AUTOMATIC is refused.value.reason


@pytest.mark.parametrize(
    "fields",
    [
        [("Content-Type", b" multipart/reported")],
        [("Auto-Submitted", b" auto-generated")],
        [("Auto-Submitted", b" no")],
    ],
)
def test_what_resembles_them_is_a_mail(fields: list[tuple[str, bytes]]) -> None:
    """Nor is every program's mail a reply."""
    assert [VOUCHED_FOR] == worth(judged(FROM, DATE, AUTOCRYPT, *fields))


def test_spam_says_nothing() -> None:
    """The one thing Level 1 offers against junk in somebody's name."""
    with pytest.raises(RefusedReport) as refused:
        judged(FROM, DATE, AUTOCRYPT, is_spam=True)

    assert Refused.SPAM is refused.value.reason


def altered(old: bytes, new: bytes) -> bytes:
    """Return the good field with something in it replaced."""
    assert old in AUTOCRYPT[1]
    return AUTOCRYPT[1].replace(old, new, 1)


_LATER = altered(b"addr", b"version=2; addr")
_OVERSIZED = AUTOCRYPT[1] + b"\r\n " * 3_500
_HUGE = AUTOCRYPT[1] + b"\r\n " * 8_000


@pytest.mark.parametrize(
    ("bodies", "level", "faults"),
    [
        ([AUTOCRYPT[1]] * 2, None, [Fault.SEVERAL] * 2),
        ([AUTOCRYPT[1], _LATER], Level.WEAK_CHAIN, [Fault.CRITICAL_ATTRIBUTE]),
        ([_LATER, AUTOCRYPT[1]], Level.WEAK_CHAIN, [Fault.CRITICAL_ATTRIBUTE]),
        ([_OVERSIZED], None, [Fault.TOO_LARGE]),
        ([_HUGE], None, [Fault.TOO_LARGE]),
        ([_HUGE, AUTOCRYPT[1]], Level.WEAK_CHAIN, [Fault.TOO_LARGE]),
        ([_LATER], None, [Fault.CRITICAL_ATTRIBUTE]),
        ([altered(b"addr", b"_colour=blue; addr")], Level.PROVIDER_TRUST, []),
        ([altered(b"keydata", b"prefer-encrypt=perhaps; keydata")], Level.PROVIDER_TRUST, []),
        ([AUTOCRYPT[1] + b"; prefer-encrypt=mutual"], None, [Fault.MALFORMED]),
        ([altered(b"=\r\n ", b"=\r\n !")], None, [Fault.MALFORMED]),
        ([altered(b"alice@", b"bob@")], None, [Fault.OTHER_MAILBOX]),
        ([altered(b"alice@", b"alice+lists@")], None, [Fault.OTHER_MAILBOX]),
        ([field("alice@example.org", sequoia(ALICE).secret)], None, [Fault.SECRET_KEY]),
        ([field("alice@example.org", five_packets(BOB))], Level.WEAK_CHAIN, []),
        ([b""], None, [Fault.MALFORMED]),
    ],
)
def test_fields_that_are_odd(bodies: list[bytes], level: Level | None, faults: list[Fault]) -> None:
    """Each counts for what Level 1 says; a signature that names the field once covers one."""
    found = judged(FROM, DATE, *(("Autocrypt", each) for each in bodies))

    assert faults == list(found.faults)
    assert ([] if level is None else [(Source.AUTOCRYPT, level)]) == worth(found)


def test_a_field_that_is_cut_still_counts_as_one() -> None:
    """How many there are decides which of them a signature covers."""
    said = reported(message(FROM, ("Autocrypt", _HUGE), AUTOCRYPT))

    assert said is not None
    assert [FIELD_OCTETS_MAX, len(AUTOCRYPT[1])] == [len(each) for each in said.autocrypt_fields]


@pytest.mark.parametrize("name", ["Autocrypt", "OpenPGP", "openpgp"])
def test_more_fields_than_anybody_writes_are_not_reported(name: str) -> None:
    """Not the first of them either: it would not be known whether that is signed."""
    assert reported(message(FROM, *[(name, b" x=y")] * FIELDS_MAX)) is not None
    assert reported(message(FROM, *[(name, b" x=y")] * (FIELDS_MAX + 1))) is None


LISTED = ("List-Id", b" Talk <talk.lists.example>")


def test_a_list_that_takes_the_mail_as_its_own_is_the_sender() -> None:
    """From is the list's, the field is the author's: it speaks of another mailbox."""
    via = ("From", b' "Alice via Talk" <talk@lists.example>')
    reply_to = ("Reply-To", b" alice@example.org")
    found = judged(via, reply_to, DATE, LISTED, AUTOCRYPT, signatures=(signature("lists.example"),))

    assert ([], (Fault.OTHER_MAILBOX,)) == (worth(found), found.faults)
    assert "talk@lists.example" == found.mailbox.key


def test_a_list_that_breaks_the_signature_leaves_a_weak_field() -> None:
    """With a footer and a signature of the list's own; one that changes nothing is no news."""
    by_list = (signature("lists.example"),)

    assert [WEAK] == worth(judged(FROM, DATE, LISTED, AUTOCRYPT, signatures=by_list))
    assert [VOUCHED_FOR] == worth(judged(FROM, DATE, LISTED, AUTOCRYPT))


def test_gossip_in_clear_is_ignored() -> None:
    """Anybody can write it there; it counts inside of an encrypted payload only."""
    gossip = ("Autocrypt-Gossip", field("bob@example.org", five_packets(BOB)))
    said = reported(message(FROM, DATE, gossip))

    assert said is not None
    assert is_silent(said)
    assert five_packets(BOB) not in msgspec.json.encode(said)
    assert () == judged(FROM, DATE, gossip, AUTOCRYPT).faults


def test_an_openpgp_field_is_a_hint() -> None:
    """Reported, and no certificate."""
    found = judged(FROM, DATE, ("OpenPGP", b" id=" + b"ab" * 20), signatures=())

    assert ([], Hint("ab" * 20)) == (worth(found), found.hint)


def test_an_attached_certificate_is_weak_whatever_signed_the_mail() -> None:
    """Taken out of the multipart it came in; without the field that is a sighting, too."""
    mail = message(
        FROM,
        DATE,
        ("Content-Type", b" multipart/mixed; boundary=b"),
        body=b"--b\r\n\r\nhello\r\n--b\r\nContent-Type: application/pgp-keys\r\n\r\n%b\r\n--b--\r\n"
        % b"certificate",
    )
    said = reported(mail)
    assert said is not None
    found = evidence(said, OURS)

    assert ([ATTACHED], b"certificate") == (worth(found), found.sightings[0].octets)


@pytest.mark.parametrize("sender", ["bob@ours.example", "Bob@OURS.Example"])
def test_mail_in_the_name_of_a_mailbox_of_ours_is_refused(sender: str) -> None:
    """Field, hint and attachment, and signed by everybody who could."""
    with pytest.raises(RefusedReport) as refused:
        judged(
            ("From", f" {sender}".encode()),
            ("Autocrypt", field(sender, five_packets(sender))),
            ("OpenPGP", b" id=" + b"ab" * 20),
            signatures=(signature("ours.example"),),
        )

    assert Refused.LOCAL_MAILBOX is refused.value.reason


@pytest.mark.parametrize(
    ("fields", "circumstances"),
    [
        ([FROM], {"signatures": ()}),
        ([FROM], {"signatures": (signature("lists.example"),)}),
        ([FROM], {"is_spam": True}),
        ([FROM, LISTED], {}),
        ([FROM, ("List-Unsubscribe", b" <https://x.example>")], {}),
        ([FROM, ("Auto-Submitted", b" auto-generated")], {}),
        ([FROM, ("Content-Type", b" multipart/report")], {}),
        ([("From", b" alice@example.org, bob@example.org")], {}),
        ([("From", b' "a b"@example.org')], {}),
    ],
)
def test_silence_that_means_nothing_is_not_reported(
    fields: list[tuple[str, bytes]], circumstances: dict[str, object]
) -> None:
    """Anybody could make it look as if Alice had given up Autocrypt, and newsletters are many."""
    assert reported(message(*fields, DATE), **circumstances) is None


@pytest.mark.parametrize("domain", ["example.org", "EXAMPLE.org"])
def test_silence_of_a_sender_is_reported(domain: str) -> None:
    """Level 1 wants to know when a peer was seen without Autocrypt."""
    submitted = ("Auto-Submitted", b" no")
    found = judged(FROM, DATE, submitted, signatures=(signature(domain, "from"),), is_spam=None)

    assert (None, SENT_AT, []) == (found.header, found.effective_date, worth(found))


@given(
    messages.sections(),
    st.lists(st.sampled_from([b"Autocrypt", b"OpenPGP", b"From", b"Date"]), max_size=4),
    st.binary(max_size=40).map(lambda octets: octets.replace(b"\n", b" ")),
)
def test_whatever_comes_the_key_service_understands_the_report(
    section: HeaderSection, names: list[bytes], value: bytes
) -> None:
    """A message is no report, or one that passes the door."""
    more = split(b"".join(b"%b:%b\r\n" % (name, value) for name in names))[0]
    said = report(
        HeaderSection((*section.fields, *more.fields)), NOW, (signature(),) * 20, None, ()
    )

    if said is not None:
        assert said == msgspec.json.decode(msgspec.json.encode(said), type=Report)


def test_a_hostile_header_section_costs_little() -> None:
    """As much as Postfix lets through: two thousand long fields of each kind."""
    names = [b"From", b"Date", b"Autocrypt", b"Auto-Submitted", b"Content-Type"]
    octets = b"".join(b"%b: %b\r\n" % (name, b"( ;\\" * 100) for name in names * 500)
    section, _ = split(octets)
    started = time.process_time()

    assert report(section, NOW, (), None, ()) is None
    assert time.process_time() - started < 1
