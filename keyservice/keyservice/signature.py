"""What a signature packet says (RFC 9580 §5.2). Whether it is true, `certification` checks. Pure.

Only versions 4 and 6. What decides anything is read from the hashed subpackets: anybody
can write into the other ones.
"""

from enum import IntEnum
from typing import NamedTuple

from keyservice.packets import Packet


class MalformedSignature(ValueError):
    """The packet is no version 4 or 6 signature, or cut short."""


class Kind(IntEnum):
    """Signature Type IDs that we look at (RFC 9580 §5.2.1)."""

    GENERIC_CERTIFICATION = 0x10
    PERSONA_CERTIFICATION = 0x11
    CASUAL_CERTIFICATION = 0x12
    POSITIVE_CERTIFICATION = 0x13
    KEY_REVOCATION = 0x20
    CERTIFICATION_REVOCATION = 0x30


CERTIFICATIONS = frozenset(range(0x10, 0x14))


class SubpacketType(IntEnum):
    """RFC 9580 §5.2.3.7."""

    CREATION_TIME = 2
    EXPIRATION_TIME = 3
    EXPORTABLE = 4
    TRUST = 5
    ISSUER_KEY_ID = 16
    REASON_FOR_REVOCATION = 29
    ISSUER_FINGERPRINT = 33


_TIMES = frozenset({SubpacketType.CREATION_TIME, SubpacketType.EXPIRATION_TIME})


class Subpacket(NamedTuple):
    """Type ID, critical bit, body."""

    number: int
    is_critical: bool
    body: bytes


class Signature(NamedTuple):
    """The fields of a signature packet."""

    version: int
    kind: int
    algorithm: int
    hash_id: int
    salt: bytes
    """Empty in version 4."""

    signed: bytes
    """From the version number to the end of the hashed subpackets, as they came."""

    digest_start: bytes
    """The first two octets of the digest."""

    material: bytes
    hashed: tuple[Subpacket, ...]
    unhashed: tuple[Subpacket, ...]

    @property
    def made_at(self) -> int | None:
        """Creation time, or None: then it must not be believed (RFC 9580 §5.2.3.11)."""
        return _seconds(self._last(SubpacketType.CREATION_TIME))

    @property
    def not_after(self) -> int | None:
        """When the signature itself ends; None: never (RFC 9580 §5.2.3.18)."""
        lifetime = _seconds(self._last(SubpacketType.EXPIRATION_TIME))
        return (self.made_at or 0) + lifetime if lifetime else None

    @property
    def is_local(self) -> bool:
        """Whether it was not meant to leave its maker (RFC 9580 §5.2.3.19)."""
        return self._last(SubpacketType.EXPORTABLE) == b"\0"

    def claims_issuer(self, fingerprint: str) -> bool:
        """Whether it names this key as its issuer. A hint: the mathematics decides."""
        identity = bytes.fromhex(fingerprint)
        subpackets = (*self.hashed, *self.unhashed)
        fingerprints = [
            s.body[1:] for s in subpackets if s.number == SubpacketType.ISSUER_FINGERPRINT
        ]
        if fingerprints:
            return identity in fingerprints
        # RFC 9580 §5.5.4: the end of a version 4 fingerprint, the start of a version 6 one.
        key_id = identity[-8:] if len(identity) == 20 else identity[:8]
        return any(s == (SubpacketType.ISSUER_KEY_ID, s.is_critical, key_id) for s in subpackets)

    def _last(self, number: SubpacketType) -> bytes | None:
        # RFC 9580 §5.2.3.9: of conflicting subpackets the last one counts.
        bodies = [subpacket.body for subpacket in self.hashed if subpacket.number == number]
        return bodies[-1] if bodies else None


def read(packet: Packet) -> Signature:
    """Return the fields of a signature packet. Raises MalformedSignature."""
    fields = Fields(packet.body)
    version = fields.number(1)
    if version not in (4, 6):
        raise MalformedSignature("only version 4 and version 6 signatures are read")
    kind, algorithm, hash_id = fields.take(3)
    count = 2 if version == 4 else 4
    hashed = fields.take(fields.number(count))
    signed = packet.body[: fields.at]
    unhashed = fields.take(fields.number(count))
    digest_start = fields.take(2)
    salt = fields.take(fields.number(1)) if version == 6 else b""
    signature = Signature(
        version,
        kind,
        algorithm,
        hash_id,
        salt,
        signed,
        digest_start,
        fields.rest(),
        _subpackets(hashed),
        _subpackets(unhashed),
    )
    if any(len(s.body) != 4 for s in signature.hashed if s.number in _TIMES):
        raise MalformedSignature("a time is not four octets")
    return signature


def as_made(packet: Packet, maker: bytes) -> Packet:
    """Return a signature that holds without what the primary key `maker` did not sign.

    Anybody can write into the unhashed subpackets. Only who made it may be said there.
    Raises MalformedSignature.
    """
    signature = read(packet)
    # RFC 9580 §5.5.4: the end of a version 4 fingerprint, the start of a version 6 one.
    key_id, version = (maker[-8:], 4) if len(maker) == 20 else (maker[:8], 6)
    issuers = {
        SubpacketType.ISSUER_KEY_ID: key_id,
        SubpacketType.ISSUER_FINGERPRINT: bytes([version]) + maker,
    }
    unhashed = {(subpacket.number, subpacket.body) for subpacket in signature.unhashed}
    hints = b"".join(
        bytes([1 + len(body), number]) + body
        for number, body in issuers.items()
        if (number, body) in unhashed
    )
    count = 2 if signature.version == 4 else 4
    salt = bytes([len(signature.salt)]) + signature.salt if signature.version == 6 else b""
    area = len(hints).to_bytes(count, "big") + hints
    body = signature.signed + area + signature.digest_start + salt + signature.material
    return Packet(packet.tag, body)


class Fields:
    """The fields of a packet, taken from its front. Raises MalformedSignature at its end."""

    def __init__(self, octets: bytes) -> None:
        """Start at the first octet."""
        self._octets = octets
        self.at = 0

    def take(self, count: int) -> bytes:
        """Return the next `count` octets."""
        start, self.at = self.at, self.at + count
        if self.at > len(self._octets):
            raise MalformedSignature("the signature is cut short")
        return self._octets[start : self.at]

    def number(self, count: int) -> int:
        """Return the next big-endian number of `count` octets (RFC 9580 §3.1)."""
        return int.from_bytes(self.take(count), "big")

    def mpi(self) -> int:
        """Return the next multiprecision integer, whose bit count is exact (RFC 9580 §3.2)."""
        bits = self.number(2)
        number = self.number((bits + 7) // 8)
        if number.bit_length() != bits:
            raise MalformedSignature("not the bits that a number says it has")
        return number

    def rest(self) -> bytes:
        """Return what was not taken."""
        return self._octets[self.at :]


def _subpackets(area: bytes) -> tuple[Subpacket, ...]:
    fields, found = Fields(area), []
    while fields.rest():
        body = fields.take(_subpacket_length(fields))
        if not body:
            raise MalformedSignature("a subpacket without a type")
        found.append(Subpacket(body[0] & 0x7F, bool(body[0] & 0x80), body[1:]))
    return tuple(found)


def _subpacket_length(fields: Fields) -> int:
    match fields.number(1):  # RFC 9580 §5.2.3.7
        case 255:
            return fields.number(4)
        case first if first >= 192:
            return ((first - 192) << 8) + fields.number(1) + 192
        case first:
            return first


def _seconds(body: bytes | None) -> int | None:
    return None if body is None else int.from_bytes(body, "big")
