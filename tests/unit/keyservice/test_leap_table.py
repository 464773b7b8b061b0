"""LEAP's replacement rules over their whole table, against an oracle written from the text.

The table: level of the registered certificate, level of the new one, certified by the
registered one or not, used (neither, encrypted to, possession proved, both), without an
end, ending later, expired, revoked softly and hard.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from keyservice.evidence import Candidate, Registered
from keyservice.levels import Level, Source
from keyservice.replacement import Mode, Outcome, Reason, Rule, Rules, judge
from keyservice.revocation import Revocation, Strength

NOW = 1_800_000_000
DAY = 86_400


class Life(NamedTuple):
    """What has become of the registered certificate, as three independent statements."""

    has_end: bool
    is_expired: bool
    revoked: Strength | None


LIVES = [
    Life(has_end, is_expired, revoked)
    for has_end, is_expired in ((False, False), (True, False), (True, True))
    for revoked in (None, Strength.SOFT, Strength.HARD)
]


class Case(NamedTuple):
    """One row."""

    old_level: Level
    new_level: Level
    is_signed: bool
    encrypted_to: bool
    possession_proved: bool
    life: Life

    def registered(self) -> Registered:
        """Return the registered certificate of this row."""
        end = NOW - DAY if self.life.is_expired else NOW + DAY
        revocation = None if self.life.revoked is None else Revocation(self.life.revoked, NOW - DAY)
        return Registered(
            "old",
            self.old_level,
            Source.WKD,
            end if self.life.has_end else None,
            revocation,
            self.encrypted_to,
            self.possession_proved,
        )

    def candidate(self, seen_since: int | None = None) -> Candidate:
        """Return the new certificate of this row."""
        return Candidate(
            "new",
            self.new_level,
            Source.WKD,
            seen_since=seen_since,
            signed_by_registered=self.is_signed,
        )


def table() -> Iterator[Case]:
    """Yield every row."""
    flags = (False, True)
    for row in itertools.product(Level, Level, flags, flags, flags, LIVES):
        yield Case(*row)


def spec(case: Case) -> set[Rule]:
    """Return the rules of the text that apply, each read on its own."""
    applies = set()
    # "when the new key is signed by the previously registered key for same address"
    if case.is_signed:
        applies.add(Rule.TRANSITION)
    # "if the user manually verifies the fingerprint of the new key"
    if case.new_level.name == "FINGERPRINT":
        applies.add(Rule.FINGERPRINT)
    # "expired or revoked and the new key is of equal or higher validation level"
    if (case.life.is_expired or case.life.revoked) and int(case.new_level) >= int(case.old_level):
        applies.add(Rule.ENDED)
    # "never been successfully used": not both encrypted to and signed by; "higher"
    if not (case.encrypted_to and case.possession_proved) and case.new_level > case.old_level:
        applies.add(Rule.UNUSED)
    # "no expiration date"
    if not case.life.has_end:
        applies.add(Rule.NO_END)
    return applies


def bitmask(case: Case) -> bool:
    """Return what Bitmask's `can_upgrade` says of two different keys."""
    higher = case.new_level > case.old_level
    unused = not (case.encrypted_to and case.possession_proved)
    return (
        case.new_level == Level.FINGERPRINT
        or (case.life.is_expired and case.new_level >= case.old_level)
        or (not case.life.has_end and higher)
        or (unused and higher)
        or case.is_signed
    )


def held(case: Case) -> set[Rule]:
    """Return the rules of `hold` that let a stranger's mailbox change, the wait being over."""
    applies = spec(case)
    if case.life.revoked is Strength.HARD:
        # What was believed of it counts for nothing; what comes is a first contact.
        applies -= {Rule.TRANSITION, Rule.ENDED, Rule.UNUSED, Rule.NO_END}
        return applies | ({Rule.ENDED} if case.new_level >= Level.PROVIDER_TRUST else set())
    if case.new_level < case.old_level:
        applies.discard(Rule.NO_END)
    return applies


def test_the_table_is_whole() -> None:
    """Eight levels, all rules, used and unused, every end."""
    assert 8 * 8 * 2 * 4 * 9 == len(list(table()))
    assert set(Rule) - {Rule.HELD} == set.union(*(spec(case) for case in table()))


def test_leap_spec_replaces_when_and_only_when_the_text_says() -> None:
    """MUST, and ONLY; and the rule it names is one that applies."""
    for case in table():
        expected = spec(case)
        decision = judge(case.registered(), case.candidate(), Rules(Mode.LEAP_SPEC), NOW)

        if expected:
            assert Outcome.REPLACE is decision.outcome, case
            assert decision.rule in expected, case
            assert case.new_level == decision.level, case
        else:
            assert Outcome.REFUSE is decision.outcome, case
            weaker = case.new_level < case.old_level
            assert (Reason.WEAKER if weaker else Reason.IN_FORCE) is decision.reason, case


def test_bitmask_replaces_when_and_only_when_its_code_does() -> None:
    """Revocation unknown, (e) strict."""
    for case in table():
        decision = judge(case.registered(), case.candidate(), Rules(Mode.BITMASK), NOW)

        assert bitmask(case) == (decision.outcome is Outcome.REPLACE), case


@pytest.mark.parametrize("is_ours", [False, True])
def test_hold_replaces_at_once_or_after_the_wait(is_ours: bool) -> None:
    """(a), (b), (c) at once for everybody, (d) for strangers; the rest when the time is over."""
    rules = Rules(is_ours=is_ours)
    at_once = {Rule.TRANSITION, Rule.FINGERPRINT, Rule.ENDED} | (
        set() if is_ours else {Rule.UNUSED}
    )
    for case in table():
        expected = held(case)
        has_ended = bool(case.life.is_expired or case.life.revoked)
        if is_ours and not has_ended and case.new_level >= case.old_level:
            expected |= {Rule.HELD}
        if has_ended:
            expected -= {Rule.NO_END, Rule.HELD}
        new = judge(case.registered(), case.candidate(NOW - DAY), rules, NOW)
        waited = judge(case.registered(), case.candidate(NOW - 7 * DAY), rules, NOW)

        assert bool(expected) == (waited.outcome is Outcome.REPLACE), case
        assert waited.rule is None or waited.rule in expected, case
        if expected & at_once:
            assert waited == new, case
        elif expected:
            assert (Outcome.WAIT, NOW + 6 * DAY) == (new.outcome, new.until), case
            assert waited.rule is new.rule, case
        else:
            assert waited == new, case


def test_hold_never_replaces_what_the_text_would_keep() -> None:
    """Our additions only ever wait longer: for strangers it is a subset of the text, except
    that a certificate its owner disowned no longer has a level to be measured by."""
    for case in table():
        decision = judge(case.registered(), case.candidate(NOW - 30 * DAY), Rules(), NOW)
        disowned = case.life.revoked is Strength.HARD

        assert decision.outcome is not Outcome.REPLACE or spec(case) or disowned, case
