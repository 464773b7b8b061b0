"""Mailboxes of others: stored evidence decides, others are asked when it is old."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pysequoia
import pytest

from certificates import ALICE as USER_ID
from certificates import gallery, revoked, sequoia
from keyservice.certificate import RefusalReason
from keyservice.client import EncryptionSubkey
from keyservice.dns import DnsAnswer
from keyservice.errors import LocalMailbox, OtherCertificate
from keyservice.fetch import Cause, FetchFailed
from keyservice.levels import Level, Source
from keyservice.mailbox import Mailbox
from keyservice.methods.openpgpkey import owner_name
from keyservice.packets import USER_ID as USER_ID_TAG
from keyservice.packets import components, fingerprint, split
from keyservice.peer_wire import PeerOutcome
from keyservice.replacement import DAY, Mode
from keyservice.store import certificate
from keyservice.wire import Outcome
from peer_world import ALICE, PeerWorld

HOUR = 3_600


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PeerWorld]:
    """Everybody but ours.example is somebody else."""
    world = PeerWorld(tmp_path / "k.sqlite")
    yield world
    world.close()


def identity(octets: bytes) -> str:
    """Return a certificate's fingerprint."""
    return fingerprint(split(octets)[0])


def test_a_directory_makes_first_contact(world: PeerWorld) -> None:
    """And the answer says what to encrypt to, why, and since when."""
    octets = gallery()["gnupg"]
    world.wkd(octets)
    answer = world.answer()

    assert (PeerOutcome.FOUND, identity(octets)) == (answer.outcome, answer.fingerprint)
    assert (Level.PROVIDER_TRUST, Source.WKD) == (answer.level, answer.source)
    assert int(world.now()) == answer.since
    assert all(isinstance(subkey, EncryptionSubkey) for subkey in answer.subkeys)
    assert answer.subkeys
    assert not answer.is_used
    assert "wkd" in str(answer.reason)


def test_what_is_fresh_is_not_asked_for_again(world: PeerWorld) -> None:
    """For a day if there is one, for an hour if there is none; forced, it is."""
    world.wkd(gallery()["gnupg"])
    world.answer()
    asked = len(world.fetcher.asked)
    world.pass_time(0.8 * DAY)
    world.answer()
    assert asked == len(world.fetcher.asked)
    world.pass_time(0.3 * DAY)
    world.answer()
    again = len(world.fetcher.asked)
    assert again > asked
    world.discover()
    assert len(world.fetcher.asked) > again


def test_that_there_is_none_is_remembered_for_an_hour(world: PeerWorld) -> None:
    """And then a new one is found."""
    world.wkd(b"")
    assert PeerOutcome.NOT_FOUND is world.answer().outcome
    world.wkd(gallery()["gnupg"])
    world.pass_time(0.8 * HOUR)
    assert PeerOutcome.NOT_FOUND is world.answer().outcome
    world.pass_time(0.3 * HOUR)
    assert PeerOutcome.FOUND is world.answer().outcome


def test_that_nobody_answers_is_no_answer(world: PeerWorld) -> None:
    """It is unavailable, asked again within minutes, and no reason to forget what is stored."""
    world.wkd(FetchFailed(Cause.CONNECT))
    answer = world.answer()
    assert (PeerOutcome.UNAVAILABLE, "no answer from wkd") == (answer.outcome, answer.reason)
    world.wkd(gallery()["gnupg"])
    world.pass_time(400)
    assert PeerOutcome.FOUND is world.answer().outcome
    world.wkd(FetchFailed(Cause.CONNECT))
    world.pass_time(2 * DAY)
    assert PeerOutcome.FOUND is world.answer().outcome
    assert 2 == world.counted("discoveries", method="wkd", result="unavailable")


def test_who_has_none_is_asked_less_and_less(world: PeerWorld) -> None:
    """From an hour to a day; who does not answer from a minute to half an hour."""

    def until_asked_again() -> float:
        asked, passed = len(world.fetcher.asked), 0
        while len(world.fetcher.asked) == asked:
            world.pass_time(20)
            passed += 20
            world.answer()
        return passed

    world.wkd(FetchFailed(Cause.CONNECT))
    world.answer()
    waits = [until_asked_again() for _ in range(7)]
    assert waits[0] <= 80
    assert waits[1] > waits[0]
    assert 0.9 * 1_800 <= waits[6] <= 1_820
    world.wkd(b"")
    world.pass_time(20)
    world.discover()
    waits = [until_asked_again() for _ in range(2)]
    assert 0.9 * HOUR <= waits[0] <= HOUR + 20
    assert 1.8 * HOUR <= waits[1] <= 2 * HOUR + 20


def test_what_has_ended_is_asked_for_at_once(world: PeerWorld) -> None:
    """Though the last answer is fresh."""
    world.wkd(gallery()["ending"])
    world.answer()
    world.pass_time(365 * DAY - HOUR)
    world.discover()
    world.wkd(gallery()["gnupg"])
    world.pass_time(2 * HOUR)

    assert identity(gallery()["gnupg"]) == world.answer().fingerprint


def test_evidence_is_in_the_database_and_nowhere_else(world: PeerWorld, tmp_path: Path) -> None:
    """A service that starts anew, with an empty cache and no network, answers the same."""
    world.wkd(gallery()["gnupg"])
    before = world.answer()
    world.use(str(before.fingerprint), encrypted_to=True, possession_proved=True)
    other = PeerWorld(tmp_path / "k.sqlite")
    other.vetter.clock = world.now()
    after = other.answer()
    other.close()

    assert (before.fingerprint, before.since) == (after.fingerprint, after.since)
    assert after.is_used
    assert [] == other.fetcher.asked


def test_a_certificate_is_narrowed_to_the_mailbox(world: PeerWorld) -> None:
    """Whoever else it names is nobody's business here."""
    octets = gallery()["two_user_ids"]
    world.wkd(octets)
    world.answer()
    with world.database.reading() as connection:
        _, stored = certificate(connection, identity(octets))
    parts = components(split(stored))
    names = [c.packet.body.decode() for c in parts if c.packet.tag == USER_ID_TAG]

    assert [USER_ID] == names


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bob", RefusalReason.FOREIGN_MAILBOX),
        ("expired", RefusalReason.EXPIRED),
        ("revoked", RefusalReason.REVOKED),
        ("sha1", RefusalReason.WEAK_HASH),
        ("rsa1024", RefusalReason.WEAK_KEY),
        ("brainpool", RefusalReason.UNSUPPORTED),
        ("alice_secret", RefusalReason.SECRET_KEY),
        ("sign_only", RefusalReason.NO_ENCRYPTION_SUBKEY),
        ("several_mailboxes", RefusalReason.SEVERAL_MAILBOXES),
        ("unbound_user_id", RefusalReason.UNBOUND_USER_ID),
        ("foreign_user_id", RefusalReason.UNBOUND_USER_ID),
        ("no_user_id", RefusalReason.FOREIGN_MAILBOX),
        ("cut_short", RefusalReason.MALFORMED),
    ],
)
def test_what_is_refused_says_why(world: PeerWorld, name: str, reason: RefusalReason) -> None:
    """In the answer and in the explanation; and nothing of it is evidence."""
    world.wkd(gallery()[name])
    answer = world.answer()

    assert PeerOutcome.REJECTED is answer.outcome
    assert reason.value in str(answer.reason)
    explanation = world.explain()
    assert () == explanation.evidence
    assert reason.value in str(next(i for i in explanation.inquiries if i.source == "wkd").refused)


def test_of_a_bundle_each_certificate_is_vetted_for_itself(world: PeerWorld) -> None:
    """The current one, with an old one that was revoked: as draft-koch allows."""
    current = gallery()["gnupg"]
    world.wkd(current + gallery()["revoked"])
    answer = world.answer()

    assert (PeerOutcome.FOUND, identity(current)) == (answer.outcome, answer.fingerprint)
    told = next(i for i in world.explain().inquiries if i.source == "wkd")
    assert "revoked" in str(told.refused)


def test_two_at_once_ask_once(world: PeerWorld) -> None:
    """Ten lookups of one mailbox are one discovery."""
    world.wkd(gallery()["gnupg"])

    async def look_up() -> None:
        await asyncio.gather(*(world.peers.answer(ALICE) for _ in range(10)))

    asyncio.run(look_up())

    assert 1 == world.counted("discoveries", method="wkd", result="found")


def test_weak_evidence_is_parked(world: PeerWorld) -> None:
    """It is shown, and not used; a lower threshold would take it."""
    world.show(gallery()["gnupg"], Level.WEAK_CHAIN)
    answer = world.answer()

    assert PeerOutcome.NOT_FOUND is answer.outcome
    assert "too weak" in answer.conflicts[0]
    assert 1 == world.counted("conflicts", reason="park_weak")


def test_a_weaker_source_changes_nothing(world: PeerWorld) -> None:
    """It is a conflict: recorded once, counted once, told in words."""
    world.wkd(gallery()["gnupg"])
    before = world.answer()
    for _ in range(3):
        world.show(gallery()["nist_p256"], Level.WEAK_CHAIN)
    after = world.answer()

    assert before.fingerprint == after.fingerprint
    (conflict,) = after.conflicts
    assert identity(gallery()["nist_p256"]) in conflict
    assert 1 == sum(
        world.counted("conflicts", reason=reason)
        for reason in ("weaker", "in_force", "wait", "park_weak")
    )
    events = [event for event in world.explain().events if event.kind == "conflict"]
    assert 1 == len(events)
    assert identity(gallery()["nist_p256"]) == events[0].fingerprint
    assert conflict in world.explain().decisions


def test_a_better_one_replaces_what_was_never_used(world: PeerWorld) -> None:
    """LEAP's rule (d); used in both directions, it stays."""
    world.wkd(gallery()["gnupg"])
    first = str(world.answer().fingerprint)
    world.show(gallery()["nist_p256"], Level.PROVIDER_ENDORSEMENT, Source.NICKNYM)
    second = world.answer()
    assert identity(gallery()["nist_p256"]) == second.fingerprint != first

    world.use(str(second.fingerprint), encrypted_to=True)
    world.use(str(second.fingerprint), possession_proved=True)
    assert world.answer().is_used
    world.show(gallery()["rsa2048"], Level.THIRD_PARTY_ENDORSEMENT, Source.VKS)
    assert second.fingerprint == world.answer().fingerprint


def test_an_equal_one_waits_and_then_takes_over(world: PeerWorld) -> None:
    """No end, seen all the while and alone: rule (e) as we read it."""
    old, new = gallery()["gnupg"], gallery()["nist_p256"]
    world.wkd(old)
    world.answer()
    world.pass_time(4 * DAY)
    world.wkd(new)
    assert identity(old) == world.discover().fingerprint
    (waiting,) = (b for b in world.explain().bindings if b.fingerprint == identity(new))
    assert ("waiting", Source.WKD.value, Level.PROVIDER_TRUST.value) == (
        waiting.state,
        waiting.source,
        waiting.level,
    )
    for _ in range(6):
        world.pass_time(DAY)
        assert identity(old) == world.discover().fingerprint
    world.pass_time(1.1 * DAY)

    assert identity(new) == world.answer().fingerprint


def test_a_hold_ends_without_anybody_asking(world: PeerWorld) -> None:
    """The background task applies what is due, whoever's mailbox it is."""
    old, new = gallery()["gnupg"], gallery()["nist_p256"]
    world.wkd(old)
    world.answer()
    world.pass_time(4 * DAY)
    world.wkd(new)
    for _ in range(7):
        world.discover()
        world.pass_time(DAY)
    assert 1 == world.enrolments.apply_due_holds(10)
    assert 0 == world.enrolments.apply_due_holds(10)
    states = {b.fingerprint: b.state for b in world.explain().bindings}
    assert {identity(old): "replaced", identity(new): "active"} == states


def test_a_revocation_counts_whoever_shows_it(world: PeerWorld) -> None:
    """The weakest source is enough; nothing takes it back."""
    made = sequoia(USER_ID)
    world.wkd(made.certificate)
    assert PeerOutcome.FOUND is world.answer().outcome
    world.show(revoked(made), Level.WEAK_CHAIN, Source.ATTACHED)
    assert PeerOutcome.REJECTED is world.answer().outcome
    world.pass_time(2 * DAY)

    answer = world.answer()
    assert PeerOutcome.REJECTED is answer.outcome
    assert "revoked" in str(answer.reason)


def test_a_revocation_without_a_user_id_counts(world: PeerWorld) -> None:
    """A verifying keyserver shows no more than that, by fingerprint."""
    made = sequoia(USER_ID)
    world.wkd(made.certificate)
    world.answer()
    certificate = pysequoia.Cert.from_bytes(made.certificate)
    revocation = certificate.revoke(certifier=pysequoia.Tsk.from_bytes(made.secret).certifier())
    primary = split(made.certificate)[0]
    octets = bytes([0xC6, 0xFF]) + len(primary.body).to_bytes(4, "big") + primary.body
    page = f"https://vks.org/vks/v1/by-fingerprint/{identity(made.certificate).upper()}"
    world.fetcher.pages[page] = octets + bytes(revocation)

    assert PeerOutcome.REJECTED is world.discover().outcome


def test_a_keyserver_without_the_address_makes_no_contact(world: PeerWorld) -> None:
    """A certificate that names nobody is an update of one that is known, or nothing."""
    octets = gallery()["no_user_id"]
    taken = world.show(octets, Level.PROVIDER_TRUST, Source.VKS)

    assert () == taken.fingerprints
    assert PeerOutcome.NOT_FOUND is world.answer().outcome


def test_what_nobody_can_verify_is_not_kept(world: PeerWorld) -> None:
    """A copy full of foreign signatures leaves no trace, and room for a revocation."""
    made = sequoia(USER_ID)
    world.wkd(made.certificate)
    world.answer()
    with world.database.reading() as connection:
        _, before = certificate(connection, identity(made.certificate))
    bogus = bytes([0xC2, 0xFF]) + (30).to_bytes(4, "big")
    bogus += b"\x04\x20\x16\x08" + b"\0\0\0\0\xab\xcd" + b"\0\x01\x01" * 6 + b"\0\0"
    parts = components(split(made.certificate))
    primary = parts[0].packet
    rest = made.certificate[len(primary.body) + 2 :]
    head = bytes([0xC6, 0xFF]) + len(primary.body).to_bytes(4, "big") + primary.body
    world.show(head + bogus * 90 + rest, Level.WEAK_CHAIN)
    with world.database.reading() as connection:
        _, after = certificate(connection, identity(made.certificate))

    assert before == after
    world.show(revoked(made), Level.WEAK_CHAIN)
    assert PeerOutcome.REJECTED is world.answer().outcome


def test_the_signed_records_of_the_dns_count(world: PeerWorld) -> None:
    """Below the directory in rank: of two that contradict each other the directory's is taken."""
    name = owner_name(ALICE)
    world.resolver.records[name] = DnsAnswer([gallery()["nist_p256"]], authentic=True)
    world.wkd(gallery()["gnupg"])
    answer = world.answer()

    assert identity(gallery()["gnupg"]) == answer.fingerprint
    assert 1 == len(answer.conflicts)
    world.resolver.records[name] = DnsAnswer([gallery()["gnupg"]], authentic=False)
    world.discover()
    told = [i for i in world.explain().inquiries if i.source == "openpgpkey"]
    assert ["rejected", "found"] == [each.result for each in told]


def test_sources_that_agree_corroborate(world: PeerWorld) -> None:
    """They do not raise the level."""
    world.wkd(gallery()["gnupg"])
    world.vks(gallery()["gnupg"])
    answer = world.answer()

    assert Level.PROVIDER_TRUST is answer.level
    assert "2 sources agree" in world.explain().decisions[0]


def test_an_expired_one_is_replaced_by_what_is_found_then(world: PeerWorld) -> None:
    """LEAP's rule (c)."""
    world.wkd(gallery()["ending"])
    assert PeerOutcome.FOUND is world.answer().outcome
    world.pass_time(366 * DAY)
    world.wkd(gallery()["gnupg"])
    answer = world.discover()

    assert identity(gallery()["gnupg"]) == answer.fingerprint
    assert PeerOutcome.FOUND is answer.outcome


def test_a_certified_successor_is_taken_from_the_weakest_source(world: PeerWorld) -> None:
    """LEAP's rule (a): the old certificate vouches for it, and its level goes on."""
    old, new = sequoia(USER_ID), sequoia(USER_ID)
    world.wkd(old.certificate)
    world.answer()
    secret = pysequoia.Tsk.from_bytes(old.secret)
    certified = pysequoia.Cert.from_bytes(new.certificate).add_user_id(
        value="Alice A. <alice@example.org>", certifier=secret.certifier()
    )
    world.pass_time(10)
    world.show(bytes(certified), Level.WEAK_CHAIN, Source.ATTACHED)
    answer = world.answer()

    assert identity(new.certificate) == answer.fingerprint
    assert Level.PROVIDER_TRUST is answer.level


def test_a_mailbox_of_ours_is_no_peer(world: PeerWorld) -> None:
    """Who asks is told so."""
    with pytest.raises(LocalMailbox):
        world.answer(Mailbox.parse("alice@ours.example"))


def test_use_is_noted_of_the_registered_certificate_only(world: PeerWorld) -> None:
    """Another one is an error, also for a mailbox that nobody knows."""
    with pytest.raises(OtherCertificate):
        world.use("0" * 40, encrypted_to=True)
    world.wkd(gallery()["gnupg"])
    world.answer()
    with pytest.raises(OtherCertificate):
        world.use("0" * 40, encrypted_to=True)


def test_peers_are_in_none_of_the_lists_of_mailboxes(world: PeerWorld) -> None:
    """Not enrolled, not counted, not published, and outside for the milter."""
    world.wkd(gallery()["gnupg"])
    world.answer()

    assert () == world.overview.page("", 10).mailboxes
    assert {0} == set(world.overview.states().values())
    assert Outcome.OUTSIDE is world.answers.answer(ALICE).outcome


def test_what_others_said_counts_for_nothing_when_the_domain_becomes_ours(
    world: PeerWorld, tmp_path: Path
) -> None:
    """The first certificate is the one that is enrolled."""
    world.wkd(gallery()["gnupg"])
    world.answer()
    ours = PeerWorld(tmp_path / "k.sqlite", domains=["example.org"])
    assert Outcome.NOT_FOUND is ours.answers.answer(ALICE).outcome
    enrolment = ours.enrol(gallery()["nist_p256"], ALICE)
    answer = ours.answers.answer(ALICE)
    ours.close()

    assert enrolment.waits_until is None
    assert (Outcome.FOUND, enrolment.fingerprint) == (answer.outcome, answer.fingerprint)


@pytest.mark.parametrize(
    ("mode", "expected"), [(Mode.LEAP_SPEC, True), (Mode.BITMASK, False), (Mode.HOLD, False)]
)
def test_the_mode_decides_about_endless_certificates(
    tmp_path: Path, mode: Mode, expected: bool
) -> None:
    """To the letter of rule (e) whoever speaks last wins."""
    world = PeerWorld(tmp_path / "k.sqlite", mode=mode)
    world.wkd(gallery()["gnupg"])
    world.answer()
    world.show(gallery()["nist_p256"], Level.WEAK_CHAIN)
    taken_over = identity(gallery()["nist_p256"]) == world.answer().fingerprint
    world.close()

    assert expected is taken_over


def test_it_expires_with_its_subkeys(world: PeerWorld) -> None:
    """An answer is good for five minutes, less if there is nothing to encrypt to by then."""
    world.wkd(gallery()["ending"])
    answer = world.answer()
    assert answer.issued_at + 300 == answer.expires_at
    # The certificate was made once for all tests, some minutes ago perhaps.
    end = answer.subkeys[0].not_after
    assert end is not None
    world.pass_time(end - answer.issued_at - 200)
    answer = world.answer()

    assert end == answer.expires_at
