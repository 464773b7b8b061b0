"""What milters report becomes evidence about peers, Autocrypt's table, or nothing."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from autocrypt_mail import field, five_packets
from certificates import gallery, sequoia
from keyservice.autocrypt import PreferEncrypt
from keyservice.autocrypt_peer import UIRecommendation
from keyservice.intake import Shown
from keyservice.levels import Level, Source
from keyservice.packets import fingerprint, split
from keyservice.peer_wire import PeerOutcome
from keyservice.replacement import DAY
from keyservice.report_wire import Refused, Report, VerifiedSignature
from keyservice.reports import STRANGERS_MAX
from peer_world import ALICE, PeerWorld

USER_ID = "alice@example.org"
SIGNED = VerifiedSignature(
    domain="example.org", signed_fields=("from", "autocrypt", "subject"), has_body_length=False
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PeerWorld]:
    """Nobody is asked: what counts is what mail brings."""
    world = PeerWorld(tmp_path / "k.sqlite", methods=[])
    yield world
    world.close()


def message(world: PeerWorld, **changes: object) -> Report:
    """Return a message of Alice's with an Autocrypt field that her domain vouches for."""
    report = Report(
        from_fields=1,
        from_addresses=(USER_ID,),
        received_at=int(world.now()),
        signatures=(SIGNED,),
        is_spam=False,
        autocrypt_fields=(field(USER_ID, five_packets(USER_ID)),),
    )
    return msgspec.structs.replace(report, **changes)


def identity(octets: bytes) -> str:
    """Return a certificate's fingerprint."""
    return fingerprint(split(octets)[0])


def test_a_vouched_for_autocrypt_field_makes_first_contact(world: PeerWorld) -> None:
    """Its level is 2, and Autocrypt's own recommendation stands beside it."""
    reported = world.report(message(world))
    answer = world.answer()

    assert [(Source.AUTOCRYPT, Level.PROVIDER_TRUST)] == [
        (noted.source, noted.level) for noted in reported.noted
    ]
    assert (PeerOutcome.FOUND, Source.AUTOCRYPT) == (answer.outcome, answer.source)
    assert answer.autocrypt is not None
    assert UIRecommendation.AVAILABLE is answer.autocrypt.recommendation
    assert identity(five_packets(USER_ID)) == answer.autocrypt.fingerprint == answer.fingerprint
    assert 1 == world.counted("reports", result="noted")


def test_without_a_signature_it_is_weak(world: PeerWorld) -> None:
    """Autocrypt would take it; we do not. Both are said."""
    mutual = field(USER_ID, five_packets(USER_ID), attributes="prefer-encrypt=mutual; ")
    world.report(message(world, signatures=(), autocrypt_fields=(mutual,)))
    answer = world.answer()

    assert PeerOutcome.NOT_FOUND is answer.outcome
    assert "too weak" in answer.conflicts[0]
    assert answer.autocrypt is not None
    assert PreferEncrypt.MUTUAL is answer.autocrypt.prefer_encrypt
    assert UIRecommendation.AVAILABLE is answer.autocrypt.recommendation


def test_the_table_follows_the_mail(world: PeerWorld) -> None:
    """Weeks of mail without the field, and Autocrypt discourages."""
    world.report(message(world))
    world.pass_time(40 * DAY)
    later = message(world, autocrypt_fields=())
    world.report(later)
    answer = world.answer()

    assert answer.autocrypt is not None
    assert UIRecommendation.DISCOURAGE is answer.autocrypt.recommendation
    assert PeerOutcome.FOUND is answer.outcome


def test_attached_certificates_are_weak_whatever_is_signed(world: PeerWorld) -> None:
    """People attach each other's."""
    octets = gallery()["alice_armored"]
    reported = world.report(message(world, autocrypt_fields=(), attached=(octets,)))

    assert [(Source.ATTACHED, Level.WEAK_CHAIN)] == [(n.source, n.level) for n in reported.noted]
    assert PeerOutcome.NOT_FOUND is world.answer().outcome
    assert ["attached"] == [sighting.source for sighting in world.explain().evidence]


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"from_addresses": ("alice@ours.example",)}, Refused.LOCAL_MAILBOX),
        ({"from_addresses": ("alice@OURS.example",)}, Refused.LOCAL_MAILBOX),
        ({"from_addresses": (USER_ID, "bob@example.org")}, Refused.NOT_ONE_SENDER),
        ({"from_addresses": ('"a b"@example.org',)}, Refused.NOT_ONE_SENDER),
        ({"is_spam": True}, Refused.SPAM),
        ({"is_automatic": True}, Refused.AUTOMATIC),
    ],
)
def test_what_counts_for_nothing_says_why(
    world: PeerWorld, changes: dict[str, object], refused: Refused
) -> None:
    """And leaves no trace: of a mailbox of ours least of all."""
    reported = world.report(message(world, **changes))

    assert refused is reported.refused
    assert () == reported.noted
    assert 1 == world.counted("reports", result=refused.value)
    assert () == world.explain().evidence


def test_the_same_mail_again_and_again_is_one_sighting(world: PeerWorld) -> None:
    """A quarter of a day at a time: the database does not grow with the mail."""
    for _ in range(20):
        world.report(message(world))
    assert 1 == len(world.explain().evidence)
    world.pass_time(DAY / 2)
    world.report(message(world))
    assert 2 == len(world.explain().evidence)


def test_a_flood_of_certificates_is_cut_off(world: PeerWorld) -> None:
    """Anybody can send mail in somebody's name; what was known before still counts."""
    first = gallery()["alice"]
    attached = [first, *(sequoia(USER_ID).certificate for _ in range(STRANGERS_MAX + 3))]
    for octets in attached:
        world.report(message(world, autocrypt_fields=(), attached=(octets,), signatures=()))
    known = {sighting.fingerprint for sighting in world.explain().evidence}

    assert STRANGERS_MAX == len(known)
    world.pass_time(DAY / 2)
    assert world.report(message(world, autocrypt_fields=(), attached=(first,))).noted


def test_a_flood_from_elsewhere_does_not_keep_the_provider_out(world: PeerWorld) -> None:
    """Weak mail fills its own measure only."""
    for _ in range(STRANGERS_MAX):
        certificate = five_packets.__wrapped__(USER_ID)
        world.report(message(world, signatures=(), autocrypt_fields=(field(USER_ID, certificate),)))

    assert world.report(message(world)).noted
    assert PeerOutcome.FOUND is world.answer().outcome


def test_a_hint_chooses_among_equals_only(world: PeerWorld, tmp_path: Path) -> None:
    """It adds nothing: a fingerprint that nobody has shown is ignored."""
    one, other = gallery()["gnupg"], gallery()["nist_p256"]
    for hinted in (one, other):
        chooses = PeerWorld(tmp_path / identity(hinted), methods=[])
        hint = f"id={identity(hinted)}".encode()
        chooses.report(message(chooses, autocrypt_fields=(), openpgp_fields=(hint,)))
        for octets in (one, other):
            shown = Shown(Source.WKD, Level.PROVIDER_TRUST, octets)
            chooses.intake.take(ALICE, shown)
        chooses.answers.settle(ALICE)
        answer = chooses.answer()
        chooses.close()
        assert identity(hinted) == answer.fingerprint
    world.report(message(world, autocrypt_fields=(), openpgp_fields=(b"id=" + b"0" * 40,)))
    assert PeerOutcome.NOT_FOUND is world.answer().outcome


def test_a_secret_key_in_mail_is_alarmed(world: PeerWorld) -> None:
    """Nothing of it is kept."""
    secret = gallery()["alice_secret"]
    reported = world.report(message(world, autocrypt_fields=(), attached=(secret,)))

    assert () == reported.noted
    assert 1 == world.counted("secret_key_material")


def test_a_revocation_in_the_mail_counts(world: PeerWorld) -> None:
    """Attached by whomever."""
    world.report(message(world, autocrypt_fields=(), attached=(gallery()["alice"],)))
    shown = gallery()["alice"]
    world.show(shown, Level.PROVIDER_TRUST, Source.WKD)
    assert PeerOutcome.FOUND is world.answer().outcome
    world.report(message(world, autocrypt_fields=(), attached=(gallery()["revoked"],)))

    assert PeerOutcome.REJECTED is world.answer().outcome
