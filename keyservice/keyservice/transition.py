"""Whether the owner of one certificate certified another for a mailbox: LEAP's rule (a).

LEAP, transitional key validation: a verified key transition is a signature by the
registered key on the user ID of that address. A certification counts if

1. it is on a user ID that names that mailbox and no other,
2. it is of type 0x10 to 0x13 and names the old primary key, never a subkey, as its issuer,
3. it was made while the old key lived: not before its creation, not after its end or its
   soft revocation, never if that was hard; and not in the future,
4. it has not ended, was meant to leave its maker, and has no critical part that we do not know,
5. it is made with SHA-2 or SHA-3, and holds,
6. the old key has not taken it back since (type 0x30, RFC 9580 §5.2.1.13),
7. the second opinion, where it can speak, is the same.

Pure. The old key can date a certification back; who fears that must revoke it hard.
"""

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from enum import Enum
from typing import assert_never

import msgspec

from keyservice.certificate import addr_specs
from keyservice.certification import (
    STRONG_HASHES,
    Opinion,
    certification_opinion,
    certification_revocation_holds,
)
from keyservice.keymaterial import created, weakness
from keyservice.mailbox import Mailbox
from keyservice.packets import USER_ID, Component, Packet, fingerprint
from keyservice.revocation import Revocation, Strength
from keyservice.signature import (
    CERTIFICATIONS,
    Kind,
    MalformedSignature,
    Signature,
    SubpacketType,
    read,
)

_UNDERSTOOD = frozenset(SubpacketType)

SecondOpinion = Callable[[Packet, Packet, Packet, Packet], Opinion]
"""Issuer, certified primary key, user ID, signature; as `certification_opinion`."""


class Verdict(Enum):
    """What is known about a transition."""

    VERIFIED = "verified"
    NOT = "not"
    UNDECIDED = "undecided"
    """The two verifiers disagree: no transition, and something to look into."""


class Objection(Enum):
    """Why a certification by the old key does not count."""

    NO_CREATION_TIME = "no_creation_time"
    BEFORE_KEY = "made_before_the_key"
    AFTER_KEY = "made_after_the_key_ended"
    KEY_REVOKED = "key_revoked"
    WEAK_KEY = "weak_key"
    IN_THE_FUTURE = "made_in_the_future"
    ENDED = "ended"
    LOCAL = "local"
    CRITICAL = "critical_subpacket"
    WEAK_HASH = "weak_hash"
    TAKEN_BACK = "taken_back"
    DOES_NOT_HOLD = "does_not_hold"
    DISAGREEMENT = "disagreement"


class Finding(msgspec.Struct, frozen=True):
    """What became of one certification that names the old key as its issuer."""

    verdict: Verdict
    objection: Objection | None = None
    made_at: int | None = None


class Transition(msgspec.Struct, frozen=True):
    """The verdict, and each certification that was looked at for it."""

    verdict: Verdict
    findings: tuple[Finding, ...] = ()


class Predecessor(msgspec.Struct, frozen=True):
    """The old certificate's primary key and how long it lived."""

    primary: Packet
    not_after: int | None = None
    revocation: Revocation | None = None


def transition(
    old: Predecessor,
    new: tuple[Component, ...],
    mailbox: Mailbox,
    now: float,
    second_opinion: SecondOpinion,
) -> Transition:
    """Return whether `old` certified `new` for `mailbox`."""
    findings = tuple(
        finding
        for component in new
        if component.packet.tag == USER_ID and _names(component.packet, mailbox)
        for finding in _findings(old, new[0].packet, component, now, second_opinion)
    )
    # One certification is enough, whatever else somebody has put beside it.
    for verdict in (Verdict.VERIFIED, Verdict.UNDECIDED):
        if any(finding.verdict is verdict for finding in findings):
            return Transition(verdict, findings)
    return Transition(Verdict.NOT, findings)


def combine(own: Opinion, second: Opinion) -> Verdict:
    """Return what two verifiers say together; where ours is silent, nothing is verified."""
    if {own, second} == {Opinion.HOLDS, Opinion.FAILS}:
        return Verdict.UNDECIDED
    return Verdict.VERIFIED if own is Opinion.HOLDS else Verdict.NOT


def _names(user_id: Packet, mailbox: Mailbox) -> bool:
    return addr_specs(user_id.body.decode(errors="replace")) == (mailbox.key,)


def _findings(
    old: Predecessor, primary: Packet, user_id: Component, now: float, second: SecondOpinion
) -> Iterator[Finding]:
    taken_back_at = _taken_back_at(old, primary, user_id)
    for packet, signature in _claimed(old, user_id, CERTIFICATIONS):
        objection = _objection(old, signature, now)
        if objection is None and (signature.made_at or 0) <= taken_back_at:
            objection = Objection.TAKEN_BACK
        if objection is not None:
            yield Finding(Verdict.NOT, objection, signature.made_at)
            continue
        question = (old.primary, primary, user_id.packet, packet)
        verdict = combine(certification_opinion(*question), second(*question))
        yield _found(verdict, signature.made_at)


def _claimed(
    old: Predecessor, user_id: Component, kinds: Collection[int]
) -> Iterator[tuple[Packet, Signature]]:
    """Yield the signatures of these kinds that name the old key as their issuer."""
    identity = fingerprint(old.primary)
    for packet in user_id.signatures:
        with suppress(MalformedSignature):
            signature = read(packet)
            if signature.kind in kinds and signature.claims_issuer(identity):
                yield packet, signature


def _found(verdict: Verdict, made_at: int | None) -> Finding:
    match verdict:
        case Verdict.VERIFIED:
            return Finding(verdict, None, made_at)
        case Verdict.NOT:
            return Finding(verdict, Objection.DOES_NOT_HOLD, made_at)
        case Verdict.UNDECIDED:
            return Finding(verdict, Objection.DISAGREEMENT, made_at)
        case _:
            assert_never(verdict)


def _objection(old: Predecessor, signature: Signature, now: float) -> Objection | None:
    """Return the first thing that speaks against a certification, its mathematics aside."""
    made_at = signature.made_at
    if made_at is None:
        return Objection.NO_CREATION_TIME
    checks = (
        (Objection.WEAK_KEY, weakness(old.primary) is not None),
        (Objection.BEFORE_KEY, made_at < created(old.primary)),
        (Objection.KEY_REVOKED, _is_hard(old.revocation)),
        (Objection.AFTER_KEY, _had_ended(old, made_at)),
        (Objection.IN_THE_FUTURE, made_at > now),
        (Objection.ENDED, signature.not_after is not None and signature.not_after <= now),
        (Objection.LOCAL, signature.is_local),
        (Objection.CRITICAL, _has_unknown_part(signature)),
        (Objection.WEAK_HASH, signature.hash_id not in STRONG_HASHES),
    )
    return next((objection for objection, applies in checks if applies), None)


def _had_ended(old: Predecessor, at: int) -> bool:
    if old.not_after is not None and at >= old.not_after:
        return True
    return old.revocation is not None and old.revocation.has_effect(at)


def _is_hard(revocation: Revocation | None) -> bool:
    return revocation is not None and revocation.strength is Strength.HARD


def _has_unknown_part(signature: Signature) -> bool:
    # RFC 9580 §5.2.3.7: whoever does not know a critical subpacket must not believe the rest.
    return any(s.is_critical and s.number not in _UNDERSTOOD for s in signature.hashed)


def _taken_back_at(old: Predecessor, primary: Packet, user_id: Component) -> int:
    """Return when the old key last took its certifications of this user ID back; -1: never."""
    return max(
        (
            # Without a time it is about all of them.
            sys.maxsize if signature.made_at is None else signature.made_at
            for packet, signature in _claimed(old, user_id, {Kind.CERTIFICATION_REVOCATION})
            if certification_revocation_holds(old.primary, primary, user_id.packet, packet)
        ),
        default=-1,
    )
