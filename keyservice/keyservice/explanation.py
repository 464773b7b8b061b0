"""Decisions about certificates in words, for `explain` and the log. Pure."""

from datetime import UTC, datetime
from typing import assert_never

from keyservice.replacement import Decision, Outcome, Reason, Rule

_RULES = {
    Rule.TRANSITION: "the registered certificate certified it (LEAP rule a)",
    Rule.FINGERPRINT: "its fingerprint was confirmed (LEAP rule b)",
    Rule.ENDED: "the registered certificate is expired or revoked, and this one is at least as"
    " well attested (LEAP rule c)",
    Rule.UNUSED: "the registered certificate was never used in both directions, and this one is"
    " better attested (LEAP rule d)",
    Rule.NO_END: "the registered certificate has no expiration date (LEAP rule e)",
    Rule.HELD: "it is as well attested, and its owner did not object during the hold-down",
}

_REASONS = {
    Reason.UNUSABLE: "it must not be encrypted to",
    Reason.RETIRED: "it was in use before and was replaced or withdrawn",
    Reason.WEAKER: "it is less well attested than the registered one",
    Reason.IN_FORCE: "the registered one is neither expired nor revoked and did not certify it",
    Reason.OUTRANKED: "another certificate has the better right",
    Reason.CONFLICT: "another certificate has the same right; somebody has to confirm one of them",
}

CONFLICTS = tuple(reason.value for reason in (*Reason, Outcome.WAIT, Outcome.PARK_WEAK))
"""What `conflict` can return."""


def conflict(decision: Decision) -> str:
    """Return in a word why a certificate that was seen is not in use. Also the metric label."""
    return decision.reason.value if decision.reason else decision.outcome.value


def in_words(decision: Decision) -> str:
    """Return one sentence that says what happens with a certificate, and why."""
    return f"{decision.fingerprint} {_verdict(decision)}{_sources(decision)}"


def _verdict(decision: Decision) -> str:
    match decision.outcome:
        case Outcome.ACCEPT_FIRST:
            return "becomes the first certificate, as the best attested one"
        case Outcome.UPDATE:
            return "is the registered certificate; what is new in it is merged"
        case Outcome.REPLACE:
            return f"replaces {decision.replaces}: {_rule(decision)}"
        case Outcome.WAIT:
            return (
                f"waits until {_time(decision.until)} to replace {decision.replaces},"
                " unless its owner objects"
            )
        case Outcome.REFUSE:
            why = "" if decision.reason is None else _REASONS[decision.reason]
            return f"is not used: {why}"
        case Outcome.PARK_WEAK:
            return "is not used: the evidence is too weak for a first certificate"
        case _:
            assert_never(decision.outcome)


def _rule(decision: Decision) -> str:
    return "" if decision.rule is None else _RULES[decision.rule]


def _sources(decision: Decision) -> str:
    return f"; {decision.corroborated} sources agree" if decision.corroborated > 1 else ""


def _time(seconds: int | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%F %T UTC")
