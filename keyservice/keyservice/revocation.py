"""What a revocation of a primary key means: from when on, and how far back (RFC 9580 §5.2.3.31).

A key that was given up or superseded was good until then: soft. In every other case, and
when no reason is given, whoever has it may have had it long ago: hard, the key never was
good. Revocations are believed from whatever source they come, once they hold
(`certification.revocation_holds`), and nothing ever takes one back. Pure.

Deviation: revocations by a designated third party (Revocation Key, deprecated in
RFC 9580 §5.2.3.23) are not read.
"""

from collections.abc import Callable, Iterable
from enum import Enum

import msgspec

from keyservice.packets import Component, Packet
from keyservice.signature import Kind, MalformedSignature, Signature, SubpacketType, read

_SOFT_REASONS = {1: "superseded", 3: "retired"}
"""RFC 9580 §5.2.3.31; all others are hard, those included that nobody has defined yet."""

_HARD_REASONS = {0: "no reason given", 2: "compromised"}


class Strength(Enum):
    """How far back a revocation reaches."""

    HARD = "hard"
    SOFT = "soft"


class Revocation(msgspec.Struct, frozen=True):
    """A revocation of a primary key."""

    strength: Strength
    at: int
    """When it was made. A soft one counts from then on; a hard one has always counted."""

    reason: str = "no reason given"

    def has_effect(self, at: float) -> bool:
        """Whether the key is revoked at `at`."""
        return self.strength is Strength.HARD or at >= self.at


def revocation_of(primary: Component, holds: Callable[[Packet], bool]) -> Revocation | None:
    """Return the revocation that governs a primary key; `holds` verifies a signature packet."""
    made = (_read(packet) for packet in primary.signatures if holds(packet))
    return governing(revocation for revocation in made if revocation is not None)


def governing(revocations: Iterable[Revocation]) -> Revocation | None:
    """Return the one of several that decides: a hard one, else the earliest soft one."""
    return min(
        revocations, key=lambda r: (r.strength is Strength.SOFT, r.at, r.reason), default=None
    )


def _read(packet: Packet) -> Revocation | None:
    try:
        signature = read(packet)
    except MalformedSignature:
        return None
    return _meaning(signature) if signature.kind == Kind.KEY_REVOCATION else None


def _meaning(signature: Signature) -> Revocation:
    made_at = signature.made_at
    codes = [
        subpacket.body[0] if subpacket.body else 0
        # Hashed ones only, or anybody could turn hard into soft.
        for subpacket in signature.hashed
        if subpacket.number == SubpacketType.REASON_FOR_REVOCATION
    ]
    hard = [code for code in codes if code not in _SOFT_REASONS]
    if codes and not hard and made_at is not None:
        return Revocation(Strength.SOFT, made_at, _SOFT_REASONS[codes[0]])
    code = hard[0] if hard else 0
    return Revocation(Strength.HARD, made_at or 0, _HARD_REASONS.get(code, f"reason {code}"))
