"""What is done when several certificates were seen for a mailbox: at most one of them wins. Pure.

The same evidence in another order comes to the same.
"""

import math
from collections.abc import Sequence

import msgspec

from keyservice.evidence import Candidate, Registered
from keyservice.replacement import Decision, Mode, Outcome, Reason, Rule, Rules, judge, refuse


class Resolution(msgspec.Struct, frozen=True):
    """The decisions about all certificates that were seen; the first says what is done."""

    decisions: tuple[Decision, ...]

    @property
    def change(self) -> Decision | None:
        """What gives the mailbox a certificate that it does not have, if anything does."""
        first = self.decisions[0] if self.decisions else None
        return first if first is not None and first.outcome in _CHANGES else None

    @property
    def conflicts(self) -> tuple[Decision, ...]:
        """What was seen and neither is used nor takes over: to record, count and show."""
        harmless = (*_CHANGES, Outcome.UPDATE)
        return tuple(d for d in self.decisions if d.outcome not in harmless)


_CHANGES = frozenset({Outcome.ACCEPT_FIRST, Outcome.REPLACE})

_URGENCY = (*_CHANGES, Outcome.WAIT, Outcome.UPDATE, Outcome.REFUSE, Outcome.PARK_WEAK)

_PRECEDENCE = (
    Rule.FINGERPRINT,
    Rule.TRANSITION,
    Rule.ENDED,
    Rule.UNUSED,
    Rule.NO_END,
    Rule.HELD,
)
"""Of two candidates that may both replace, the one with the better right does."""


def resolve(
    registered: Registered | None,
    candidates: Sequence[Candidate],
    rules: Rules,
    now: float,
    hint: str | None = None,
) -> Resolution:
    """Decide about all `candidates`, one per fingerprint, in any order.

    `hint` is the fingerprint that is preferred to others of the same weight.
    """
    ranked = sorted(candidates, key=lambda c: _strength(c, hint))
    judged = [(c, judge(registered, c, rules, now)) for c in ranked]
    changes = [pair for pair in judged if pair[1].outcome in _CHANGES]
    winner = _winner(changes, rules)
    overruled = Reason.CONFLICT if winner is None else Reason.OUTRANKED
    decisions = [
        refuse(candidate, registered, overruled)
        if changes and decision is not winner and decision.outcome in (*_CHANGES, Outcome.WAIT)
        else decision
        for candidate, decision in judged
    ]
    return Resolution(tuple(sorted(decisions, key=lambda d: _URGENCY.index(d.outcome))))


def _strength(candidate: Candidate, hint: str | None) -> tuple[int, int, bool, float, str]:
    """Sort key: the best attested first, then the one hinted at, or that was there first."""
    level, rank = candidate.weight
    since = math.inf if candidate.seen_since is None else candidate.seen_since
    return (-level, -rank, candidate.fingerprint != hint, since, candidate.fingerprint)


def _winner(changes: list[tuple[Candidate, Decision]], rules: Rules) -> Decision | None:
    """Return the change that is made; None if there is none, or two with the same right."""
    ranked = sorted(changes, key=lambda pair: _precedence(pair[1]))
    if not ranked:
        return None
    winner = ranked[0][1]
    # Without a working certificate mail waits, so the deterministic choice is made. But a
    # certificate that works is not given up for one of two that contradict each other.
    if rules.mode is Mode.HOLD and winner.rule not in (None, Rule.ENDED) and len(ranked) > 1:
        (first, _), (second, rival) = ranked[:2]
        if first.weight == second.weight and rival.rule is winner.rule:
            return None
    return winner


def _precedence(decision: Decision) -> int:
    return -1 if decision.rule is None else _PRECEDENCE.index(decision.rule)
