"""What the mail program of an owner sends along: what it enrols, and what it cannot."""

import functools
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from autocrypt_mail import field, five_of
from certificates import GnuPG, gallery, revoked, sequoia
from keyservice import packets
from keyservice.autocrypt import Fault
from keyservice.errors import OutsideDomain
from keyservice.keydata import keydata
from keyservice.levels import Level, Source
from keyservice.mail_program import CERTIFICATES_MAX
from keyservice.mailbox import Mailbox
from keyservice.packets import PUBLIC_SUBKEY
from keyservice.replacement import DAY
from keyservice.report_wire import Refused, Report, VerifiedSignature
from keyservice.sender_wire import Submitted, Taken, Taking
from keyservice.wire import Outcome
from peer_world import ALICE, PeerWorld

USER_ID = "Alice <alice@example.org>"
WEEK = 7 * DAY


class Program(PeerWorld):
    """A provider at which Alice's mail program may enrol her certificates."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, domains=("example.org",), methods=[])
        self.settings.set(ALICE, {"autocrypt_enrols": True})

    def submit(self, *certificates: bytes, **changes: object) -> Taken:
        """Send a message of Alice's with an Autocrypt field for each certificate."""
        now = int(self.now())
        submitted = Submitted(
            from_fields=1,
            from_addresses=(ALICE.key,),
            received_at=now,
            date=now,
            autocrypt_fields=tuple(field(ALICE.key, octets) for octets in certificates),
        )
        return self.submissions.take(ALICE, msgspec.structs.replace(submitted, **changes))

    def taking(self, certificate: bytes, **changes: object) -> Taking:
        """Return what becomes of a certificate, a second after anything else."""
        self.pass_time(1)
        return self.submit(certificate, **changes).taking

    def in_use(self) -> str | None:
        """Return the fingerprint of the certificate that Alice's mail is encrypted to."""
        answer = self.answers.answer(ALICE)
        return answer.fingerprint if answer.outcome is Outcome.FOUND else None

    def events(self) -> list[str]:
        """Return what happened to certificates, the latest first."""
        return [e.kind for e in self.explain().events if not e.kind.startswith("policy")]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Program]:
    """Alice, who has no certificate."""
    world = Program(tmp_path / "k.sqlite")
    yield world
    world.close()


def new() -> bytes:
    """Return a certificate of Alice's as an Autocrypt field carries it."""
    return five_of(sequoia(USER_ID).certificate)


def identity(octets: bytes) -> str:
    """Return a certificate's fingerprint."""
    return packets.fingerprint(packets.split(octets)[0])


@functools.cache
def extended() -> tuple[bytes, bytes]:
    """Return a certificate of gpg's that ends in a year, and the copy of it that ends later."""
    with tempfile.TemporaryDirectory(prefix="ll-gpg-") as home:
        gnupg = GnuPG(Path(home))
        try:
            before = gnupg.make(USER_ID, "ed25519", ends="1y", subkey="cv25519")
            gnupg.run("--quick-set-expire", gnupg.newest(), "2y")
            return before, _newest(gnupg.export(gnupg.newest()))
        finally:
            gnupg.stop()


def _newest(octets: bytes) -> bytes:
    subkeys = [packets.fingerprint(p) for p in packets.split(octets) if p.tag == PUBLIC_SUBKEY]
    found = keydata(octets, ALICE, subkeys, time.time() + 1)
    assert found is not None
    return found


def test_nothing_is_enrolled_unless_the_policy_says_so(world: Program) -> None:
    """The default says no, and nothing is even looked at."""
    world.settings.unset(ALICE, "autocrypt_enrols")

    assert Taking.DISABLED is world.submit(new()).taking
    assert (None, 0) == (world.in_use(), world.vetter.examined)
    assert () == world.explain().evidence


def test_a_first_certificate_is_used_at_once(world: Program) -> None:
    """At the level that a password is worth, with the events of every enrolment."""
    octets = new()
    taken = world.submit(octets)

    assert (Taking.ENROLLED, identity(octets)) == (taken.taking, taken.fingerprint)
    assert identity(octets) == world.in_use()
    story = world.explain()
    (binding,) = story.bindings
    assert (2, "submission", "active") == (binding.level, binding.source, binding.state)
    assert [("submission", 2)] == [(seen.source, seen.level) for seen in story.evidence]
    assert ["enrolled"] == world.events()
    assert story.had_certificate
    assert 1.0 == world.counted("submissions", result="enrolled")


def test_the_same_again_is_neither_vetted_nor_noted(world: Program) -> None:
    """A mail program sends it with every message."""
    octets = new()
    world.submit(octets)
    world.pass_time(10)
    examined = world.vetter.examined
    repeated = [world.taking(octets) for _ in range(3)]

    assert [Taking.UNCHANGED] * 3 == repeated
    assert examined == world.vetter.examined
    assert 1 == len(world.explain().evidence)
    assert ["enrolled"] == world.events()


def test_a_fresh_copy_updates_the_certificate(world: Program) -> None:
    """The end that its owner has set is in the store, and nothing waits."""
    old, fresh = extended()
    world.pass_time(60)
    world.submit(old)
    before = world.answers.answer(ALICE)
    world.pass_time(60)
    taken = world.submit(fresh)
    after = world.answers.answer(ALICE)

    assert (Taking.UPDATED, None) == (taken.taking, taken.waits_until)
    assert before.fingerprint == after.fingerprint
    assert (before.subkeys[0].not_after or 0) + 300 * DAY < (after.subkeys[0].not_after or 0)
    assert Taking.UNCHANGED is world.taking(old)
    assert after.subkeys == world.answers.answer(ALICE).subkeys
    assert ["updated", "enrolled"] == world.events()


def test_what_the_operator_enrolled_is_refreshed_too(world: Program) -> None:
    """And keeps its level: nothing is lowered, nothing raised."""
    old, fresh = extended()
    world.pass_time(60)
    world.enrol(old, ALICE)
    world.pass_time(60)

    assert [Taking.UPDATED, Taking.UNCHANGED] == [world.taking(fresh), world.taking(fresh)]
    (binding,) = world.explain().bindings
    assert (7, "operator") == (binding.level, binding.source)


def test_another_certificate_waits_and_takes_over(world: Program) -> None:
    """As every replacement does; the old one stays in use until then."""
    old, replacement = new(), new()
    world.submit(old)
    world.pass_time(60)
    taken = world.submit(replacement)

    assert Taking.WAITS is taken.taking
    assert taken.waits_until == int(world.now()) + WEEK
    assert identity(old) == world.in_use()
    assert "waiting" in world.events()
    again = world.submit(replacement)
    assert (Taking.UNCHANGED, taken.waits_until) == (again.taking, again.waits_until)
    world.pass_time(WEEK - 10)
    assert identity(old) == world.in_use()
    world.pass_time(20)
    assert identity(replacement) == world.in_use()
    assert Taking.OUTWEIGHED is world.taking(old)
    assert identity(replacement) == world.in_use()


def test_two_programs_that_disagree_change_nothing(world: Program) -> None:
    """Each mail from the old one ends the waiting; it begins again no sooner than in a day."""
    old, other = new(), new()
    world.submit(old)
    assert Taking.WAITS is world.taking(other)
    assert Taking.UNCHANGED is world.taking(old)
    assert Taking.OUTWEIGHED is world.taking(other)
    world.pass_time(WEEK + DAY)

    assert identity(old) == world.in_use()
    assert Taking.WAITS is world.taking(other)
    assert Taking.UNCHANGED is world.taking(old)
    world.pass_time(WEEK + DAY)
    assert identity(old) == world.in_use()
    assert 5 == len(world.explain().evidence)


def test_the_operators_word_is_not_replaced(world: Program) -> None:
    """A password is no match for it, however often it is used; the operator can see it."""
    world.enrol(gallery()["alice"], ALICE)
    enrolled, other = world.in_use(), new()
    examined = world.vetter.examined
    taken = world.submit(other)

    assert (Taking.OUTWEIGHED, identity(other)) == (taken.taking, taken.fingerprint)
    assert "less well attested" in str(taken.reason)
    assert Taking.OUTWEIGHED is world.taking(other)
    assert examined == world.vetter.examined
    assert [identity(gallery()["alice"])] == [seen.fingerprint for seen in world.explain().evidence]
    assert ["conflict", "enrolled"] == world.events()
    assert 1.0 == world.counted("conflicts", reason="weaker")
    world.pass_time(2 * WEEK)
    assert enrolled == world.in_use()


def test_no_word_lies_in_wait(world: Program) -> None:
    """What was refused is forgotten: the end of the one in use does not bring it."""
    made = sequoia(USER_ID)
    world.enrol(made.certificate, ALICE)
    other = new()
    assert Taking.OUTWEIGHED is world.taking(other)
    world.intake.update(ALICE, revoked(made))
    world.answers.settle(ALICE)

    assert world.in_use() is None
    assert Taking.ENROLLED is world.taking(other)
    assert identity(other) == world.in_use()


def test_the_operators_replacement_is_not_disturbed(world: Program) -> None:
    """The program goes on sending the old certificate until somebody tells it."""
    old = new()
    world.submit(old)
    world.pass_time(60)
    waits = world.enrol(gallery()["gnupg"], ALICE)
    for _ in range(8):
        world.pass_time(DAY)
        world.taking(old)

    assert waits.waits_until is not None
    assert waits.fingerprint == world.in_use()
    assert Taking.OUTWEIGHED is world.taking(old)


def test_another_ones_turn_is_not_taken(world: Program) -> None:
    """What the operator said waits already; a third certificate is turned away."""
    world.submit(new())
    world.pass_time(60)
    waits = world.enrol(gallery()["gnupg"], ALICE)

    assert Taking.OUTWEIGHED is world.taking(new())
    assert [waits.fingerprint] == [
        b.fingerprint for b in world.explain().bindings if b.state == "waiting"
    ]


def test_a_withdrawn_certificate_does_not_come_back(world: Program) -> None:
    """Whatever waited, too; another one is a first one again."""
    old, waiting = new(), new()
    world.submit(old)
    assert Taking.WAITS is world.taking(waiting)
    world.pass_time(60)
    world.enrolments.withdraw(ALICE)

    assert [Taking.OUTWEIGHED, Taking.OUTWEIGHED] == [world.taking(old), world.taking(waiting)]
    world.answers.settle(ALICE)
    assert world.in_use() is None
    assert Taking.ENROLLED is world.taking(new())


def test_the_operator_can_bring_it_back(world: Program) -> None:
    """And then the program may refresh it."""
    made = sequoia(USER_ID)
    world.submit(five_of(made.certificate))
    world.pass_time(60)
    world.enrolments.withdraw(ALICE)
    world.pass_time(60)
    world.enrol(made.certificate, ALICE)

    assert Taking.UNCHANGED is world.taking(five_of(made.certificate))
    assert identity(made.certificate) == world.in_use()


def test_one_that_ended_gives_way_at_once(world: Program) -> None:
    """To an equal: it was revoked, or its time is over."""
    made, other = sequoia(USER_ID), new()
    world.submit(five_of(made.certificate))
    world.pass_time(60)
    world.intake.update(ALICE, revoked(made))

    assert Taking.ENROLLED is world.taking(other)
    assert identity(other) == world.in_use()


@pytest.mark.parametrize(
    "changes",
    [
        {"from_fields": 2},
        {"from_fields": 0, "from_addresses": ()},
        {"from_addresses": (ALICE.key, "bob@example.org")},
        {"from_addresses": ("bob@example.org",)},
        {"from_addresses": ("nobody",)},
        {"autocrypt_fields": ()},
        {"autocrypt_fields": (b"garbage",)},
    ],
)
def test_a_message_of_somebody_else_says_nothing(
    world: Program, changes: dict[str, object]
) -> None:
    """Or of several, or without a field that is valid."""
    assert Taking.INVALID is world.taking(new(), **changes)
    assert () == world.explain().evidence


def test_two_valid_fields_are_none(world: Program) -> None:
    """Nobody can say which one is meant."""
    taken = world.submit(new(), new())

    assert (Taking.INVALID, (Fault.SEVERAL, Fault.SEVERAL)) == (taken.taking, taken.faults)


def test_a_field_about_somebody_else_is_none(world: Program) -> None:
    """Also when the certificate is the sender's own."""
    taken = world.submit(autocrypt_fields=(field("bob@example.org", new()),))

    assert (Taking.INVALID, (Fault.OTHER_MAILBOX,)) == (taken.taking, taken.faults)


def test_a_secret_key_is_an_alarm(world: Program) -> None:
    """It went through a mail server; nothing of it is kept."""
    taken = world.submit(gallery()["alice_secret"])

    assert (Taking.INVALID, (Fault.SECRET_KEY,)) == (taken.taking, taken.faults)
    assert 1.0 == world.counted("secret_key_material")


def test_what_must_not_be_used_is_refused_once(world: Program) -> None:
    """A certificate of somebody else; the same octets are not vetted again."""
    foreign = five_of(sequoia("Bob <bob@example.org>").certificate)
    takings = [world.taking(foreign) for _ in range(3)]
    taken = world.submit(foreign)

    assert [Taking.REFUSED] * 3 == takings
    assert "foreign_mailbox" in str(taken.reason)
    assert 1 >= world.vetter.examined
    assert () == world.explain().evidence


def test_an_old_message_does_not_speak_for_today(world: Program) -> None:
    """It lay about: what it names was overtaken, or is no objection any more."""
    old, other = new(), new()
    written = int(world.now())
    world.submit(old)
    assert Taking.OUTWEIGHED is world.taking(other, date=written - 60)
    world.pass_time(60)
    assert Taking.WAITS is world.taking(other)
    assert Taking.UNCHANGED is world.taking(old, date=written)
    world.pass_time(WEEK + 10)

    assert identity(other) == world.in_use()


def test_a_date_to_come_is_not_believed(world: Program) -> None:
    """It counts as now, and so does none at all."""
    assert Taking.ENROLLED is world.taking(new(), date=int(world.now()) + 90 * DAY)
    assert Taking.WAITS is world.taking(new(), date=None)


def test_a_password_makes_no_flood(world: Program) -> None:
    """So many certificates in three days, and no more; those known go on."""
    first = new()
    world.submit(first)
    takings = [world.taking(new()) for _ in range(CERTIFICATES_MAX)]

    assert [Taking.WAITS] * (CERTIFICATES_MAX - 1) + [Taking.OUTWEIGHED] == takings
    assert Taking.UNCHANGED is world.taking(first)
    world.pass_time(4 * DAY)
    assert Taking.WAITS is world.taking(new())


def test_programs_that_speak_at_once(world: Program) -> None:
    """One of them is first, whichever; what the other shows waits, and nothing is lost."""
    shown = [new(), new()]
    with ThreadPoolExecutor(8) as threads:
        takings = list(threads.map(lambda octets: world.submit(octets).taking, 4 * shown))

    assert 1 == takings.count(Taking.ENROLLED)
    assert Taking.REFUSED not in takings
    assert world.in_use() in map(identity, shown)
    assert 1 == sum(binding.state == "active" for binding in world.explain().bindings)
    assert 1 >= sum(binding.state == "waiting" for binding in world.explain().bindings)


def test_only_mailboxes_of_ours_submit(world: Program) -> None:
    """Of others nobody here can say who he is."""
    somebody = Mailbox.parse("alice@example.net")
    with pytest.raises(OutsideDomain):
        world.submissions.take(
            somebody,
            Submitted(from_fields=1, from_addresses=(somebody.key,), received_at=0),
        )


@pytest.mark.parametrize("has_certificate", [False, True])
def test_mail_that_comes_in_changes_nothing(world: Program, *, has_certificate: bool) -> None:
    """However it is signed: what enrols is the submission, never the field."""
    if has_certificate:
        world.submit(new())
    before = world.explain()
    signed = VerifiedSignature(
        domain="example.org", signed_fields=("from", "autocrypt"), has_body_length=False
    )
    forged = Report(
        from_fields=1,
        from_addresses=("ALICE@Example.ORG",),
        received_at=int(world.now()),
        signatures=(signed,),
        is_spam=False,
        autocrypt_fields=(field(ALICE.key, new()),),
        attached=(sequoia(USER_ID).certificate,),
        openpgp_fields=(b" id=" + b"AB" * 20,),
    )
    reported = world.report(forged)
    taken = world.show(new(), Level.FINGERPRINT, Source.AUTOCRYPT)
    world.pass_time(2 * WEEK)
    world.answers.settle(ALICE)

    assert (Refused.LOCAL_MAILBOX, ()) == (reported.refused, reported.noted)
    assert taken.fingerprints  # past every check, and still it counts for nothing
    after = world.explain()
    assert (before.outcome, before.bindings) == (after.outcome, after.bindings)
    assert (before.events, before.had_certificate) == (after.events, after.had_certificate)
