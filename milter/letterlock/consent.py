"""The promise itself, once more, where a message is about to leave as it came. Pure.

`policy` says how each mailbox is treated, `plan` who shares a message. This asks of the outcome
of both only what they were told: whether everybody who would get plaintext may. It never
happens; if it did, the mail would wait, and Prometheus would ring.
"""

from keyservice.client import Answer, Outcome, Outgoing, SenderPolicy, WithoutCertificate
from letterlock.errors import PlaintextForbidden
from letterlock.plan import UNCHANGED, Plan


def require_consent(made: Plan, sender: SenderPolicy | None, *, arrived_encrypted: bool) -> None:
    """Raise PlaintextForbidden if somebody would get plaintext to whom none may be given.

    `sender`: of a submission, the policy of its sender.
    """
    leaves_as_it_came = any(treated.treatment in UNCHANGED for treated in made.primary)
    if not leaves_as_it_came or arrived_encrypted:
        return
    if not all(_is_allowed(treated.recipient.answer, sender) for treated in made.primary):
        raise PlaintextForbidden("a mailbox would have got plaintext against its policy")


def _is_allowed(answer: Answer, sender: SenderPolicy | None) -> bool:
    match answer.outcome:
        case Outcome.OUTSIDE:
            return sender is None or sender.outgoing is not Outgoing.REQUIRED
        case Outcome.NOT_FOUND:
            consents = answer.policy.without_certificate is WithoutCertificate.ACCEPT
            return consents and not answer.had_certificate
        case _:
            return False
