"""What to answer about a mailbox, from what is stored about it. Pure."""

from typing import NamedTuple

from keyservice.certificate import (
    Certificate,
    RejectedCertificate,
    alive_subkeys,
    require_usable,
)
from keyservice.mailbox import Mailbox
from keyservice.record import LIFETIME_MAX
from keyservice.wire import Answer, MailboxPolicy, Outcome

NEGATIVE_LIFETIME = 30
"""Seconds. A mailbox that gets its first certificate must not go on as one without."""


class Standing(NamedTuple):
    """What is stored about one mailbox of ours."""

    policy: MailboxPolicy
    had_certificate: bool = False
    certificate: Certificate | None = None
    """The one in use, whether or not it still may be."""

    waits_until: int | None = None
    """When another one takes over."""


def decide(mailbox: Mailbox, standing: Standing | None, now: float) -> Answer:
    """Return the answer that holds from `now` on; `standing` is None for a domain not ours."""
    if standing is None:
        return _answer(mailbox, Outcome.OUTSIDE, MailboxPolicy(), now)
    if standing.certificate is None:
        return _answer(
            mailbox,
            Outcome.NOT_FOUND,
            standing.policy,
            now,
            had_certificate=standing.had_certificate,
        )
    try:
        require_usable(standing.certificate, mailbox, now)
    except RejectedCertificate as rejected:
        return _answer(
            mailbox,
            Outcome.REJECTED,
            standing.policy,
            now,
            had_certificate=True,
            fingerprint=standing.certificate.fingerprint,
            reason=f"{rejected.refusal.reason.value}: {rejected.refusal.detail}",
        )
    return _found(mailbox, standing, standing.certificate, now)


def _found(mailbox: Mailbox, standing: Standing, certificate: Certificate, now: float) -> Answer:
    subkeys = alive_subkeys(certificate, now)
    ends = [certificate.not_after, *(subkey.not_after for subkey in subkeys)]
    if standing.waits_until is not None and standing.waits_until > now:
        ends.append(standing.waits_until)
    expires_at = min([int(now) + LIFETIME_MAX, *(end for end in ends if end is not None)])
    return Answer(
        mailbox.key,
        Outcome.FOUND,
        standing.policy,
        had_certificate=True,
        fingerprint=certificate.fingerprint,
        subkeys=subkeys,
        issued_at=int(now),
        expires_at=expires_at,
    )


def _answer(
    mailbox: Mailbox,
    outcome: Outcome,
    policy: MailboxPolicy,
    now: float,
    *,
    had_certificate: bool = False,
    fingerprint: str | None = None,
    reason: str | None = None,
) -> Answer:
    return Answer(
        mailbox.key,
        outcome,
        policy,
        had_certificate=had_certificate,
        fingerprint=fingerprint,
        reason=reason,
        issued_at=int(now),
        expires_at=int(now) + NEGATIVE_LIFETIME,
    )
