"""Whether a certificate can be used, and which of its subkeys until when.

The engine's `encrypt` accepts certificates that are revoked or expired, and it does not
tell which signatures are valid or when a subkey ends. Therefore:

- revocation and expiry of the primary key are asked for, never implied;
- a subkey is judged in a certificate of its own: primary key, user IDs, that subkey. If
  the engine encrypts to it there, the subkey is bound, unrevoked and meant for encryption;
- its end is read from the newest binding signature with which, alone, that still works;
  a signature is never believed for being there.
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from keyservice import openpgp, packets
from keyservice.certificate import (
    Certificate,
    Refusal,
    RefusalReason,
    RefusedSubkey,
    RefusedUserID,
    addr_specs,
)
from keyservice.keymaterial import Algorithm, algorithm, created, weakness
from keyservice.openpgp import Parsed, Signature
from keyservice.packets import Component, fingerprint, serialise
from keyservice.wire import EncryptionSubkey


class _Taken(NamedTuple):
    """A certificate taken apart, with the self-signatures only."""

    primary: Component
    user_ids: tuple[Component, ...]
    subkeys: tuple[Component, ...]

    @property
    def base(self) -> tuple[Component, ...]:
        return (self.primary, *self.user_ids)

    def encrypts_to(self, identity: str, *subkey: Component) -> bool:
        """Whether the engine encrypts to `identity` when `subkey` is the only one."""
        return openpgp.encrypts_to(serialise((*self.base, *subkey)), identity)


def vet(octets: bytes, now: float) -> tuple[Certificate, bytes]:
    """Return the facts about the certificate in `octets`, and its minimised octets.

    What speaks against using it is in `refusal`. Raises RejectedCertificate if there is
    not even one certificate to speak about.
    """
    primary = packets.require_one_certificate(octets)[0].packet
    facts = Certificate(fingerprint(primary), primary.body[0])
    if (refusal := weakness(primary)) is not None:
        return _with(facts, refusal=refusal), octets
    parsed = openpgp.parse(octets)
    taken = _take_apart(parsed.octets, facts.fingerprint)
    minimised = serialise((*taken.base, *taken.subkeys))
    return _judge(facts, parsed, taken, now), minimised


def _judge(facts: Certificate, parsed: Parsed, taken: _Taken, now: float) -> Certificate:
    if parsed.is_revoked:
        return _refused(facts, RefusalReason.REVOKED, "its owner has revoked it")
    bound = parsed.user_ids or frozenset()
    user_ids, refused_user_ids = _judge_user_ids(taken, bound)
    ends = _earliest(parsed.not_after, *_signature_ends(taken, bound))
    facts = _with(facts, user_ids=user_ids, refused_user_ids=refused_user_ids, not_after=ends)
    if parsed.user_ids is None:
        return _with(facts, refusal=_why_unbound(taken.base))
    if ends is not None and ends <= now:
        return _refused(facts, RefusalReason.EXPIRED, "the primary key has expired")
    if not taken.user_ids:
        return _refused(facts, RefusalReason.NO_USER_ID, "it has no user ID")
    if not bound:
        return _with(facts, refusal=_why_unbound(taken.user_ids))
    return _judge_subkeys(facts, taken, now)


def _judge_user_ids(
    taken: _Taken, bound: frozenset[str]
) -> tuple[tuple[str, ...], tuple[RefusedUserID, ...]]:
    named: list[str] = []
    refused: list[RefusedUserID] = []
    for component in taken.user_ids:
        text = _text(component)
        mailboxes = addr_specs(text)
        if len(mailboxes) > 1:
            refused.append(RefusedUserID(None, RefusalReason.SEVERAL_MAILBOXES))
        elif mailboxes and text in bound:
            named.append(mailboxes[0])
        elif mailboxes:
            refused.append(RefusedUserID(mailboxes[0], _why_unbound([component]).reason))
    return tuple(dict.fromkeys(named)), tuple(refused)


def _judge_subkeys(facts: Certificate, taken: _Taken, now: float) -> Certificate:
    usable: list[EncryptionSubkey] = []
    refused: list[tuple[str, Refusal]] = []
    for component in taken.subkeys:
        identity = fingerprint(component.packet)
        verdict = _judge_subkey(component, identity, taken, facts.not_after, now)
        if isinstance(verdict, EncryptionSubkey):
            usable.append(verdict)
        else:
            refused.append((identity, verdict))
    primary = taken.primary.packet
    # An RSA primary key may itself be meant for encryption, as was usual before subkeys.
    if algorithm(primary) is Algorithm.ENCRYPTION and taken.encrypts_to(facts.fingerprint):
        usable.append(EncryptionSubkey(facts.fingerprint, primary.body, facts.not_after))
    return _with(
        facts,
        subkeys=tuple(usable),
        refused_subkeys=tuple(RefusedSubkey(identity, why.detail) for identity, why in refused),
        refusal=None if usable else _why_no_subkey([why for _, why in refused]),
    )


def _judge_subkey(
    component: Component, identity: str, taken: _Taken, primary_ends: int | None, now: float
) -> EncryptionSubkey | Refusal:
    if (refusal := weakness(component.packet)) is not None:
        return refusal
    if algorithm(component.packet) is not Algorithm.ENCRYPTION:
        return Refusal(RefusalReason.UNSUPPORTED, "its algorithm is not supported")
    signatures = [openpgp.read(packet) for packet in component.signatures]
    revocations = [s for s in signatures if s.kind == openpgp.REVOCATION]
    bindings = [s for s in signatures if s.kind == openpgp.BINDING]
    bindings.sort(key=lambda s: s.made_at, reverse=True)
    if not taken.encrypts_to(identity, component):
        return _why_subkey(component, identity, taken, bindings)
    for binding in bindings:
        if taken.encrypts_to(identity, _only(component, *revocations, binding)):
            return _bound(component, identity, binding, primary_ends, now)
    return Refusal(RefusalReason.NO_ENCRYPTION_SUBKEY, "no binding signature holds alone")


def _bound(
    component: Component, identity: str, binding: Signature, primary_ends: int | None, now: float
) -> EncryptionSubkey | Refusal:
    lifetime = binding.key_lifetime
    own_end = None if not lifetime else created(component.packet) + lifetime
    not_after = _earliest(primary_ends, own_end, binding.not_after)
    if not_after is not None and not_after <= now:
        return Refusal(RefusalReason.EXPIRED, "it has expired")
    return EncryptionSubkey(identity, component.packet.body, not_after)


def _why_subkey(
    component: Component, identity: str, taken: _Taken, bindings: list[Signature]
) -> Refusal:
    """Say why the engine does not encrypt to a subkey. For people; the verdict stands already."""
    if taken.encrypts_to(identity, _only(component, *bindings)):
        return Refusal(RefusalReason.REVOKED, "it was revoked")
    if bindings and all(binding.is_weak for binding in bindings):
        return Refusal(RefusalReason.WEAK_HASH, "it is bound with SHA-1, MD5 or RIPEMD-160 only")
    return Refusal(
        RefusalReason.NO_ENCRYPTION_SUBKEY, "it is not bound, or not meant for encryption"
    )


def _why_no_subkey(refusals: list[Refusal]) -> Refusal:
    reasons = {refusal.reason for refusal in refusals}
    # One cause for all of them is worth naming; but REVOKED is what the primary key is.
    if len(reasons) == 1 and reasons != {RefusalReason.REVOKED}:
        return Refusal(refusals[0].reason, f"its encryption subkey: {refusals[0].detail}")
    return Refusal(RefusalReason.NO_ENCRYPTION_SUBKEY, "it has no usable encryption subkey")


def _why_unbound(components: Iterable[Component]) -> Refusal:
    claims = [openpgp.read(packet) for component in components for packet in component.signatures]
    if claims and all(claim.is_weak for claim in claims):
        return Refusal(
            RefusalReason.WEAK_HASH, "it is self-signed with SHA-1, MD5 or RIPEMD-160 only"
        )
    return Refusal(RefusalReason.UNBOUND_USER_ID, "it has no valid self-signature")


def _take_apart(octets: bytes, identity: str) -> _Taken:
    components = [
        Component(c.packet, tuple(s for s in c.signatures if _is_own(openpgp.read(s), identity)))
        for c in packets.components(packets.split(octets))
    ]
    return _Taken(
        components[0],
        tuple(c for c in components if c.packet.tag == packets.USER_ID),
        tuple(
            c
            for c in components
            if c.packet.tag == packets.PUBLIC_SUBKEY
            and algorithm(c.packet) is not Algorithm.SIGNATURE
        ),
    )


def _is_own(signature: Signature, identity: str) -> bool:
    """Whether the primary key claims to have made `signature`, or nobody does."""
    # RFC 9580 §5.5.4: v4 key IDs are the end of the fingerprint, v6 key IDs its start.
    return signature.issuer in (None, identity, identity[-16:], identity[:16])


def _signature_ends(taken: _Taken, bound: frozenset[str]) -> list[int | None]:
    """Return when the newest self-signature of each bound user ID ends; most never do."""
    return [
        max(map(openpgp.read, component.signatures), key=lambda s: s.made_at).not_after
        for component in taken.user_ids
        if component.signatures and _text(component) in bound
    ]


def _text(user_id: Component) -> str:
    return user_id.packet.body.decode(errors="replace")


def _only(component: Component, *signatures: Signature) -> Component:
    return Component(component.packet, tuple(signature.packet for signature in signatures))


def _refused(facts: Certificate, reason: RefusalReason, detail: str) -> Certificate:
    return _with(facts, refusal=Refusal(reason, detail))


def _with(facts: Certificate, **changes: object) -> Certificate:
    return msgspec.structs.replace(facts, **changes)


def _earliest(*times: int | None) -> int | None:
    return min((time for time in times if time is not None), default=None)
