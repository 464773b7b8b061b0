"""The last look before a message leaves as it came: does everybody consent who would get it?"""

from itertools import product

import pytest

from keyservice.client import (
    Answer,
    Mailbox,
    MailboxPolicy,
    Outcome,
    Outgoing,
    SenderPolicy,
    WithoutCertificate,
)
from letterlock.consent import require_consent
from letterlock.errors import PlaintextForbidden
from letterlock.plan import Plan, Treated
from letterlock.policy import Disposition, Treatment, treat
from letterlock.transaction import Recipient

EVERY_ANSWER = list(product(Outcome, WithoutCertificate, (False, True)))
MAILBOX = Mailbox("alice", "example.test")


def answer(outcome: Outcome, without: WithoutCertificate, had: bool) -> Answer:
    policy = MailboxPolicy(without_certificate=without)
    return Answer(mailbox=MAILBOX.key, outcome=outcome, policy=policy, had_certificate=had)


def planned(*treated: tuple[Answer, Treatment]) -> Plan:
    primary = tuple(Treated(Recipient(MAILBOX, a, ()), treatment) for a, treatment in treated)
    return Plan(primary, (), (), ())


def is_stopped(made: Plan, sender: SenderPolicy | None = None, arrived: bool = False) -> bool:
    try:
        require_consent(made, sender, arrived_encrypted=arrived)
    except PlaintextForbidden:
        return True
    return False


OUTSIDE = answer(Outcome.OUTSIDE, WithoutCertificate.DEFER, False)
OURS = answer(Outcome.FOUND, WithoutCertificate.ACCEPT, True)


@pytest.mark.parametrize("case", EVERY_ANSWER)
def test_the_table_and_the_last_look_agree(case):
    """What `treat` lets pass in the clear is what the policy consents to, and nothing else."""
    asked = answer(*case)
    treatment = treat(asked, can_encrypt=True, encrypted_to_own_subkey=False)
    is_plain = treatment.disposition is Disposition.PASSED_PLAIN

    assert is_plain == (not is_stopped(planned((asked, Treatment.PLAIN_ACCEPTED))))


def test_somebody_with_a_certificate_must_not_share_a_message_in_the_clear():
    """A plan that went wrong is found out, though each treatment was right."""
    shared = planned((OUTSIDE, Treatment.PLAIN_OUTSIDE), (OURS, Treatment.WRAP))

    assert is_stopped(shared)


def test_what_leaves_encrypted_needs_no_consent():
    """Neither by us, nor by whoever wrote it."""
    assert not is_stopped(planned((OURS, Treatment.WRAP)))
    assert not is_stopped(planned((OURS, Treatment.PASS)), arrived=True)


@pytest.mark.parametrize("outgoing", Outgoing)
def test_a_submission_leaves_in_the_clear_unless_its_sender_requires_more(outgoing):
    """`required` is a promise to the sender."""
    made = planned((OUTSIDE, Treatment.PLAIN_PEER_UNKNOWN))

    assert (outgoing is Outgoing.REQUIRED) == is_stopped(made, SenderPolicy(outgoing=outgoing))
