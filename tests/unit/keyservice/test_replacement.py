"""First contact, replacement and conflicts; what never happens whatever the evidence is."""

from random import Random
from typing import TypeVar

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from keyservice.evidence import Background, Candidate, Registered, Sighting, candidates
from keyservice.explanation import in_words
from keyservice.levels import Level, Source
from keyservice.replacement import Decision, Mode, Outcome, Reason, Rule, Rules, judge
from keyservice.resolution import Resolution, resolve
from keyservice.revocation import Revocation, Strength

NOW = 1_800_000_000
DAY = 86_400
WEEK = 7 * DAY
WEAK, TRUST = Level.WEAK_CHAIN, Level.PROVIDER_TRUST
HOLD, OURS = Rules(), Rules(is_ours=True)

OLD = Registered("old", TRUST, Source.WKD, NOW + DAY, None, True, True)
NEW = Candidate("new", TRUST, Source.WKD, seen_since=NOW)

Record = TypeVar("Record", Registered, Candidate, Rules)

times = st.integers(NOW - 20 * DAY, NOW)
revocations = st.none() | st.builds(Revocation, st.sampled_from(Strength), times)
registrations = st.builds(
    Registered,
    st.just("old"),
    st.sampled_from(Level),
    st.sampled_from(Source),
    st.none() | st.integers(NOW - DAY, NOW + DAY),
    revocations,
    st.booleans(),
    st.booleans(),
)


def candidate_named(name: st.SearchStrategy[str]) -> st.SearchStrategy[Candidate]:
    """Return candidates with fingerprints from `name`."""
    return st.builds(
        Candidate,
        name,
        st.sampled_from(Level),
        st.sampled_from(Source),
        st.integers(1, 3),
        st.none() | times,
        st.booleans(),
        st.booleans(),
        st.booleans(),
    )


new_ones = candidate_named(st.just("new"))
several = st.lists(
    candidate_named(st.sampled_from(["old", "new", "other", "third"])),
    max_size=4,
    unique_by=lambda candidate: candidate.fingerprint,
)
all_rules = st.builds(
    Rules, st.sampled_from(Mode), st.sampled_from(Level), st.just(WEEK), st.booleans()
)


def changed(record: Record, **fields: object) -> Record:
    """Return `record` with other values."""
    return msgspec.structs.replace(record, **fields)


def outcome(registered: Registered | None, candidate: Candidate, rules: Rules = HOLD) -> Outcome:
    """Return only what happens."""
    return judge(registered, candidate, rules, NOW).outcome


def first_contact(*seen: Candidate, rules: Rules = HOLD) -> Resolution:
    """Return what is done for a mailbox without a certificate."""
    return resolve(None, seen, rules, NOW)


def test_first_contact_takes_the_highest_level() -> None:
    """Rank decides inside a level, then who was there first; the loser is a conflict."""
    high = Candidate("d", Level.PROVIDER_ENDORSEMENT, Source.ATTACHED)
    ranked = Candidate("c", TRUST, Source.WKD)
    early = Candidate("b", TRUST, Source.VKS, seen_since=NOW - DAY)
    late = Candidate("a", TRUST, Source.VKS, corroborated=3, seen_since=NOW)
    for order in ((high, ranked, early, late), (ranked, early, late), (early, late)):
        found = first_contact(*reversed(order))

        assert order[0].fingerprint == (found.change and found.change.fingerprint)
        assert {c.fingerprint for c in order[1:]} == {d.fingerprint for d in found.conflicts}


def test_weak_evidence_is_no_first_contact() -> None:
    """It is kept, and told; the operator decides how little is enough."""
    weak = changed(NEW, level=WEAK)
    found = first_contact(weak)

    assert found.change is None
    assert [Outcome.PARK_WEAK] == [decision.outcome for decision in found.decisions]
    assert first_contact(weak, rules=Rules(first_contact=WEAK)).change is not None


def test_nothing_seen_changes_nothing() -> None:
    """An outage of all sources is no reason for anything."""
    assert Resolution(()) == resolve(OLD, [], HOLD, NOW)
    assert Resolution(()).change is None


def test_the_same_certificate_is_merged() -> None:
    """Its level rises and never falls, even if it must not be encrypted to any more."""
    for level, expected in ((WEAK, TRUST), (Level.FINGERPRINT, Level.FINGERPRINT)):
        again = Candidate("old", level, Source.HKP, is_usable=False, is_retired=True)
        decision = judge(OLD, again, HOLD, NOW)

        assert (Outcome.UPDATE, expected) == (decision.outcome, decision.level)


def test_a_level_decays_with_a_hard_revocation_only() -> None:
    """To nothing. A soft one, or its end, leaves it."""
    again = Candidate("old", TRUST, Source.WKD)
    soft, hard = (Revocation(strength, NOW - DAY) for strength in (Strength.SOFT, Strength.HARD))

    assert judge(changed(OLD, revocation=hard), again, HOLD, NOW).level is None
    assert TRUST is judge(changed(OLD, revocation=soft), again, HOLD, NOW).level
    assert TRUST is judge(changed(OLD, not_after=NOW), again, HOLD, NOW).level


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("registered", [None, OLD])
def test_what_must_not_be_used_never_wins(mode: Mode, registered: Registered | None) -> None:
    """Not even with a confirmed fingerprint and a certification."""
    best = changed(NEW, level=Level.FINGERPRINT, signed_by_registered=True, is_usable=False)

    assert Reason.UNUSABLE is judge(registered, best, Rules(mode), NOW).reason


@pytest.mark.parametrize("mode", [Mode.LEAP_SPEC, Mode.HOLD])
def test_the_retired_do_not_come_back(mode: Mode) -> None:
    """Otherwise two certificates that certify each other would take turns for ever."""
    retired = changed(NEW, signed_by_registered=True, is_retired=True)

    assert Reason.RETIRED is judge(OLD, retired, Rules(mode), NOW).reason
    assert Reason.RETIRED is judge(None, retired, Rules(mode), NOW).reason


def test_the_end_is_reached_to_the_second() -> None:
    """Expired at its end, revoked softly from its time on and hard before it."""
    soft, hard = (Revocation(strength, NOW + 1) for strength in (Strength.SOFT, Strength.HARD))

    assert Outcome.REPLACE is outcome(changed(OLD, not_after=NOW), NEW)
    assert Outcome.REFUSE is outcome(changed(OLD, not_after=NOW + 1), NEW)
    assert Outcome.REFUSE is outcome(changed(OLD, revocation=soft), NEW)
    assert Outcome.REPLACE is outcome(changed(OLD, revocation=hard), NEW)


def test_who_lost_the_secret_vouches_for_nobody() -> None:
    """A hard revoked certificate's certification is as good as a thief's."""
    disowned = changed(OLD, revocation=Revocation(Strength.HARD, NOW))
    signed = changed(NEW, level=WEAK, signed_by_registered=True)

    assert Outcome.REPLACE is outcome(OLD, signed)
    assert Outcome.REFUSE is outcome(disowned, signed)


def test_after_a_hard_revocation_it_is_first_contact_again() -> None:
    """What was believed of the old one is no measure; what is too weak to start with is weak."""
    disowned = changed(OLD, level=Level.FINGERPRINT, revocation=Revocation(Strength.HARD, NOW))

    assert Rule.ENDED is judge(disowned, NEW, HOLD, NOW).rule
    assert Reason.WEAKER is judge(disowned, changed(NEW, level=WEAK), HOLD, NOW).reason


def test_a_transition_carries_the_level_over() -> None:
    """Else the key server that showed it first would open the door to rule (d)."""
    signed = changed(NEW, level=WEAK, source=Source.HKP, signed_by_registered=True)

    assert OLD.level is judge(OLD, signed, HOLD, NOW).level
    assert WEAK is judge(OLD, signed, Rules(Mode.LEAP_SPEC), NOW).level


def test_our_own_mailboxes_wait_a_week_and_say_until_when() -> None:
    """Used, in force, as well attested: the time is the owner's to object."""
    for seen_since, expected in (
        (NOW - WEEK + 1, (Outcome.WAIT, Rule.HELD, NOW + 1)),
        (NOW - WEEK, (Outcome.REPLACE, Rule.HELD, None)),
        (None, (Outcome.WAIT, Rule.HELD, NOW + WEEK)),
    ):
        decision = judge(OLD, changed(NEW, seen_since=seen_since), OURS, NOW)

        assert expected == (decision.outcome, decision.rule, decision.until)
        assert "old" == decision.replaces


def test_the_owner_may_choose_how_long() -> None:
    """From none to ninety days."""
    day_old = changed(NEW, seen_since=NOW - DAY)

    assert Outcome.REPLACE is outcome(OLD, NEW, changed(OURS, hold_down=0))
    assert Outcome.REPLACE is outcome(OLD, day_old, changed(OURS, hold_down=DAY))
    assert Outcome.WAIT is outcome(OLD, day_old, changed(OURS, hold_down=90 * DAY))


@pytest.mark.parametrize(
    ("registered", "candidate", "rule"),
    [
        (OLD, changed(NEW, signed_by_registered=True), Rule.TRANSITION),
        (OLD, changed(NEW, level=Level.FINGERPRINT), Rule.FINGERPRINT),
        (changed(OLD, not_after=NOW), NEW, Rule.ENDED),
        (changed(OLD, revocation=Revocation(Strength.SOFT, NOW)), NEW, Rule.ENDED),
        (changed(OLD, revocation=Revocation(Strength.HARD, NOW)), NEW, Rule.ENDED),
    ],
)
def test_what_need_not_wait(registered: Registered, candidate: Candidate, rule: Rule) -> None:
    """A certification, a confirmed fingerprint, expiry and revocation take effect at once."""
    decision = judge(registered, candidate, OURS, NOW)

    assert (Outcome.REPLACE, rule) == (decision.outcome, decision.rule)


def test_an_unused_one_of_ours_waits_too() -> None:
    """Rule (d) at once would let a stronger thief in before the owner hears of it."""
    unused, better = changed(OLD, encrypted_to=False), changed(NEW, level=Level.KNOWN_KEY)

    assert Outcome.REPLACE is outcome(unused, better)
    assert Outcome.WAIT is outcome(unused, better, OURS)


def test_a_weaker_source_of_the_same_level_does_not_even_wait() -> None:
    """Rule (e), and ours: from a source of no lower rank."""
    endless = changed(OLD, not_after=None)
    vks = changed(NEW, source=Source.VKS, seen_since=NOW - WEEK)

    assert Outcome.REFUSE is outcome(endless, vks)
    assert Outcome.REFUSE is outcome(OLD, vks, OURS)
    assert Outcome.REPLACE is outcome(endless, changed(vks, source=Source.WKD))


def test_two_with_the_same_right_are_a_conflict() -> None:
    """A certificate that works is not given up for either; an ended one is, for the first."""
    signed = [changed(NEW, fingerprint=name, signed_by_registered=True) for name in "ab"]
    found = resolve(OLD, signed, HOLD, NOW)

    assert found.change is None
    assert {Reason.CONFLICT} == {decision.reason for decision in found.decisions}
    ended = resolve(
        changed(OLD, not_after=NOW),
        [changed(c, signed_by_registered=False) for c in signed],
        HOLD,
        NOW,
    )
    assert "a" == (ended.change and ended.change.fingerprint)
    assert [Reason.OUTRANKED] == [decision.reason for decision in ended.conflicts]


def test_of_two_certified_ones_the_better_attested_wins() -> None:
    """A thief's, on a key server, against the one that the owner's provider shows."""
    signed = changed(NEW, signed_by_registered=True)
    thief = changed(signed, fingerprint="a", level=WEAK, source=Source.HKP)
    found = resolve(OLD, [thief, signed], HOLD, NOW)

    assert "new" == (found.change and found.change.fingerprint)
    assert [("a", Reason.OUTRANKED)] == [(d.fingerprint, d.reason) for d in found.conflicts]


def test_of_two_that_are_alike_one_is_chosen_and_the_other_told() -> None:
    """At first contact, whichever was named first."""
    alike = [changed(NEW, fingerprint=name) for name in "ab"]
    for order in (alike, alike[::-1]):
        found = first_contact(*order)

        assert "a" == (found.change and found.change.fingerprint)
        assert ["b"] == [decision.fingerprint for decision in found.conflicts]


def test_the_better_right_wins() -> None:
    """A confirmed fingerprint before a certification, that before a level."""
    unused = changed(OLD, encrypted_to=False)
    confirmed = changed(NEW, fingerprint="b", level=Level.FINGERPRINT)
    signed = changed(NEW, fingerprint="a", level=WEAK, signed_by_registered=True)
    higher = changed(NEW, fingerprint="d", level=Level.KNOWN_KEY)
    for seen, expected in (((higher, signed, confirmed), "b"), ((higher, signed), "a")):
        found = resolve(unused, seen, HOLD, NOW)

        assert expected == (found.change and found.change.fingerprint)
        assert len(seen) - 1 == len(found.conflicts)


def test_a_conflict_is_told_beside_an_update() -> None:
    """The registered one is seen again, and so is another: both are said."""
    found = resolve(OLD, [NEW, Candidate("old", TRUST, Source.WKD)], HOLD, NOW)

    assert [Outcome.UPDATE, Outcome.REFUSE] == [d.outcome for d in found.decisions]
    assert ["new"] == [decision.fingerprint for decision in found.conflicts]


@given(registrations, new_ones, st.booleans())
def test_weaker_evidence_never_replaces_what_is_used(
    registered: Registered, candidate: Candidate, is_ours: bool
) -> None:
    """In `hold`, whatever else is so: a certification or a disowned certificate aside."""
    used = changed(registered, encrypted_to=True, possession_proved=True)
    assume(candidate.level < used.level and not candidate.signed_by_registered)
    assume(not used.is_disowned)

    assert Outcome.REFUSE is outcome(used, candidate, Rules(is_ours=is_ours))


@given(registrations, new_ones, st.booleans())
def test_a_weak_chain_never_replaces_anything_better(
    registered: Registered, candidate: Candidate, is_ours: bool
) -> None:
    """In `hold`, used or not, in force, expired or disowned."""
    assume(registered.level > WEAK and not candidate.signed_by_registered)

    assert Outcome.REFUSE is outcome(
        registered, changed(candidate, level=WEAK), Rules(is_ours=is_ours)
    )


@given(registrations, new_ones, all_rules, st.sampled_from(Level))
def test_more_evidence_never_hurts(
    registered: Registered, candidate: Candidate, rules: Rules, level: Level
) -> None:
    """A higher level never turns a replacement into a refusal or a longer wait."""
    assume(level >= candidate.level)
    before = judge(registered, candidate, rules, NOW)
    after = judge(registered, changed(candidate, level=level), rules, NOW)

    assert _eagerness(before) <= _eagerness(after)


@given(registrations, new_ones, all_rules)
def test_use_only_ever_protects(registered: Registered, candidate: Candidate, rules: Rules) -> None:
    """A certificate that was used is replaced no sooner than one that was not."""
    used = changed(registered, encrypted_to=True, possession_proved=True)
    unused = changed(registered, encrypted_to=False)

    assert _eagerness(judge(used, candidate, rules, NOW)) <= _eagerness(
        judge(unused, candidate, rules, NOW)
    )


@given(registrations, new_ones, st.integers(0, 20 * DAY), st.booleans())
def test_waiting_only_ever_ends(
    registered: Registered, candidate: Candidate, later: int, is_ours: bool
) -> None:
    """Time alone never takes a replacement back; at `until` it happens."""
    rules = Rules(is_ours=is_ours)
    assume(not registered.is_disowned)
    now, then = (judge(registered, candidate, rules, at) for at in (NOW, NOW + later))

    if now.outcome is Outcome.REPLACE:
        assert Outcome.REPLACE is then.outcome
    if now.outcome is Outcome.WAIT and candidate.seen_since is not None:
        assert now.until is not None
        assert Outcome.REPLACE is judge(registered, candidate, rules, now.until).outcome


@given(st.none() | registrations, several, all_rules, st.randoms(use_true_random=False))
def test_order_changes_nothing(
    registered: Registered | None, seen: list[Candidate], rules: Rules, random: Random
) -> None:
    """The same evidence comes to the same; each certificate gets one decision."""
    shuffled = list(seen)
    random.shuffle(shuffled)
    found = resolve(registered, seen, rules, NOW)

    assert found == resolve(registered, shuffled, rules, NOW)
    assert {c.fingerprint for c in seen} == {d.fingerprint for d in found.decisions}
    assert len(seen) == len(found.decisions)


@given(st.none() | registrations, several, all_rules)
def test_at_most_one_certificate_wins(
    registered: Registered | None, seen: list[Candidate], rules: Rules
) -> None:
    """It is the first decision, and it says what is registered and for which rule."""
    found = resolve(registered, seen, rules, NOW)
    changes = [d for d in found.decisions if d.outcome in (Outcome.ACCEPT_FIRST, Outcome.REPLACE)]

    assert changes == ([] if found.change is None else [found.change])
    assert all(d.level is not None for d in changes)
    assert all((d.rule is not None) == (registered is not None) for d in changes)


@given(
    st.lists(
        st.builds(
            Sighting,
            st.sampled_from(["one", "two", "three"]),
            st.sampled_from(Source),
            st.sampled_from(Level),
            st.just(NOW - DAY),
        ),
        max_size=8,
    ),
    st.sets(
        st.tuples(
            st.sampled_from(["one", "two", "three"]), st.sampled_from(["one", "two", "three"])
        )
    ),
    st.sampled_from([Mode.HOLD, Mode.LEAP_SPEC]),
)
def test_the_same_evidence_never_flaps(
    sightings: list[Sighting], certified: set[tuple[str, str]], mode: Mode
) -> None:
    """Decided again and again over the same sightings, a mailbox comes to rest, even when
    certificates certify each other in a circle."""
    registered: Registered | None = None
    retired: list[str] = []
    for _ in range(5):
        background = {
            name: Background(
                signed_by_registered=registered is not None
                and (registered.fingerprint, name) in certified,
                retired_at=NOW if name in retired else None,
            )
            for name in ("one", "two", "three")
        }
        seen = candidates(sightings, background, registered, NOW)
        change = resolve(registered, seen, Rules(mode), NOW).change
        if change is None:
            return
        assert change.fingerprint not in retired
        assert change.level is not None
        if registered is not None:
            retired.append(registered.fingerprint)
        registered = Registered(change.fingerprint, change.level, Source.WKD)
    pytest.fail("still changing")


@given(st.none() | registrations, new_ones, all_rules)
def test_every_decision_can_be_told(
    registered: Registered | None, candidate: Candidate, rules: Rules
) -> None:
    """In one sentence that names the certificate, and what it would replace."""
    decision = judge(registered, candidate, rules, NOW)
    told = in_words(decision)

    assert told.startswith("new ")
    assert (decision.outcome in (Outcome.REPLACE, Outcome.WAIT)) == (" old" in told)
    assert "None" not in told


def test_words() -> None:
    """As the operator reads them."""
    assert (
        "new waits until 2027-01-22 08:00:00 UTC to replace old, unless its owner objects"
    ) == in_words(judge(OLD, NEW, OURS, NOW))
    assert (
        "new replaces old: the registered certificate certified it (LEAP rule a); 2 sources agree"
    ) == in_words(judge(OLD, changed(NEW, signed_by_registered=True, corroborated=2), HOLD, NOW))


def _eagerness(decision: Decision) -> tuple[int, int]:
    order = (Outcome.REFUSE, Outcome.WAIT, Outcome.REPLACE)
    return order.index(decision.outcome), -(decision.until or 0)
