"""A publishable certificate, narrowed to one mailbox; and armor around it. Pure."""

import base64
from collections.abc import Iterable

from keyservice import packets
from keyservice.certificate import addr_specs
from keyservice.mailbox import Mailbox
from keyservice.packets import PUBLIC_KEY, USER_ID, Component, Packet

_ARMOR_COLUMNS = 64


def user_ids_of(octets: bytes, mailbox: Mailbox) -> tuple[Component, ...]:
    """Return the user IDs that name `mailbox` and nobody else."""
    return tuple(
        component
        for component in packets.components(packets.split(octets))
        if component.packet.tag == USER_ID and _names(component, mailbox)
    )


def narrowed(octets: bytes, mailbox: Mailbox | None) -> bytes:
    """Return the certificate with the user IDs of `mailbox` only; of nobody if it is None.

    draft-koch-openpgp-webkey-service §3.1: the key must not hold another mailbox's user ID.
    """
    shown = () if mailbox is None else user_ids_of(octets, mailbox)
    return packets.serialise(
        tuple(
            component
            for component in packets.components(packets.split(octets))
            if component.packet.tag != USER_ID or component in shown
        )
    )


def armored(certificates: Iterable[bytes]) -> bytes:
    """Return binary certificates in one armored block (RFC 9580 §6.2)."""
    octets = b"".join(certificates)
    text = base64.b64encode(octets).decode()
    lines = [text[at : at + _ARMOR_COLUMNS] for at in range(0, len(text), _ARMOR_COLUMNS)]
    # RFC 9580 §6.1: not needed, and forbidden where all is version 6. But gpg 2.2 takes the
    # tail line for radix-64 if neither a checksum nor padding goes before it.
    if any(_version(packet) == 4 for packet in packets.split(octets)):
        lines.append("=" + base64.b64encode(_crc24(octets).to_bytes(3, "big")).decode())
    block = ["-----BEGIN PGP PUBLIC KEY BLOCK-----", "", *lines]
    return "\n".join([*block, "-----END PGP PUBLIC KEY BLOCK-----", ""]).encode()


def _version(packet: Packet) -> int | None:
    return packet.body[0] if packet.tag == PUBLIC_KEY else None


def _crc24(octets: bytes) -> int:
    """RFC 9580 §6.1.1."""
    crc = 0xB704CE
    for octet in octets:
        crc = (crc << 8) & 0xFFFFFF ^ _CRC24[crc >> 16 ^ octet]
    return crc


def _crc24_of(octet: int) -> int:
    crc = octet << 16
    for _ in range(8):
        crc = (crc << 1) ^ (0x1864CFB if crc & 0x800000 else 0)
    return crc


_CRC24 = tuple(map(_crc24_of, range(256)))


def _names(user_id: Component, mailbox: Mailbox) -> bool:
    text = user_id.packet.body.decode(errors="replace")
    return addr_specs(text) == (mailbox.key,)
