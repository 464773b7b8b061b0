"""OpenPGP packets of a certificate that nobody has judged yet: counted, capped, taken apart.

This is all that the service's own process does with foreign octets before a limited
child parses them. Linear in their number, no cryptography. Pure.
"""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from keyservice.armor import dearmor
from keyservice.certificate import RefusalReason, RejectedCertificate, secret_key_refused

CERTIFICATE_OCTETS_MAX = 65_536
ARMORED_OCTETS_MAX = 2 * CERTIFICATE_OCTETS_MAX
PACKETS_MAX = 128
USER_IDS_MAX = 20
SUBKEYS_MAX = 20
SIGNATURE_OCTETS_MAX = 16_384

SIGNATURE, SECRET_KEY, PUBLIC_KEY, SECRET_SUBKEY = 2, 5, 6, 7
MARKER, TRUST, USER_ID, PUBLIC_SUBKEY = 10, 12, 13, 14
USER_ATTRIBUTE, PADDING = 17, 21
"""Packet type IDs (RFC 9580 §5)."""

_KEPT = frozenset({SIGNATURE, PUBLIC_KEY, USER_ID, PUBLIC_SUBKEY})
_DROPPED = frozenset({MARKER, TRUST, USER_ATTRIBUTE, PADDING})


class Packet(NamedTuple):
    """Type ID and body."""

    tag: int
    body: bytes


class Component(NamedTuple):
    """The primary key, a user ID or a subkey, with the signatures that follow it."""

    packet: Packet
    signatures: tuple[Packet, ...]


def require_one_certificate(octets: bytes) -> tuple[Component, ...]:
    """Return the components of the one certificate in `octets`, primary key first.

    Raises RejectedCertificate: secret key material, several certificates, anything that
    is too large or does not belong into a certificate.
    """
    if len(octets) > ARMORED_OCTETS_MAX:
        raise _too_large(f"more than {ARMORED_OCTETS_MAX} octets")
    packets = split(dearmor(octets))
    if sum(len(packet.body) for packet in packets) > CERTIFICATE_OCTETS_MAX:
        raise _too_large(f"more than {CERTIFICATE_OCTETS_MAX} octets")
    _require_modest(packets)
    if not packets or packets[0].tag != PUBLIC_KEY:
        raise RejectedCertificate(RefusalReason.MALFORMED, "does not start with a primary key")
    if sum(packet.tag == PUBLIC_KEY for packet in packets) > 1:
        raise RejectedCertificate(
            RefusalReason.NOT_ONE_CERTIFICATE, "holds more than one certificate"
        )
    return components(packets)


def split(octets: bytes) -> list[Packet]:
    """Return the packets in binary `octets`.

    Raises RejectedCertificate if they are damaged, or at the first secret key packet:
    such a file must be named for what it is even when it is cut short.
    """
    return list(leading_packets(octets))


def leading_packets(octets: bytes) -> Iterator[Packet]:
    """Yield the packets in binary `octets` one by one; raises as `split` does."""
    at = 0
    while at < len(octets):
        tag, length, at = _header(octets, at)
        if tag in (SECRET_KEY, SECRET_SUBKEY):
            raise secret_key_refused()
        if at + length > len(octets):
            raise _malformed()
        yield Packet(tag, octets[at : at + length])
        at += length


def components(packets: list[Packet]) -> tuple[Component, ...]:
    """Group `packets`; what follows a user attribute goes with it."""
    groups: list[list[Packet]] = []
    for packet in packets:
        if packet.tag != SIGNATURE:
            groups.append([packet])
        elif groups:
            groups[-1].append(packet)
    return tuple(Component(group[0], tuple(group[1:])) for group in groups if group[0].tag in _KEPT)


def merge(old: tuple[Component, ...], new: tuple[Component, ...]) -> tuple[Component, ...]:
    """Return the union of two copies of one certificate.

    A copy from before a revocation must not undo it, so nothing is ever taken away.
    """
    signatures: dict[Packet, dict[Packet, None]] = {}
    for component in (*old, *new):
        signatures.setdefault(component.packet, {}).update(dict.fromkeys(component.signatures))
    return tuple(Component(packet, tuple(seen)) for packet, seen in signatures.items())


def serialise(certificate: tuple[Component, ...]) -> bytes:
    """Return the octets of `certificate`: primary key, user IDs, subkeys (RFC 9580 §10.1)."""
    ordered = sorted(
        certificate, key=lambda c: (PUBLIC_KEY, USER_ID, PUBLIC_SUBKEY).index(c.packet.tag)
    )
    return b"".join(
        framed(packet)
        for component in ordered
        for packet in (component.packet, *component.signatures)
    )


def fingerprint(key: Packet) -> str:
    """Return the fingerprint of a version 4 or 6 key packet (RFC 9580 §5.5.4)."""
    match key.body[:1]:
        case b"\x04":
            framed = b"\x99" + len(key.body).to_bytes(2, "big") + key.body
            return hashlib.sha1(framed, usedforsecurity=False).hexdigest()
        case b"\x06":
            return hashlib.sha256(b"\x9b" + len(key.body).to_bytes(4, "big") + key.body).hexdigest()
        case _:
            raise RejectedCertificate(
                RefusalReason.UNSUPPORTED, "only version 4 and version 6 keys are supported"
            )


def _require_modest(packets: list[Packet]) -> None:
    counts = {tag: sum(packet.tag == tag for packet in packets) for tag in _KEPT}
    if len(packets) > PACKETS_MAX:
        raise _too_large(f"more than {PACKETS_MAX} packets; export it without foreign signatures")
    if counts[USER_ID] > USER_IDS_MAX or counts[PUBLIC_SUBKEY] > SUBKEYS_MAX:
        raise _too_large(f"more than {USER_IDS_MAX} user IDs or {SUBKEYS_MAX} subkeys")
    if any(p.tag == SIGNATURE and len(p.body) > SIGNATURE_OCTETS_MAX for p in packets):
        raise _too_large(f"a signature of more than {SIGNATURE_OCTETS_MAX} octets")
    if any(packet.tag not in _KEPT | _DROPPED for packet in packets):
        raise RejectedCertificate(
            RefusalReason.MALFORMED, "holds packets that do not belong into a certificate"
        )


def _too_large(detail: str) -> RejectedCertificate:
    return RejectedCertificate(RefusalReason.TOO_LARGE, detail)


def _header(octets: bytes, at: int) -> tuple[int, int, int]:
    first = octets[at]
    if not first & 0x80:
        raise _malformed()
    if first & 0x40:  # RFC 9580 §4.2.1
        length, at = _new_length(octets, at + 1)
        return first & 0x3F, length, at
    # Legacy format, §4.2.2. Length type 3 (to the end) is for streams, never for certificates.
    if first & 3 == 3:
        raise _malformed()
    size = 1 << (first & 3)
    return (first >> 2) & 0x0F, _number(octets, at + 1, size), at + 1 + size


def _new_length(octets: bytes, at: int) -> tuple[int, int]:
    match _number(octets, at, 1):
        case first if first < 192:
            return first, at + 1
        case first if first < 224:
            return ((first - 192) << 8) + _number(octets, at + 1, 1) + 192, at + 2
        case 255:
            return _number(octets, at + 1, 4), at + 5
        case _:  # §4.2.1.4: partial lengths are for data packets only
            raise _malformed()


def _number(octets: bytes, at: int, size: int) -> int:
    if at + size > len(octets):
        raise _malformed()
    return int.from_bytes(octets[at : at + size], "big")


def _malformed() -> RejectedCertificate:
    return RejectedCertificate(RefusalReason.MALFORMED, "the packets are damaged or cut short")


def framed(packet: Packet) -> bytes:
    return bytes([0xC0 | packet.tag, 0xFF]) + len(packet.body).to_bytes(4, "big") + packet.body
