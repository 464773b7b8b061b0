"""Which recipient gets which copy, and what becomes of the envelope. Pure.

Postfix holds one message per transaction, so one recipient's copy replaces it in place
(the primary) and the others' re-enter. Recipients whose message stays as it arrived share
the primary; if there are none, the first recipient has it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from letterlock.envelope import ForwardPath
from letterlock.errors import RecipientsLost
from letterlock.policy import Disposition, Treatment
from letterlock.transaction import Recipient

UNCHANGED = frozenset(
    treatment
    for treatment in Treatment
    if treatment.disposition in (Disposition.PASSED_PLAIN, Disposition.PASSED_ENCRYPTED)
)
"""Treatments that leave the body alone, and are the same for all who get them."""


@dataclass(frozen=True, slots=True)
class Treated:
    """A recipient and what is done for it."""

    recipient: Recipient
    treatment: Treatment


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done with a transaction."""

    primary: tuple[Treated, ...]
    copies: tuple[Treated, ...]
    deleted: tuple[ForwardPath, ...]
    added: tuple[tuple[str, tuple[str, ...]], ...]
    """Final addresses, with their RCPT parameters."""


def plan(treated: Sequence[Treated], finals: Mapping[ForwardPath, tuple[str, ...]]) -> Plan:
    """Return the plan. `finals`: the mailboxes (keys) behind each forward-path.

    Raises RecipientsLost where the primary would be left without a recipient: Postfix
    takes that for an order to throw the message away.
    """
    unchanged = tuple(t for t in treated if t.treatment in UNCHANGED)
    primary = unchanged or tuple(treated[:1])
    ours = {t.recipient.mailbox.key for t in primary}
    kept = [path for path, keys in finals.items() if ours.issuperset(keys)]
    reached = {key for path in kept for key in finals[path]}
    added = tuple(
        address
        for t in primary
        if t.recipient.mailbox.key not in reached
        for address in t.recipient.addresses.items()
    )
    if not kept and not added:
        raise RecipientsLost("no recipient left for the primary")
    return Plan(
        primary=primary,
        copies=tuple(t for t in treated if t not in primary),
        deleted=tuple(path for path in finals if path not in kept),
        added=added,
    )
