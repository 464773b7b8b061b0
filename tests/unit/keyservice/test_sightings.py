"""What a message from outside is evidence of, and what its sender's domain vouches for."""

import msgspec
import pytest

from autocrypt_mail import field, five_packets
from certificates import ALICE, BOB, sequoia
from keyservice.autocrypt import Fault
from keyservice.levels import Level, Source
from keyservice.mailbox import Mailbox
from keyservice.openpgp_field import Hint, read
from keyservice.report_wire import (
    ATTACHED_MAX,
    ATTACHED_OCTETS_MAX,
    FIELD_OCTETS_MAX,
    FIELDS_MAX,
    REPORT_OCTETS_MAX,
    Refused,
    Report,
    VerifiedSignature,
)
from keyservice.sightings import RefusedReport, Sighting, evidence

ALICES = Mailbox.parse("alice@example.org")
NOW = 1_795_000_000
OURS = frozenset({"ours.example"})
FIELD = field("alice@example.org", five_packets(ALICE))

SIGNATURE = VerifiedSignature(
    domain="example.org",
    signed_fields=("from", "to", "subject", "date", "autocrypt"),
    has_body_length=False,
)
REPORT = Report(
    from_fields=1,
    from_addresses=("Alice@Example.ORG",),
    received_at=NOW,
    date=NOW - 60,
    signatures=(SIGNATURE,),
    is_spam=False,
    autocrypt_fields=(FIELD,),
)
VOUCHED_FOR = Sighting(Source.AUTOCRYPT, Level.PROVIDER_TRUST, five_packets(ALICE))

FINGERPRINT = "0123456789abcdef0123456789abcdef01234567"
V6_FINGERPRINT = FINGERPRINT + "89abcdef0123456789abcdef"


def changed(report: Report = REPORT, **fields: object) -> Report:
    """Return the report of a message that differs."""
    return msgspec.structs.replace(report, **fields)


def signed(**fields: object) -> Report:
    """Return the report of a message whose signature differs."""
    return changed(signatures=(msgspec.structs.replace(SIGNATURE, **fields),))


def test_the_senders_domain_vouches_for_an_autocrypt_field() -> None:
    """With an aligned signature over From and Autocrypt it is worth PROVIDER_TRUST."""
    found = evidence(REPORT, OURS)

    assert (ALICES.key, NOW - 60) == (found.mailbox.key, found.effective_date)
    assert (VOUCHED_FOR,) == found.sightings
    assert found.header is not None


@pytest.mark.parametrize(
    "report",
    [
        pytest.param(changed(signatures=()), id="unsigned"),
        pytest.param(signed(domain="example.net"), id="signed by another domain"),
        pytest.param(signed(domain="org"), id="signed by a public suffix"),
        pytest.param(signed(domain="mail.example.org"), id="signed by a subdomain"),
        pytest.param(
            changed(
                signed(),
                from_addresses=("alice@sub.example.org",),
                autocrypt_fields=(
                    field("alice@sub.example.org", five_packets("alice@sub.example.org")),
                ),
            ),
            id="signed by a parent domain",
        ),
        pytest.param(signed(signed_fields=("to", "autocrypt")), id="From is not signed"),
        pytest.param(signed(signed_fields=("from", "to")), id="Autocrypt is not signed"),
        pytest.param(signed(has_body_length=True), id="l="),
        pytest.param(changed(is_spam=None), id="nobody looked for spam"),
        pytest.param(
            changed(autocrypt_fields=(FIELD, b" addr=alice@example.org; version=2; keydata=")),
            id="one of two fields is signed",
        ),
        pytest.param(
            changed(autocrypt_fields=(field("alice@example.org", five_packets(BOB)),)),
            id="the user ID names somebody else",
        ),
    ],
)
def test_what_nobody_vouches_for_is_weak(report: Report) -> None:
    """Each requirement alone decides."""
    (sighting,) = evidence(report, OURS).sightings

    assert (Source.AUTOCRYPT, Level.WEAK_CHAIN) == (sighting.source, sighting.level)


def test_requirements_are_met_by_one_signature_or_not_at_all() -> None:
    """Two signatures do not complete each other."""
    halves = (
        msgspec.structs.replace(SIGNATURE, domain="example.net"),
        msgspec.structs.replace(SIGNATURE, signed_fields=("from",)),
    )

    assert Level.WEAK_CHAIN is evidence(changed(signatures=halves), OURS).sightings[0].level
    assert (VOUCHED_FOR,) == evidence(changed(signatures=(*halves, SIGNATURE)), OURS).sightings


def test_a_signature_may_cover_every_one_of_several_fields() -> None:
    """A field of a later Autocrypt version beside ours is signed by naming it twice."""
    later = b" addr=alice@example.org; version=2; keydata="
    report = changed(
        autocrypt_fields=(later, FIELD),
        signatures=(
            msgspec.structs.replace(SIGNATURE, signed_fields=("from", "autocrypt", "autocrypt")),
        ),
    )

    found = evidence(report, OURS)

    assert (VOUCHED_FOR,) == found.sightings
    assert (Fault.CRITICAL_ATTRIBUTE,) == found.faults


@pytest.mark.parametrize(
    "address", ["alice@ours.example", "Alice@OURS.example", "alice@ours.example."]
)
def test_nobody_outside_says_anything_about_a_mailbox_of_ours(address: str) -> None:
    """However well it is signed, and whatever its spelling or kind."""
    report = changed(
        from_addresses=(address,),
        signatures=(msgspec.structs.replace(SIGNATURE, domain="ours.example"),),
        autocrypt_fields=(field(address, five_packets("alice@ours.example")),),
        attached=(sequoia("alice@ours.example").certificate,),
    )

    with pytest.raises(RefusedReport) as refused:
        evidence(report, OURS)
    assert Refused.LOCAL_MAILBOX is refused.value.reason


def test_a_field_about_a_mailbox_of_ours_in_somebody_elses_mail_counts_for_nothing() -> None:
    """The field must speak of the sender, so it cannot speak of ours."""
    report = changed(
        autocrypt_fields=(field("bob@ours.example", five_packets("bob@ours.example")),)
    )

    found = evidence(report, OURS)

    assert () == found.sightings
    assert (Fault.OTHER_MAILBOX,) == found.faults


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        (changed(is_spam=True), Refused.SPAM),
        (changed(is_automatic=True), Refused.AUTOMATIC),
        (changed(from_fields=2), Refused.NOT_ONE_SENDER),
        (changed(from_fields=0, from_addresses=()), Refused.NOT_ONE_SENDER),
        (
            changed(from_addresses=("alice@example.org", "bob@example.org")),
            Refused.NOT_ONE_SENDER,
        ),
        (changed(from_addresses=('"a b"@example.org',)), Refused.NOT_ONE_SENDER),
    ],
)
def test_some_mail_is_evidence_of_nothing(report: Report, reason: Refused) -> None:
    """Autocrypt Level 1's list, and senders that are no plain mailbox."""
    with pytest.raises(RefusedReport) as refused:
        evidence(report, OURS)

    assert reason is refused.value.reason


def test_mail_without_a_field_still_moves_the_table_of_peers() -> None:
    """That a client which had Autocrypt is silent is what the table remembers."""
    found = evidence(changed(autocrypt_fields=(), date=NOW + 60), OURS)

    assert (NOW, None, ()) == (found.effective_date, found.header, found.sightings)


def test_an_attached_certificate_is_weak_whatever_signed_the_mail() -> None:
    """It comes unread: vetting decides whether it names the sender at all."""
    attached = sequoia(ALICE).certificate

    found = evidence(changed(autocrypt_fields=(), attached=(attached,)), OURS)

    assert (Sighting(Source.ATTACHED, Level.WEAK_CHAIN, attached),) == found.sightings


def test_a_secret_key_in_a_field_is_told() -> None:
    """So that somebody can tell its owner."""
    report = changed(autocrypt_fields=(field("alice@example.org", sequoia(ALICE).secret),))

    assert (Fault.SECRET_KEY,) == evidence(report, OURS).faults


@pytest.mark.parametrize(
    "report",
    [
        changed(autocrypt_fields=(b" ",) * (FIELDS_MAX + 1)),
        changed(openpgp_fields=(b" " * (FIELD_OCTETS_MAX + 1),)),
        changed(attached=(b" ",) * (ATTACHED_MAX + 1)),
        changed(attached=(b" " * (ATTACHED_OCTETS_MAX + 1),)),
    ],
)
def test_a_report_with_more_than_anybody_sends_is_refused_at_the_door(report: Report) -> None:
    """Work for one message is bounded before any of it is done."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(report), type=Report)


def test_the_largest_report_there_can_be_has_room() -> None:
    """The limit on the whole follows from those on the parts."""
    fields = (b"x" * FIELD_OCTETS_MAX,) * FIELDS_MAX
    attached = (b"x" * ATTACHED_OCTETS_MAX,) * ATTACHED_MAX
    largest = changed(autocrypt_fields=fields, openpgp_fields=fields, attached=attached)

    octets = msgspec.json.encode(largest)

    assert len(octets) < REPORT_OCTETS_MAX
    assert largest == msgspec.json.decode(octets, type=Report)


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        (
            f" id={FINGERPRINT};\r\n url=https://example.org/k; preference=signencrypt",
            Hint(FINGERPRINT, "https://example.org/k"),
        ),
        (f' id="0x{FINGERPRINT.upper()}"', Hint(FINGERPRINT)),
        (" ID=0123 4567 89AB CDEF", Hint("0123456789abcdef")),
        (" id=89ABCDEF; url=x", Hint(None, "x")),
        (" nonsense", Hint()),
        (" id=\u00e9", Hint()),
        ("", Hint()),
    ],
)
def test_an_openpgp_field_is_a_hint(body: str, hint: Hint) -> None:
    """Fingerprints and long key IDs are understood, eight digits are not."""
    assert hint == read([body.encode()])
    assert Hint() == read([body.encode()] * 2)


@pytest.mark.parametrize(
    ("identity", "chosen"),
    [
        (FINGERPRINT, FINGERPRINT),
        (FINGERPRINT[-16:], FINGERPRINT),
        (V6_FINGERPRINT[:16], V6_FINGERPRINT),
        ("f" * 40, None),
        (None, None),
    ],
)
def test_a_hint_chooses_among_what_was_found(identity: str | None, chosen: str | None) -> None:
    """A key ID is the end of a version 4 fingerprint and the start of a version 6 one."""
    assert chosen == Hint(identity).chosen([FINGERPRINT, V6_FINGERPRINT, "e" * 40])


def test_a_hint_that_means_several_chooses_none() -> None:
    """Key IDs can be made to collide."""
    twins = ["a" * 24 + "0" * 16, "b" * 24 + "0" * 16]

    assert Hint("0" * 16).chosen(twins) is None


def test_a_url_is_followed_only_when_wkd_would_ask_it_anyway() -> None:
    """To the octet; no other URL that a stranger writes is ever contacted."""
    ours = "https://openpgpkey.example.org/.well-known/openpgpkey/example.org/hu/x?l=alice"

    assert Hint(url=ours).points_to([ours])
    assert not Hint(url=ours + "&x").points_to([ours])
    assert not Hint().points_to([ours])
