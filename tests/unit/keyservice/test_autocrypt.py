"""Autocrypt fields, the table of peers and the recommendation are as Level 1 has them."""

from collections.abc import Mapping
from datetime import datetime
from email.utils import format_datetime, parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocrypt_mail import bodies, field, five_packets, message
from certificates import ALICE, BOB, sequoia
from keyservice.autocrypt import (
    FIELD_OCTETS_MAX,
    GOSSIP,
    Fault,
    Header,
    InvalidField,
    PreferEncrypt,
    Reading,
    effective_date,
    gossiped_to,
    parse,
    sent_by,
)
from keyservice.autocrypt_peer import (
    Peer,
    Recommendation,
    UIRecommendation,
    gossiped,
    recommend,
    updated,
)
from keyservice.mailbox import Mailbox

ALICES = Mailbox.parse("alice@example.org")
BOBS = Mailbox.parse("bob@example.org")
CAROLS = Mailbox.parse("carol@example.org")

NOW = 1_795_000_000
DAY = 86_400
MUTUAL, NOPREFERENCE = PreferEncrypt.MUTUAL, PreferEncrypt.NOPREFERENCE
DISABLE, DISCOURAGE = UIRecommendation.DISABLE, UIRecommendation.DISCOURAGE
AVAILABLE, ENCRYPT = UIRecommendation.AVAILABLE, UIRecommendation.ENCRYPT

CERTIFICATE = b"certificate"
GOSSIPED = b"gossiped certificate"


def header(preference: PreferEncrypt = NOPREFERENCE, keydata: bytes = CERTIFICATE) -> Header:
    """Return a header for Bob; the table never looks into its certificate."""
    return Header(BOBS.key, keydata, preference)


def fault_of(body: bytes) -> Fault:
    """Return why a field is invalid."""
    with pytest.raises(InvalidField) as invalid:
        parse(body)
    return invalid.value.fault


def advice(
    *peers: Peer | None,
    own: PreferEncrypt = NOPREFERENCE,
    reply: bool = False,
    unusable: frozenset[bytes] = frozenset(),
) -> Recommendation:
    """Return the recommendation for a message to peers 0, 1 and so on."""
    rows: Mapping[str, Peer | None] = {str(number): peer for number, peer in enumerate(peers)}
    return recommend(
        rows, own, reply_to_encrypted=reply, is_usable=lambda octets: octets not in unusable
    )


@pytest.mark.parametrize(
    ("attributes", "preference"),
    [
        ("", NOPREFERENCE),
        ("prefer-encrypt=mutual; ", MUTUAL),
        ("prefer-encrypt=always; ", NOPREFERENCE),
        ("_colour=blue=green; prefer-encrypt=mutual; ", MUTUAL),
    ],
)
def test_a_folded_field_is_read(attributes: str, preference: PreferEncrypt) -> None:
    """Folding and attributes with an underscore mean nothing; only `mutual` is a preference."""
    body = field("Alice@Example.ORG", five_packets(ALICE), attributes=attributes)

    assert Header(ALICES.key, five_packets(ALICE), preference) == parse(body)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (field("a@example.org", five_packets(ALICE), attributes="type=1; "), "critical_attribute"),
        (field("a@example.org", five_packets(ALICE), attributes="addr=b@b; "), "malformed"),
        (field("a@example.org", five_packets(ALICE)) + b"; addr=b@example.org", "malformed"),
        (field("a@example.org", five_packets(ALICE)) + b"; _last=1", "malformed"),
        (field("a@example.org", five_packets(ALICE)) + b"!", "malformed"),
        (field("no address", five_packets(ALICE)), "malformed"),
        (field("a@example.org", five_packets(ALICE)[:-9]), "malformed"),
        (field("a@example.org", five_packets(ALICE), attributes="flag; "), "malformed"),
        (b" keydata=" + field("", five_packets(ALICE)).partition(b"keydata=")[2], "malformed"),
        (b" addr=a@example.org", "malformed"),
        (b" addr=a@example.org; keydata=\xff", "malformed"),
        (b"", "malformed"),
        (b" addr=a@example.org; keydata=", "not_five_packets"),
        (field("a@example.org", sequoia(ALICE).certificate), "not_five_packets"),
        (field("a@example.org", five_packets(ALICE) * 2), "not_five_packets"),
        (field("a@example.org", sequoia(ALICE).secret), "secret_key"),
    ],
)
def test_an_invalid_field_says_why(body: bytes, fault: str) -> None:
    """Each way of being wrong makes the whole field count for nothing."""
    assert Fault(fault) is fault_of(body)


def test_a_field_has_ten_kibibytes_at_most() -> None:
    """The name, the colon and the folding are counted; one octet decides."""
    body = field("a@example.org", five_packets(ALICE))
    room = FIELD_OCTETS_MAX - len("Autocrypt:") - len(body)

    assert parse(body + b" " * room).addr == "a@example.org"
    assert Fault.TOO_LARGE is fault_of(body + b" " * (room + 1))


def test_the_address_must_be_the_senders() -> None:
    """Bob cannot say anything about Alice."""
    body = field("alice@example.org", five_packets(ALICE))

    assert Reading(None, (Fault.OTHER_MAILBOX,)) == sent_by([body], BOBS)
    assert sent_by([body], ALICES).header is not None


def test_of_several_fields_exactly_one_must_be_valid() -> None:
    """Invalid ones hide a later version and do no harm; two valid ones cancel each other."""
    good = field("alice@example.org", five_packets(ALICE))
    later = field("alice@example.org", five_packets(ALICE), attributes="version=2; ")

    assert parse(good) == sent_by([later, good], ALICES).header
    assert Reading(None, (Fault.SEVERAL, Fault.SEVERAL)) == sent_by([good, good], ALICES)


@given(st.binary(max_size=200) | st.text(alphabet="adr=;_keydata @.AQ \r\n").map(str.encode))
def test_reading_a_field_never_fails_otherwise(body: bytes) -> None:
    """Any octets are a header or InvalidField."""
    try:
        parse(body)
    except InvalidField:
        return


def test_a_simple_autocrypt_mail() -> None:
    """One field in the outer header section, folded, between others."""
    mail = message(
        ("Delivered-To", b" <bob@example.org>"),
        ("From", b" Alice <alice@example.org>"),
        ("To", b" Bob <bob@example.org>"),
        ("Subject", b" an Autocrypt header example"),
        (
            "Autocrypt",
            field(
                "alice@example.org", five_packets(ALICE), attributes="prefer-encrypt=mutual;\r\n "
            ),
        ),
        ("Date", b" Fri, 20 Nov 2026 09:00:00 +0000"),
        ("MIME-Version", b" 1.0"),
        ("Content-Type", b" text/plain"),
    )

    reading = sent_by(bodies(mail, "Autocrypt"), ALICES)

    assert Reading(Header(ALICES.key, five_packets(ALICE), MUTUAL)) == reading


def test_a_gossip_payload() -> None:
    """The root of the decrypted payload speaks of several addressees and of nobody else."""
    payload = message(
        ("Autocrypt-Gossip", field("bob@example.org", five_packets(BOB))),
        ("Autocrypt-Gossip", field("carol@example.org", five_packets("carol@example.org"))),
        ("Autocrypt-Gossip", field("mallory@example.net", five_packets(ALICE))),
        ("Content-Type", b" text/plain"),
    )

    headers = gossiped_to(bodies(payload, GOSSIP), [BOBS, CAROLS])

    assert [BOBS.key, CAROLS.key] == [each.addr for each in headers]
    assert five_packets(BOB) == headers[0].keydata


def test_a_setup_message_is_a_message_like_others() -> None:
    """What it carries for the owner's other client is his; its field is read."""
    mail = message(
        ("Autocrypt-Setup-Message", b" v1"),
        ("From", b" alice@example.org"),
        ("To", b" alice@example.org"),
        ("Autocrypt", field("alice@example.org", five_packets(ALICE))),
        ("Autocrypt-Draft-State", b" encrypt=no; _by-choice=yes;"),
    )

    assert 1 == len(bodies(mail, "Autocrypt"))
    assert sent_by(bodies(mail, "Autocrypt"), ALICES).header is not None


def test_the_effective_date_is_never_to_come() -> None:
    """A Date that is missing or in the future counts as the time of receipt."""
    past: datetime = parsedate_to_datetime("Fri, 20 Nov 2026 09:00:00 +0100")
    assert "Fri, 20 Nov 2026 09:00:00 +0100" == format_datetime(past)

    assert int(past.timestamp()) == effective_date(int(past.timestamp()), 2 * NOW)
    assert NOW == effective_date(NOW, NOW)
    assert NOW == effective_date(NOW + 1, NOW)
    assert NOW == effective_date(None, NOW)


def test_mail_with_a_header_makes_a_row() -> None:
    """Steps 2, 4, 5 and 6."""
    assert Peer(
        last_seen=NOW, autocrypt_timestamp=NOW, public_key=CERTIFICATE, prefer_encrypt=MUTUAL
    ) == updated(None, NOW, header(MUTUAL))


def test_mail_without_a_header_is_seen_only() -> None:
    """Step 3: certificate and preference stay as the youngest header had them."""
    peer = updated(None, NOW, header(MUTUAL))

    assert Peer(
        last_seen=NOW + DAY, autocrypt_timestamp=NOW, public_key=CERTIFICATE, prefer_encrypt=MUTUAL
    ) == updated(peer, NOW + DAY, None)


def test_older_mail_changes_nothing() -> None:
    """Step 1: mail arrives in any order, the youngest header wins."""
    peer = updated(None, NOW, header(MUTUAL))

    assert peer == updated(peer, NOW - 1, header(keydata=b"older"))
    assert peer == updated(peer, NOW - 1, None)


def test_mail_of_the_same_second_counts() -> None:
    """Step 1 says older, not as old."""
    peer = updated(None, NOW, header())

    assert b"other" == updated(peer, NOW, header(keydata=b"other")).public_key


def test_a_header_between_two_mails_is_taken_without_going_back() -> None:
    """Step 2: what was seen last stays last when a younger header comes late."""
    peer = updated(updated(None, NOW, header()), NOW + 2 * DAY, None)

    late = updated(peer, NOW + DAY, header(keydata=b"late"))

    assert (NOW + 2 * DAY, NOW + DAY, b"late") == (
        late.last_seen,
        late.autocrypt_timestamp,
        late.public_key,
    )


def test_gossip_has_columns_of_its_own() -> None:
    """What others say never touches what the peer said, and older gossip is dropped."""
    peer = gossiped(updated(None, NOW, header()), NOW + 1, header(keydata=GOSSIPED))

    assert (NOW, NOW, CERTIFICATE) == (peer.last_seen, peer.autocrypt_timestamp, peer.public_key)
    assert (NOW + 1, GOSSIPED) == (peer.gossip_timestamp, peer.gossip_key)
    assert peer == gossiped(peer, NOW, header(keydata=b"older"))
    assert b"as old" == gossiped(peer, NOW + 1, header(keydata=b"as old")).gossip_key


@given(st.permutations([(NOW + at, header(keydata=bytes([at]))) for at in range(4)]))
def test_the_youngest_header_wins_in_any_order(mails: list[tuple[int, Header]]) -> None:
    """Headers of different seconds give the same row however they arrive."""
    peer = None
    for date, seen in mails:
        peer = updated(peer, date, seen)

    assert Peer(last_seen=NOW + 3, autocrypt_timestamp=NOW + 3, public_key=b"\x03") == peer


FRESH = updated(None, NOW, header())
WILLING = updated(None, NOW, header(MUTUAL))
OUTDATED = updated(WILLING, NOW + 35 * DAY + 1, None)
BY_GOSSIP = gossiped(None, NOW, header(keydata=GOSSIPED))
WITHOUT = updated(None, NOW, None)


@pytest.mark.parametrize(
    ("peer", "own", "reply", "expected"),
    [
        (None, MUTUAL, True, DISABLE),
        (WITHOUT, MUTUAL, True, DISABLE),
        (FRESH, NOPREFERENCE, False, AVAILABLE),
        (FRESH, MUTUAL, False, AVAILABLE),
        (FRESH, NOPREFERENCE, True, ENCRYPT),
        (WILLING, NOPREFERENCE, False, AVAILABLE),
        (WILLING, MUTUAL, False, ENCRYPT),
        (updated(WILLING, NOW + 1, None), MUTUAL, False, ENCRYPT),
        (updated(WILLING, NOW + 1, header()), MUTUAL, False, AVAILABLE),
        (updated(WILLING, NOW + 35 * DAY, None), MUTUAL, False, ENCRYPT),
        (OUTDATED, MUTUAL, False, DISCOURAGE),
        (OUTDATED, NOPREFERENCE, True, ENCRYPT),
        (BY_GOSSIP, MUTUAL, False, DISCOURAGE),
        (BY_GOSSIP, NOPREFERENCE, True, ENCRYPT),
    ],
)
def test_one_recipient(
    peer: Peer | None, own: PreferEncrypt, reply: bool, expected: UIRecommendation
) -> None:
    """By certificate, age, both preferences and whether an encrypted message is answered."""
    assert expected is advice(peer, own=own, reply=reply).ui


def test_old_mail_is_fresh_while_nothing_came_after_it() -> None:
    """The age is that of the header beside other mail, not beside the clock."""
    assert AVAILABLE is advice(updated(None, NOW - 3650 * DAY, header())).ui


def test_the_peers_own_certificate_goes_before_gossip() -> None:
    """Gossip is encrypted to only while nothing of the peer's own can be."""
    both = gossiped(FRESH, NOW, header(keydata=GOSSIPED))

    assert Recommendation(AVAILABLE, {"0": CERTIFICATE}) == advice(both)
    assert Recommendation(DISCOURAGE, {"0": GOSSIPED}) == advice(
        both, unusable=frozenset({CERTIFICATE})
    )
    assert Recommendation(DISABLE, {}) == advice(both, unusable=frozenset({CERTIFICATE, GOSSIPED}))


@pytest.mark.parametrize(
    ("peers", "expected"),
    [
        ((WILLING, WILLING), ENCRYPT),
        ((WILLING, FRESH), AVAILABLE),
        ((WILLING, OUTDATED), DISCOURAGE),
        ((FRESH, BY_GOSSIP), DISCOURAGE),
        ((WILLING, None), DISABLE),
        ((OUTDATED, WITHOUT), DISABLE),
        ((), DISABLE),
    ],
)
def test_several_recipients(peers: tuple[Peer | None, ...], expected: UIRecommendation) -> None:
    """The most careful opinion counts; encryption by default needs all of them."""
    assert expected is advice(*peers, own=MUTUAL).ui


def test_a_reply_to_all_is_encrypted_when_it_can_be() -> None:
    """An answer to an encrypted message is encrypted to everybody, or the person decides."""
    assert ENCRYPT is advice(FRESH, OUTDATED, BY_GOSSIP, reply=True).ui
    assert Recommendation(DISABLE, {"0": CERTIFICATE}) == advice(FRESH, None, reply=True)
