"""A stored certificate made small for an Autocrypt field: exactly five packets. Pure.

Level 1, "OpenPGP Based key data": the primary key, one user ID, its self-signature, one
encryption subkey, its binding signature. What is stored may hold several of each, and
signatures that nobody verified. So

1. of a component's signatures the newest counts that the primary key made over it and that has
   not ended; what that one says about the end and the use of a key is what others will read;
2. of the user IDs that name the mailbox and no other, and of the subkeys that may be encrypted
   to, the one that was signed last is taken;
3. nothing goes along that the primary key did not sign, but who made a signature.
"""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from keyservice import certification, packets
from keyservice.certificate import addr_specs
from keyservice.keymaterial import created
from keyservice.mailbox import Mailbox
from keyservice.packets import PUBLIC_SUBKEY, USER_ID, Component, Packet, fingerprint
from keyservice.signature import (
    CERTIFICATIONS,
    Kind,
    MalformedSignature,
    Signature,
    as_made,
    read,
)

KEYDATA_OCTETS_MAX = 7_000
"""In base64, folded as usual, and with the longest address within `autocrypt.FIELD_OCTETS_MAX`."""

_SUBKEY_BINDING = 0x18
"""Signature Type ID (RFC 9580 §5.2.1)."""

_KEY_EXPIRATION, _KEY_FLAGS = 9, 27
"""Subpacket Type IDs (RFC 9580 §5.2.3.7)."""

_ENCRYPTS = 0x04 | 0x08
"""Communications, storage (RFC 9580 §5.2.3.29)."""


class _Signed(NamedTuple):
    """A user ID or subkey with the one signature that counts."""

    packet: Packet
    signature: Packet
    says: Signature
    made_at: int


def keydata(octets: bytes, mailbox: Mailbox, subkeys: Collection[str], now: float) -> bytes | None:
    """Return the certificate in `octets` as five packets; None if it cannot be made so small.

    It must be usable for `mailbox`; `subkeys` are the fingerprints that may be encrypted to.
    """
    components = packets.components(packets.split(octets))
    primary = components[0].packet
    # A version 6 certificate has a direct-key signature (RFC 9580 §10.1.1): the sixth packet.
    if primary.body[0] != 4:
        return None
    user_ids = _user_ids(primary, components, mailbox, now)
    usable = _subkeys(primary, components, subkeys, now)
    user_id = max(user_ids, key=lambda one: one.made_at, default=None)
    subkey = max(usable, key=lambda one: one.made_at, default=None)
    if user_id is None or subkey is None:
        return None
    made = _five_packets(primary, user_id, subkey)
    return made if len(made) <= KEYDATA_OCTETS_MAX else None


def _five_packets(primary: Packet, user_id: _Signed, subkey: _Signed) -> bytes:
    maker = bytes.fromhex(fingerprint(primary))
    signed = (Component(one.packet, (as_made(one.signature, maker),)) for one in (user_id, subkey))
    return packets.serialise((Component(primary, ()), *signed))


def _user_ids(
    primary: Packet, components: Collection[Component], mailbox: Mailbox, now: float
) -> Iterator[_Signed]:
    for component in components:
        if component.packet.tag != USER_ID or not _names(component.packet, mailbox):
            continue
        found = _newest(primary, component, CERTIFICATIONS, now)
        if found is None or _is_taken_back(primary, component, found.made_at):
            continue
        # Alone, it is what says when the primary key ends.
        if _lasts(primary, found.says, now):
            yield found


def _subkeys(
    primary: Packet, components: Collection[Component], wanted: Collection[str], now: float
) -> Iterator[_Signed]:
    for component in components:
        key = component.packet
        if key.tag != PUBLIC_SUBKEY or fingerprint(key) not in wanted:
            continue
        found = _newest(primary, component, {_SUBKEY_BINDING}, now)
        if found is not None and _lasts(key, found.says, now) and _encrypts(found.says):
            yield found


def _newest(
    primary: Packet, component: Component, kinds: Collection[int], now: float
) -> _Signed | None:
    claimed = [
        _Signed(component.packet, packet, signature, made_at)
        for packet, signature in _of_kind(component, kinds)
        if (made_at := signature.made_at) is not None and made_at <= now
    ]
    for one in sorted(claimed, key=lambda each: each.made_at, reverse=True):
        has_ended = one.says.not_after is not None and one.says.not_after <= now
        if not has_ended and certification.self_signature_holds(
            primary, component.packet, one.signature
        ):
            return one
    return None


def _is_taken_back(primary: Packet, user_id: Component, made_at: int) -> bool:
    return any(
        (revocation.made_at is None or revocation.made_at >= made_at)
        and certification.certification_revocation_holds(primary, primary, user_id.packet, packet)
        for packet, revocation in _of_kind(user_id, {Kind.CERTIFICATION_REVOCATION})
    )


def _of_kind(component: Component, kinds: Collection[int]) -> Iterator[tuple[Packet, Signature]]:
    for packet in component.signatures:
        try:
            signature = read(packet)
        except MalformedSignature:
            continue
        if signature.kind in kinds:
            yield packet, signature


def _lasts(key: Packet, says: Signature, now: float) -> bool:
    lifetime = int.from_bytes(_last(says, _KEY_EXPIRATION) or b"", "big")
    return not lifetime or now < created(key) + lifetime


def _encrypts(says: Signature) -> bool:
    flags = _last(says, _KEY_FLAGS)
    return flags is None or bool(flags[:1] and flags[0] & _ENCRYPTS)


def _last(says: Signature, number: int) -> bytes | None:
    # RFC 9580 §5.2.3.9: of conflicting subpackets the last one counts.
    return next((s.body for s in reversed(says.hashed) if s.number == number), None)


def _names(user_id: Packet, mailbox: Mailbox) -> bool:
    return addr_specs(user_id.body.decode(errors="replace")) == (mailbox.key,)
