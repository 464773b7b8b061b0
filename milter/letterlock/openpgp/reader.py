"""Tell an encrypted message from what only claims to be one (RFC 9580 §10.3).

Octets come in pieces of any size; little is kept, nothing is decrypted or decompressed.
Whatever is doubted is not encrypted: it will be encrypted once more, which harms nobody,
while plaintext taken for ciphertext would be stored as it is.
"""

from collections.abc import Generator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from letterlock.openpgp.packets import Fields, MalformedPacket, Octets, PacketType
from letterlock.openpgp.subkey import RecipientSubkey

PACKETS_MAX = 1_000
"""Packets before the encrypted data. A message has one PKESK for each subkey."""

PACKET_OCTETS_MAX = 4_096
"""Of each of these; RSA with 16384 bits needs half of it."""

FIRST_PARTIAL_OCTETS_MIN = 512
"""RFC 9580 §4.2.1.4."""

_PARTS_FREE = 1_000
_PART_OCTETS_MEAN_MIN = 256
"""Of parts beyond the free ones; parts of one octet would buy much time for few octets."""

_OCB_CHUNK_SIZE_MAX = 16
"""RFC 9580 §5.13.2."""


class NotEncrypted(ValueError):
    """The octets are not one encrypted message; the reason is in the message, no octets are."""


class Container(Enum):
    """The packet that holds the encrypted data. Never SED: nothing protects its integrity."""

    SEIPD_V1 = "SEIPD version 1"
    SEIPD_V2 = "SEIPD version 2"
    LIBREPGP_OCB = "OCB encrypted data of LibrePGP"
    """gpg 2.4 writes it for its own keys. As encrypted as SEIPD, if not standard."""


_OCTETS_MIN = {Container.SEIPD_V1: 41, Container.SEIPD_V2: 69, Container.LIBREPGP_OCB: 52}
"""What a container takes around an empty message."""


@dataclass(frozen=True, slots=True)
class EncryptedMessage:
    """Whom a message is encrypted to, as far as it tells. PKESKs can lie about it."""

    container: Container

    recipients: frozenset[bytes]
    """Key IDs of 8 octets (version 3 PKESKs) or fingerprints (version 6)."""

    has_anonymous: bool
    """Whether a PKESK keeps its recipient to itself (RFC 9580 §5.1.1, §5.1.2)."""

    def names(self, subkey: RecipientSubkey) -> bool:
        """Whether a PKESK claims to be for `subkey`."""
        return subkey.key_id in self.recipients or subkey.fingerprint in self.recipients


class PacketWalker:
    """Reads one message of binary octets. Never raises before `close`."""

    def __init__(self) -> None:
        self._parser = _message()
        self._wanted = next(self._parser)
        self._missing = self._wanted.octets
        self._taken = bytearray()
        self._message: EncryptedMessage | None = None
        self._refusal = ""

    def write(self, octets: Octets) -> None:
        """Take the next octets, however many."""
        left = memoryview(octets)
        try:
            while left and not self._refusal:
                left = self._consume(left)
        except (NotEncrypted, MalformedPacket) as error:
            self._refusal = str(error)

    def close(self) -> EncryptedMessage:
        """Return what the message says about itself; raises NotEncrypted."""
        if self._refusal or not self._message:
            raise NotEncrypted(self._refusal or "message is cut off")
        return self._message

    def _consume(self, octets: memoryview) -> memoryview:
        if self._message:
            raise NotEncrypted("octets after the encrypted data")
        part = octets[: self._missing]
        if self._wanted.keep:
            self._taken += part
        self._missing -= len(part)
        while not self._missing and not self._message:
            self._advance()
        return octets[len(part) :]

    def _advance(self) -> None:
        taken = bytes(self._taken)
        self._taken.clear()
        try:
            self._wanted = self._parser.send(taken)
        except StopIteration as end:
            self._message = end.value
        else:
            self._missing = self._wanted.octets


class _Want(NamedTuple):
    """How many octets the parser waits for, and whether it looks at them."""

    octets: int
    keep: bool = True


class _Length(NamedTuple):
    octets: int
    is_partial: bool = False


class _Recipients:
    def __init__(self) -> None:
        self._named: dict[int, set[bytes]] = {3: set(), 6: set()}

    def add(self, pkesk: bytes) -> None:
        """Take the recipient of one PKESK; an empty name stands for an anonymous one."""
        fields = Fields(pkesk)
        match version := fields.number(1):
            case 3:  # RFC 9580 §5.1.1: eight zeros are a wildcard.
                name = fields.take(8).lstrip(b"\0") and pkesk[1:9]
            case 6:  # RFC 9580 §5.1.2: key version and fingerprint, or nothing.
                names = fields.counted()
                if names and (names[0], len(names)) not in ((4, 21), (6, 33)):
                    raise NotEncrypted("PKESK names its recipient in a form not known")
                name = names[1:]
            case _:
                raise NotEncrypted(f"PKESK of version {version}")
        if len(fields.rest()) < 2:
            raise NotEncrypted("PKESK without an encrypted session key")
        self._named[version].add(name)

    def of(self, container: Container) -> EncryptedMessage:
        """PKESKs of the version that does not belong to the container are void (§10.3.2.1)."""
        names = self._named[6 if container is Container.SEIPD_V2 else 3]
        if not names:
            raise NotEncrypted("no PKESK belongs to the encrypted data")
        return EncryptedMessage(container, frozenset(names - {b""}), b"" in names)


def _message() -> Generator[_Want, bytes, EncryptedMessage]:
    """Parse PKESKs and one packet of encrypted data (RFC 9580 §10.3), nothing else."""
    recipients = _Recipients()
    for _ in range(PACKETS_MAX):
        packet_type, length = yield from _header()
        match packet_type:
            case PacketType.SEIPD | PacketType.LIBREPGP_OCB:
                container = yield from _encrypted_data(packet_type, length)
                return recipients.of(container)
            case PacketType.PKESK:
                recipients.add((yield from _small_body(length)))
            case PacketType.MARKER:
                if (yield from _small_body(length)) != b"PGP":  # RFC 9580 §5.8
                    raise NotEncrypted("Marker packet with a text of its own")
            case PacketType.PADDING:
                yield from _small_body(length)  # RFC 9580 §5.14: ignored
            case _:
                raise NotEncrypted(f"packet of type {packet_type} outside of the encryption")
    raise NotEncrypted("too many packets before the encrypted data")


def _header() -> Generator[_Want, bytes, tuple[int, _Length]]:
    (octet,) = yield _Want(1)
    if octet < 0x80:
        raise NotEncrypted("no packet begins here")
    if octet >= 0xC0:
        return octet & 0x3F, (yield from _length())
    # RFC 9580 §4.2.2. The Legacy format cannot express a type above 15, hence no encrypted
    # data; and what goes before that must not be of indeterminate length.
    packet_type, length_type = octet >> 2 & 0x0F, octet & 3
    if length_type == 3:
        raise NotEncrypted("packet of indeterminate length")
    return packet_type, _Length(int.from_bytes((yield _Want(1 << length_type)), "big"))


def _length() -> Generator[_Want, bytes, _Length]:
    """Parse a length of the OpenPGP format (RFC 9580 §4.2.1)."""
    (octet,) = yield _Want(1)
    if octet < 192:
        return _Length(octet)
    if octet < 224:
        (second,) = yield _Want(1)
        return _Length((octet - 192 << 8) + second + 192)
    if octet < 255:
        return _Length(1 << (octet & 0x1F), is_partial=True)
    return _Length(int.from_bytes((yield _Want(4)), "big"))


def _small_body(length: _Length) -> Generator[_Want, bytes, bytes]:
    if length.is_partial:  # RFC 9580 §4.2.1.4: for data packets only.
        raise NotEncrypted("partial length outside of the encrypted data")
    if length.octets > PACKET_OCTETS_MAX:
        raise NotEncrypted("packet before the encrypted data too large")
    return (yield _Want(length.octets))


def _encrypted_data(packet_type: int, length: _Length) -> Generator[_Want, bytes, Container]:
    first_min = FIRST_PARTIAL_OCTETS_MIN if length.is_partial else min(_OCTETS_MIN.values())
    if length.octets < first_min:
        raise NotEncrypted("encrypted data too short")
    container = _container(packet_type, (yield _Want(4)))
    if length.octets < _OCTETS_MIN[container]:
        raise NotEncrypted("encrypted data too short")
    yield _Want(length.octets - 4, keep=False)
    parts, octets = 1, length.octets
    while length.is_partial:
        length = yield from _length()
        yield _Want(length.octets, keep=False)
        parts, octets = parts + 1, octets + length.octets
        if parts > _PARTS_FREE + octets // _PART_OCTETS_MEAN_MIN:
            raise NotEncrypted("encrypted data in too many parts")
    return container


def _container(packet_type: int, head: bytes) -> Container:
    version, _cipher, aead, chunk_size = head
    if packet_type == PacketType.SEIPD and version == 1:
        return Container.SEIPD_V1
    # RFC 9580 §5.13.2, §9.6; LibrePGP's packet begins alike.
    if aead not in (1, 2, 3) or chunk_size > _OCB_CHUNK_SIZE_MAX:
        raise NotEncrypted("encrypted data with parameters not known")
    match packet_type, version:
        case PacketType.SEIPD, 2:
            return Container.SEIPD_V2
        case PacketType.LIBREPGP_OCB, 1:
            return Container.LIBREPGP_OCB
        case _:
            raise NotEncrypted(f"encrypted data of version {version}")
