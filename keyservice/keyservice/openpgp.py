"""Only importer of the OpenPGP engine (Sequoia); runs in the vetting child and nowhere else.

pysequoia answers four questions about a whole certificate: which user IDs are valid, is
the primary key revoked, when does it expire, and does `encrypt` find somebody to encrypt
to. It does not tell which signatures are valid or when a subkey ends, and its `encrypt`
accepts certificates that are revoked or expired. Therefore:

- revocation and expiry of the primary key are asked for, never implied;
- a subkey is judged in a certificate of its own: primary key, user IDs, that subkey. If
  the engine encrypts to it there, the subkey is bound, unrevoked and meant for encryption;
- its end is read from the newest binding signature with which, alone, that still works;
  a signature is never believed for being there.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

import msgspec
import pysequoia
from pysequoia.packet import HashAlgorithm, PacketPile, SignatureType

from keyservice import packets
from keyservice.certificate import (
    Certificate,
    Refusal,
    RefusalReason,
    RefusedSubkey,
    RefusedUserID,
    RejectedCertificate,
    addr_specs,
)
from keyservice.keymaterial import Algorithm, algorithm, created, weakness
from keyservice.packets import Component, Packet, fingerprint, serialise
from keyservice.wire import EncryptionSubkey

_PKESK = 1
_WEAK_HASHES = (HashAlgorithm.MD5, HashAlgorithm.SHA1, HashAlgorithm.RipeMD)
_BINDINGS = (SignatureType.SubkeyBinding,)
_REVOCATIONS = (SignatureType.SubkeyRevocation,)


class _Signature(NamedTuple):
    """What one signature claims; whether it is true is another question."""

    packet: Packet
    kind: SignatureType | None
    made_at: int
    not_after: int | None
    key_lifetime: int | None
    is_weak: bool


class _Taken(NamedTuple):
    """A certificate taken apart, with the self-signatures only."""

    primary: Component
    user_ids: tuple[Component, ...]
    subkeys: tuple[Component, ...]

    @property
    def base(self) -> tuple[Component, ...]:
        return (self.primary, *self.user_ids)


def vet(octets: bytes, now: float) -> tuple[Certificate, bytes]:
    """Return the facts about the certificate in `octets`, and its minimised octets.

    What speaks against using it is in `refusal`. Raises RejectedCertificate if there is
    not even one certificate to speak about.
    """
    primary = packets.require_one_certificate(octets)[0].packet
    identity = fingerprint(primary)
    facts = Certificate(identity, primary.body[0])
    if (refusal := weakness(primary)) is not None:
        return _refused(facts, refusal.reason, refusal.detail), octets
    certificate = _parse(octets)
    taken = _take_apart(bytes(certificate), identity)
    minimised = serialise((*taken.base, *taken.subkeys))
    return _judge(facts, certificate, taken, now), minimised


def _judge(
    facts: Certificate, certificate: pysequoia.Cert, taken: _Taken, now: float
) -> Certificate:
    if certificate.is_revoked:
        return _refused(facts, RefusalReason.REVOKED, "its owner has revoked it")
    try:
        bound = {str(user_id) for user_id in certificate.user_ids}
        ends = _seconds(certificate.expiration)
    except RuntimeError:
        return _refused(facts, *_why_unbound(taken.base))
    user_ids, refused_user_ids = _judge_user_ids(taken, bound)
    facts = _with(facts, user_ids=user_ids, refused_user_ids=refused_user_ids)
    facts = _with(facts, not_after=_earliest(ends, *_signature_ends(taken, bound)))
    if facts.not_after is not None and facts.not_after <= now:
        return _refused(facts, RefusalReason.EXPIRED, "the primary key has expired")
    if not bound:
        return _refused(facts, *_why_unbound(taken.base))
    return _judge_subkeys(facts, taken, now)


def _judge_user_ids(
    taken: _Taken, bound: set[str]
) -> tuple[tuple[str, ...], tuple[RefusedUserID, ...]]:
    named: list[str] = []
    refused: list[RefusedUserID] = []
    for component in taken.user_ids:
        text = component.packet.body.decode(errors="replace")
        mailboxes = addr_specs(text)
        if len(mailboxes) > 1:
            refused.append(RefusedUserID(None, RefusalReason.SEVERAL_MAILBOXES))
        elif mailboxes and text in bound:
            named.append(mailboxes[0])
        elif mailboxes:
            refused.append(RefusedUserID(mailboxes[0], _why_unbound([component])[0]))
    return tuple(dict.fromkeys(named)), tuple(refused)


def _judge_subkeys(facts: Certificate, taken: _Taken, now: float) -> Certificate:
    usable: list[EncryptionSubkey] = []
    refused: list[tuple[RefusalReason, RefusedSubkey]] = []
    for component in taken.subkeys:
        identity = fingerprint(component.packet)
        verdict = _judge_subkey(component, identity, taken, facts.not_after, now)
        if isinstance(verdict, EncryptionSubkey):
            usable.append(verdict)
        else:
            refused.append((verdict.reason, RefusedSubkey(identity, verdict.detail)))
    primary = taken.primary.packet
    # An RSA primary key may itself be meant for encryption, as was usual before subkeys.
    if algorithm(primary) is Algorithm.ENCRYPTION and _encrypts(taken.base, facts.fingerprint):
        usable.append(EncryptionSubkey(facts.fingerprint, primary.body, facts.not_after))
    facts = _with(facts, subkeys=tuple(usable), refused_subkeys=tuple(why for _, why in refused))
    if usable:
        return facts
    reasons = {reason for reason, _ in refused}
    if len(reasons) == 1 and (only := reasons.pop()) is not RefusalReason.REVOKED:
        return _refused(facts, only, f"its encryption subkey: {refused[0][1].reason}")
    return _refused(facts, RefusalReason.NO_ENCRYPTION_SUBKEY, "it has no usable encryption subkey")


def _judge_subkey(
    component: Component, identity: str, taken: _Taken, primary_ends: int | None, now: float
) -> EncryptionSubkey | Refusal:
    if (refusal := weakness(component.packet)) is not None:
        return refusal
    if algorithm(component.packet) is not Algorithm.ENCRYPTION:
        return Refusal(RefusalReason.UNSUPPORTED, "its algorithm is not supported")
    signatures = [_read(packet) for packet in component.signatures]
    revocations = [s for s in signatures if s.kind in _REVOCATIONS]
    bindings = sorted(
        (s for s in signatures if s.kind in _BINDINGS), key=lambda s: s.made_at, reverse=True
    )
    if not _encrypts((*taken.base, component), identity):
        return _why_subkey(component, identity, taken, bindings)
    binding = next(
        (
            s
            for s in bindings
            if _encrypts((*taken.base, _only(component, *revocations, s)), identity)
        ),
        None,
    )
    if binding is None:
        return Refusal(RefusalReason.NO_ENCRYPTION_SUBKEY, "no binding signature holds alone")
    lifetime = binding.key_lifetime
    own_end = None if not lifetime else created(component.packet) + lifetime
    not_after = _earliest(primary_ends, own_end, binding.not_after)
    if not_after is not None and not_after <= now:
        return Refusal(RefusalReason.EXPIRED, "it has expired")
    return EncryptionSubkey(identity, component.packet.body, not_after)


def _why_subkey(
    component: Component, identity: str, taken: _Taken, bindings: list[_Signature]
) -> Refusal:
    """Say why the engine does not encrypt to a subkey. For people; the verdict stands already."""
    if _encrypts((*taken.base, _only(component, *bindings)), identity):
        return Refusal(RefusalReason.REVOKED, "it was revoked")
    if bindings and all(binding.is_weak for binding in bindings):
        return Refusal(RefusalReason.WEAK_HASH, "it is bound with SHA-1, MD5 or RIPEMD-160 only")
    return Refusal(
        RefusalReason.NO_ENCRYPTION_SUBKEY, "it is not bound, or not meant for encryption"
    )


def _encrypts(certificate: Iterable[Component], identity: str) -> bool:
    """Whether the engine, given just these components, encrypts to subkey `identity`."""
    try:
        recipient = pysequoia.Cert.from_bytes(serialise(tuple(certificate)))
        message = pysequoia.encrypt(recipients=[recipient], bytes=b"", armor=False)
    except RuntimeError:
        return False
    for tag, body in packets.leading_packets(message):
        if tag != _PKESK:
            return False
        if identity in _recipients(body, identity):
            return True
    return False


def _recipients(pkesk: bytes, identity: str) -> tuple[str, ...]:
    if pkesk[0] == 3:  # RFC 9580 §5.1.1: a key ID, the last 8 octets of a v4 fingerprint
        return (identity,) if pkesk[1:9].hex() == identity[-16:] else ()
    return (pkesk[3 : 2 + pkesk[1]].hex(),)  # §5.1.2: length, key version, fingerprint


def _parse(octets: bytes) -> pysequoia.Cert:
    try:
        (certificate,) = pysequoia.Cert.split_bytes(octets)
    except (RuntimeError, ValueError):
        raise RejectedCertificate(
            RefusalReason.MALFORMED, "the engine does not read it as one certificate"
        ) from None
    return certificate


def _take_apart(octets: bytes, identity: str) -> _Taken:
    """Group what the engine wrote: it has put signatures to the components they are about."""
    components = [
        Component(c.packet, tuple(s for s in c.signatures if _is_own(s, identity)))
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


def _is_own(signature: Packet, identity: str) -> bool:
    """Whether the primary key claims to have made `signature`, or nobody does."""
    parsed = next(iter(PacketPile.from_bytes(packets.framed(signature))))
    issuer, key_id = parsed.issuer_fingerprint, parsed.issuer_key_id
    if issuer is not None:
        return bool(issuer.lower() == identity)
    # RFC 9580 §5.5.4: v4 key IDs are the end of the fingerprint, v6 key IDs its start.
    return key_id is None or key_id.lower() in (identity[-16:], identity[:16])


def _read(packet: Packet) -> _Signature:
    parsed = next(iter(PacketPile.from_bytes(packets.framed(packet))))
    lifetime = parsed.key_validity_period
    return _Signature(
        packet,
        parsed.signature_type,
        _seconds(parsed.signature_created) or 0,
        _seconds(parsed.signature_expiration_time),
        None if lifetime is None else int(lifetime.total_seconds()),
        parsed.hash_algorithm in _WEAK_HASHES,
    )


def _signature_ends(taken: _Taken, bound: set[str]) -> list[int | None]:
    """Return when the newest self-signature of each bound user ID ends; most never do."""
    return [
        max((_read(s) for s in component.signatures), key=lambda s: s.made_at).not_after
        for component in taken.user_ids
        if component.signatures and component.packet.body.decode(errors="replace") in bound
    ]


def _why_unbound(components: Iterable[Component]) -> tuple[RefusalReason, str]:
    signatures = [_read(packet) for component in components for packet in component.signatures]
    if signatures and all(signature.is_weak for signature in signatures):
        return RefusalReason.WEAK_HASH, "it is self-signed with SHA-1, MD5 or RIPEMD-160 only"
    return RefusalReason.UNBOUND_USER_ID, "it has no valid self-signature"


def _only(component: Component, *signatures: _Signature) -> Component:
    return Component(component.packet, tuple(signature.packet for signature in signatures))


def _refused(facts: Certificate, reason: RefusalReason, detail: str) -> Certificate:
    return _with(facts, refusal=Refusal(reason, detail))


def _with(facts: Certificate, **changes: object) -> Certificate:
    return msgspec.structs.replace(facts, **changes)


def _earliest(*times: int | None) -> int | None:
    return min((time for time in times if time is not None), default=None)


def _seconds(time: datetime | None) -> int | None:
    return None if time is None else int(time.timestamp())
