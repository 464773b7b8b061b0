"""What of a stored certificate may be shown to the world: signatures that hold, nothing else.

Runs in the vetting child. What is stored holds signatures that nobody could verify, and the
engine does not tell which ones they are. So each is asked about in a certificate of its own,
where it alone can make the engine say yes:

- a direct-key signature, if a primary key with nothing else is bound by it;
- a revocation of the primary key, if that key with nothing else is revoked by it;
- a self-signature of a user ID, if the user ID is bound by it;
- a binding signature of a subkey, if the engine encrypts to the subkey;
- a revocation of a subkey, if with it the engine does not do so any more.
"""

from collections.abc import Callable, Iterable
from itertools import islice

from keyservice import openpgp, packets
from keyservice.keymaterial import Algorithm, algorithm
from keyservice.packets import Component, Packet, fingerprint, serialise
from keyservice.signature import CERTIFICATIONS, Kind, MalformedSignature, as_made, read

_DIRECT_KEY, _SUBKEY_BINDING, _SUBKEY_REVOCATION = 0x1F, 0x18, 0x28
"""Signature Type IDs (RFC 9580 §5.2.1)."""

_REVOCATIONS_MAX = 5


def publishable(octets: bytes) -> bytes:
    """Return the certificate in `octets` with only what holds now.

    That is: the primary key with its newest direct-key signature and its revocations, each
    bound and unrevoked user ID with its newest self-signature, each encryption subkey with
    its newest binding signature and its revocations. Raises RejectedCertificate.
    """
    stored = packets.components(packets.split(openpgp.parse(octets).octets))
    primary = stored[0]
    bare = Component(primary.packet, ())
    direct = _newest(primary, {_DIRECT_KEY}, lambda s: _is_bound(_signed(bare, s)))
    revocations = _earliest(
        primary, Kind.KEY_REVOCATION, lambda s: openpgp.parse(_only(_signed(bare, s))).is_revoked
    )
    unrevoked = _signed(bare, *direct)
    user_ids = [u for u in (_user_id(u, unrevoked) for u in _tagged(stored, packets.USER_ID)) if u]
    base = (unrevoked, *user_ids)
    subkeys = [s for s in (_subkey(s, base) for s in _tagged(stored, packets.PUBLIC_SUBKEY)) if s]
    kept = (_signed(bare, *revocations, *direct), *user_ids, *subkeys)
    maker = bytes.fromhex(fingerprint(primary.packet))
    return serialise(
        tuple(_signed(c, *(as_made(packet, maker) for packet in c.signatures)) for c in kept)
    )


def _user_id(component: Component, primary: Component) -> Component | None:
    def is_bound(*signatures: Packet) -> bool:
        parsed = openpgp.parse(_only(primary, _signed(component, *signatures)))
        return bool(parsed.user_ids)

    newest = _newest(component, CERTIFICATIONS, is_bound)
    withdrawals = _of_kind(component, {Kind.CERTIFICATION_REVOCATION})
    if not newest or not is_bound(*newest, *withdrawals):
        return None
    return _signed(component, *newest)


def _subkey(component: Component, base: tuple[Component, ...]) -> Component | None:
    if algorithm(component.packet) is not Algorithm.ENCRYPTION:
        return None
    identity = fingerprint(component.packet)

    def is_meant(*signatures: Packet) -> bool:
        return openpgp.encrypts_to(_only(*base, _signed(component, *signatures)), identity)

    newest = _newest(component, {_SUBKEY_BINDING}, is_meant)
    if not newest:
        return None
    revocations = _earliest(component, _SUBKEY_REVOCATION, lambda s: not is_meant(*newest, s))
    return _signed(component, *revocations, *newest)


def _newest(
    component: Component, kinds: Iterable[int], holds: Callable[[Packet], bool]
) -> tuple[Packet, ...]:
    held = filter(holds, reversed(_of_kind(component, kinds)))
    return tuple(islice(held, 1))


def _earliest(
    component: Component, kind: int, holds: Callable[[Packet], bool]
) -> tuple[Packet, ...]:
    held = filter(holds, _of_kind(component, {kind}))
    return tuple(islice(held, _REVOCATIONS_MAX))


def _of_kind(component: Component, kinds: Iterable[int]) -> list[Packet]:
    """Return the signatures of some kinds, the oldest first."""
    found: list[tuple[int, Packet]] = []
    for packet in component.signatures:
        try:
            signature = read(packet)
            made_at = signature.made_at
        except MalformedSignature:
            continue
        if signature.kind in kinds and made_at is not None:
            found.append((made_at, packet))
    return [packet for _, packet in sorted(found, key=lambda one: one[0])]


def _is_bound(primary: Component) -> bool:
    return openpgp.parse(_only(primary)).user_ids is not None


def _tagged(components: Iterable[Component], tag: int) -> list[Component]:
    return [component for component in components if component.packet.tag == tag]


def _signed(component: Component, *signatures: Packet) -> Component:
    return Component(component.packet, signatures)


def _only(*components: Component) -> bytes:
    return serialise(components)
