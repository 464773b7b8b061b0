"""Which certificate a mailbox gets: LEAP's rules for first contact and replacement. Pure.

LEAP, transitional key validation, "Key manager rules": a registered certificate is replaced
when, and only when

a. the new one is certified by it for the same mailbox (`transition`),
b. somebody confirmed the new one's fingerprint,
c. it is expired or revoked, and the new one's level is as high or higher,
d. it was never successfully used, and the new one's level is higher,
e. it has no expiration date.

Read literally, (e) hands most mailboxes to whoever speaks last. Three modes: `Mode`. The
creation date of a certificate counts for nothing: it is whatever its maker wrote. Each
certificate that was seen gets a decision with its reason; `resolution` lets at most one of
them change anything.
"""

from enum import Enum
from typing import assert_never

import msgspec

from keyservice.evidence import Candidate, Registered
from keyservice.levels import Level

DAY = 86_400


class Mode(Enum):
    """How the rules are read."""

    LEAP_SPEC = "leap-spec"
    """To the letter."""

    BITMASK = "bitmask"
    """As Bitmask's code: (e) wants a higher level, revocation is not known."""

    HOLD = "hold"
    """(e) waits for a candidate at least as well attested, seen all the while and alone. So
    does every replacement for mailboxes of ours except (a), (b) and (c): the time is for the
    owner, who is warned, to object."""


class Rule(Enum):
    """What let a certificate replace another: LEAP's letters, and one of ours."""

    TRANSITION = "a"
    FINGERPRINT = "b"
    ENDED = "c"
    UNUSED = "d"
    NO_END = "e"
    HELD = "held"
    """A mailbox of ours, and nobody objected for as long as the hold-down lasts."""


class Outcome(Enum):
    """What happens with a certificate that was seen for a mailbox."""

    ACCEPT_FIRST = "accept_first"
    UPDATE = "update"
    """It is the registered one: merge what is new."""

    REPLACE = "replace"
    WAIT = "wait"
    """It replaces the registered one at `until`, unless something happens before."""

    REFUSE = "refuse"
    PARK_WEAK = "park_weak"
    """There is none yet, and the evidence is too weak for a first one."""


class Reason(Enum):
    """Why a certificate is refused. Also the metric label."""

    UNUSABLE = "unusable"
    RETIRED = "retired"
    WEAKER = "weaker"
    IN_FORCE = "in_force"
    OUTRANKED = "outranked"
    CONFLICT = "conflict"


class Rules(msgspec.Struct, frozen=True):
    """What the operator decided, and whether the mailbox is one of ours."""

    mode: Mode = Mode.HOLD
    first_contact: Level = Level.PROVIDER_TRUST
    """The least for a first certificate."""

    hold_down: int = 7 * DAY
    """Seconds that `Mode.HOLD` waits."""

    is_ours: bool = False


class Decision(msgspec.Struct, frozen=True):
    """What happens with one certificate, and why."""

    outcome: Outcome
    fingerprint: str
    rule: Rule | None = None
    reason: Reason | None = None
    until: int | None = None
    replaces: str | None = None
    level: Level | None = None
    """What is registered with it; None if nothing is, or if it was hard revoked."""

    corroborated: int = 1


def judge(
    registered: Registered | None, candidate: Candidate, rules: Rules, now: float
) -> Decision:
    """Decide about one certificate as if it were the only one seen."""
    if registered is not None and registered.fingerprint == candidate.fingerprint:
        return _update(registered, candidate)
    if (reason := _objection(candidate, rules)) is not None:
        return refuse(candidate, registered, reason)
    if registered is None:
        return _first(candidate, rules)
    match rules.mode:
        case Mode.LEAP_SPEC:
            return _by_rule(registered, candidate, _leap_spec(registered, candidate, now))
        case Mode.BITMASK:
            return _by_rule(registered, candidate, _bitmask(registered, candidate, now))
        case Mode.HOLD:
            return _hold(registered, candidate, rules, now)
        case _:
            assert_never(rules.mode)


def _objection(candidate: Candidate, rules: Rules) -> Reason | None:
    if not candidate.is_usable:
        return Reason.UNUSABLE
    # LEAP: old keys "are never used for sending messages". Bitmask's code has no such rule.
    return Reason.RETIRED if candidate.is_retired and rules.mode is not Mode.BITMASK else None


def _first(candidate: Candidate, rules: Rules) -> Decision:
    enough = candidate.level >= rules.first_contact
    return Decision(
        Outcome.ACCEPT_FIRST if enough else Outcome.PARK_WEAK,
        candidate.fingerprint,
        level=candidate.level if enough else None,
        corroborated=candidate.corroborated,
    )


def _update(registered: Registered, candidate: Candidate) -> Decision:
    """Never lower: a level decays with a hard revocation and with nothing else."""
    return Decision(
        Outcome.UPDATE,
        candidate.fingerprint,
        level=None if registered.is_disowned else max(registered.level, candidate.level),
        corroborated=candidate.corroborated,
    )


def _leap_spec(registered: Registered, candidate: Candidate, now: float) -> Rule | None:
    old, new = registered.level, candidate.level
    return _first_that_applies(
        (Rule.TRANSITION, candidate.signed_by_registered),
        (Rule.FINGERPRINT, new is Level.FINGERPRINT),
        (Rule.ENDED, registered.has_ended(now) and new >= old),
        (Rule.UNUSED, not registered.is_used and new > old),
        (Rule.NO_END, registered.not_after is None),
    )


def _bitmask(registered: Registered, candidate: Candidate, now: float) -> Rule | None:
    old, new = registered.level, candidate.level
    return _first_that_applies(
        (Rule.TRANSITION, candidate.signed_by_registered),
        (Rule.FINGERPRINT, new is Level.FINGERPRINT),
        (Rule.ENDED, registered.has_expired(now) and new >= old),
        (Rule.UNUSED, not registered.is_used and new > old),
        (Rule.NO_END, registered.not_after is None and new > old),
    )


def _first_that_applies(*rules: tuple[Rule, bool]) -> Rule | None:
    return next((rule for rule, applies in rules if applies), None)


def _hold(registered: Registered, candidate: Candidate, rules: Rules, now: float) -> Decision:
    old, new = registered.level, candidate.level
    # Hard revoked, it vouches for nothing, and what replaces it is a first contact again.
    least = rules.first_contact if registered.is_disowned else old
    rule = _first_that_applies(
        (Rule.TRANSITION, candidate.signed_by_registered and not registered.is_disowned),
        (Rule.FINGERPRINT, new is Level.FINGERPRINT),
        (Rule.ENDED, registered.has_ended(now) and new >= least),
    )
    if rule is not None:
        return _by_rule(registered, candidate, rule, inherits=rule is Rule.TRANSITION)
    if registered.has_ended(now):
        return refuse(candidate, registered, Reason.WEAKER)
    unused = not registered.is_used and new > old
    if unused and not rules.is_ours:
        return _by_rule(registered, candidate, Rule.UNUSED)
    held = _first_that_applies(
        (Rule.UNUSED, unused),
        (Rule.NO_END, registered.not_after is None),
        (Rule.HELD, rules.is_ours),
    )
    if held is None or candidate.weight < registered.weight:
        return _by_rule(registered, candidate, None)
    return _after_hold_down(registered, candidate, held, rules, now)


def _after_hold_down(
    registered: Registered, candidate: Candidate, rule: Rule, rules: Rules, now: float
) -> Decision:
    # Contradicted: the time has not even begun.
    since = int(now) if candidate.seen_since is None else candidate.seen_since
    if candidate.seen_since is not None and now >= since + rules.hold_down:
        return _by_rule(registered, candidate, rule)
    return Decision(
        Outcome.WAIT,
        candidate.fingerprint,
        rule,
        until=since + rules.hold_down,
        replaces=registered.fingerprint,
        corroborated=candidate.corroborated,
    )


def _by_rule(
    registered: Registered, candidate: Candidate, rule: Rule | None, *, inherits: bool = False
) -> Decision:
    if rule is None:
        weaker = candidate.level < registered.level
        return refuse(candidate, registered, Reason.WEAKER if weaker else Reason.IN_FORCE)
    # A transition found on a key server is as good as the certificate that vouches for it:
    # registered with the server's level, it would be open to rule (d) for everybody else.
    level = max(candidate.level, registered.level) if inherits else candidate.level
    return Decision(
        Outcome.REPLACE,
        candidate.fingerprint,
        rule,
        replaces=registered.fingerprint,
        level=level,
        corroborated=candidate.corroborated,
    )


def refuse(candidate: Candidate, registered: Registered | None, reason: Reason) -> Decision:
    """Return that `candidate` is not used."""
    return Decision(
        Outcome.REFUSE,
        candidate.fingerprint,
        reason=reason,
        replaces=registered.fingerprint if registered else None,
        corroborated=candidate.corroborated,
    )
