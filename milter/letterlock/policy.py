"""The table: what is done with a message for one mailbox.

Every reason for which a message can leave this process unencrypted stands in `treat`,
and nowhere else. Pure: an answer, what arrived and a time in; a treatment out.
"""

from enum import Enum
from typing import assert_never

from keyservice.client import (
    Answer,
    ArrivedEncrypted,
    Outcome,
    Outgoing,
    PeerAnswer,
    PeerOutcome,
    SenderPolicy,
    WithoutCertificate,
)
from letterlock.reply import (
    CERTIFICATE_NEEDED,
    CERTIFICATE_REQUIRED,
    PEER_CERTIFICATE_REQUIRED,
    PEER_CERTIFICATE_SOUGHT,
    TRY_LATER,
    SMTPReply,
)


class Disposition(Enum):
    """What happened to a message; a metric label."""

    ENCRYPTED = "encrypted"
    PASSED_ENCRYPTED = "passed_encrypted"
    PASSED_PLAIN = "passed_plain"
    DEFERRED = "deferred"
    REJECTED = "rejected"


class Treatment(Enum):
    """What is done, and for which reason (the value: a metric label and a word of the log)."""

    WRAP = "wrapped"
    HEADER = "arrived_encrypted_header"
    PASS = "arrived_encrypted_pass"  # noqa: S105 (not a password)
    PLAIN_OUTSIDE = "outside"
    PLAIN_ACCEPTED = "accepted_without_certificate"
    DEFER_NO_CERTIFICATE = "no_certificate"
    DEFER_WITHDRAWN = "certificate_withdrawn"
    DEFER_UNUSABLE = "certificate_unusable"
    DEFER_UNAVAILABLE = "lookup_unavailable"
    REJECT_NO_CERTIFICATE = "no_certificate_rejected"

    # Of submissions, for mailboxes that are not ours.
    ENCRYPT_PEER = "encrypted_for_peer"
    PASS_SUBMITTED = "submitted_encrypted"  # noqa: S105 (not a password)
    PLAIN_NEVER = "outgoing_never"
    PLAIN_PEER_UNKNOWN = "peer_unknown"
    DEFER_PEER_SOUGHT = "peer_lookup_unavailable"
    REJECT_PEER_UNKNOWN = "peer_unknown_rejected"

    @property
    def disposition(self) -> Disposition:
        """What this treatment does to the message."""
        return _DISPOSITIONS[self]

    @property
    def refusal(self) -> SMTPReply | None:
        """The reply to the peer where the mailbox gets nothing, else None."""
        return _REFUSALS.get(self)


_DISPOSITIONS = {
    Treatment.WRAP: Disposition.ENCRYPTED,
    Treatment.HEADER: Disposition.ENCRYPTED,
    Treatment.PASS: Disposition.PASSED_ENCRYPTED,
    Treatment.PLAIN_OUTSIDE: Disposition.PASSED_PLAIN,
    Treatment.PLAIN_ACCEPTED: Disposition.PASSED_PLAIN,
    Treatment.DEFER_NO_CERTIFICATE: Disposition.DEFERRED,
    Treatment.DEFER_WITHDRAWN: Disposition.DEFERRED,
    Treatment.DEFER_UNUSABLE: Disposition.DEFERRED,
    Treatment.DEFER_UNAVAILABLE: Disposition.DEFERRED,
    Treatment.REJECT_NO_CERTIFICATE: Disposition.REJECTED,
    Treatment.ENCRYPT_PEER: Disposition.ENCRYPTED,
    Treatment.PASS_SUBMITTED: Disposition.PASSED_ENCRYPTED,
    Treatment.PLAIN_NEVER: Disposition.PASSED_PLAIN,
    Treatment.PLAIN_PEER_UNKNOWN: Disposition.PASSED_PLAIN,
    Treatment.DEFER_PEER_SOUGHT: Disposition.DEFERRED,
    Treatment.REJECT_PEER_UNKNOWN: Disposition.REJECTED,
}

_REFUSALS = {
    Treatment.DEFER_NO_CERTIFICATE: CERTIFICATE_NEEDED,
    Treatment.DEFER_WITHDRAWN: CERTIFICATE_NEEDED,
    Treatment.DEFER_UNUSABLE: CERTIFICATE_NEEDED,
    Treatment.DEFER_UNAVAILABLE: TRY_LATER,
    Treatment.REJECT_NO_CERTIFICATE: CERTIFICATE_REQUIRED,
    Treatment.DEFER_PEER_SOUGHT: PEER_CERTIFICATE_SOUGHT,
    Treatment.REJECT_PEER_UNKNOWN: PEER_CERTIFICATE_REQUIRED,
}


def treat(answer: Answer, *, can_encrypt: bool, encrypted_to_own_subkey: bool) -> Treatment:
    """Return what is done with a message for the mailbox that `answer` is about.

    `can_encrypt`: at least one of the answer's subkeys is alive now and of an algorithm we
    write. `encrypted_to_own_subkey`: the message as it arrived parses as encrypted to one of
    the mailbox's own subkeys (`classify`).
    """
    match answer.outcome:
        case Outcome.OUTSIDE:
            return Treatment.PLAIN_OUTSIDE
        case Outcome.UNAVAILABLE:
            return Treatment.DEFER_UNAVAILABLE
        case Outcome.REJECTED:
            return Treatment.DEFER_UNUSABLE
        case Outcome.NOT_FOUND:
            return _without_certificate(answer)
        case Outcome.FOUND:
            if not can_encrypt:
                return Treatment.DEFER_UNUSABLE
            return _arrived(answer) if encrypted_to_own_subkey else Treatment.WRAP
        case _:
            assert_never(answer.outcome)


def _without_certificate(answer: Answer) -> Treatment:
    # Whoever can make a certificate disappear must not get plaintext for it.
    if answer.had_certificate:
        return Treatment.DEFER_WITHDRAWN
    match answer.policy.without_certificate:
        case WithoutCertificate.DEFER:
            return Treatment.DEFER_NO_CERTIFICATE
        case WithoutCertificate.REJECT:
            return Treatment.REJECT_NO_CERTIFICATE
        case WithoutCertificate.ACCEPT:
            return Treatment.PLAIN_ACCEPTED
        case _:
            assert_never(answer.policy.without_certificate)


def _arrived(answer: Answer) -> Treatment:
    match answer.policy.arrived_encrypted:
        case ArrivedEncrypted.HEADER:
            return Treatment.HEADER
        case ArrivedEncrypted.WRAP:
            return Treatment.WRAP
        case ArrivedEncrypted.PASS:
            return Treatment.PASS
        case _:
            assert_never(answer.policy.arrived_encrypted)


def treat_peer(
    policy: SenderPolicy, peer: PeerAnswer | None, *, can_encrypt: bool, arrived_encrypted: bool
) -> Treatment:
    """Return what is done with a submission for a mailbox of somebody else.

    `can_encrypt`: one of the peer's subkeys is alive now and of an algorithm we write.
    `arrived_encrypted`: the sender's client has encrypted it, for whomever. `peer`: None if
    nobody was asked.
    """
    if arrived_encrypted:
        return Treatment.PASS_SUBMITTED
    if policy.outgoing is Outgoing.NEVER:
        return Treatment.PLAIN_NEVER
    match peer.outcome if peer is not None else PeerOutcome.UNREACHABLE:
        case PeerOutcome.FOUND if can_encrypt and _is_attested(policy, peer):
            return Treatment.ENCRYPT_PEER
        case PeerOutcome.FOUND | PeerOutcome.NOT_FOUND | PeerOutcome.REJECTED:
            return _unknown(policy, Treatment.REJECT_PEER_UNKNOWN)
        case PeerOutcome.UNAVAILABLE:
            return _unknown(policy, Treatment.DEFER_PEER_SOUGHT)
        case PeerOutcome.UNREACHABLE:
            return Treatment.DEFER_UNAVAILABLE


def _is_attested(policy: SenderPolicy, peer: PeerAnswer | None) -> bool:
    return (
        peer is not None
        and peer.level is not None
        and peer.level.value >= policy.outgoing_level.value
    )


def _unknown(policy: SenderPolicy, required: Treatment) -> Treatment:
    match policy.outgoing:
        case Outgoing.REQUIRED:
            return required
        # The sender's domain says so: encrypted where a certificate is known, and else not.
        case Outgoing.WHEN_KNOWN | Outgoing.NEVER:
            return Treatment.PLAIN_PEER_UNKNOWN
        case _:
            assert_never(policy.outgoing)
