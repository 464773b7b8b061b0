"""A publishable certificate, narrowed to one mailbox; and armor around it. Pure."""

import base64
from collections.abc import Iterable

from keyservice import packets
from keyservice.certificate import addr_specs
from keyservice.mailbox import Mailbox
from keyservice.packets import USER_ID, Component

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
    """Return binary certificates in one armored block, without the CRC (RFC 9580 §6.1)."""
    text = base64.b64encode(b"".join(certificates)).decode()
    lines = [text[at : at + _ARMOR_COLUMNS] for at in range(0, len(text), _ARMOR_COLUMNS)]
    block = ["-----BEGIN PGP PUBLIC KEY BLOCK-----", "", *lines]
    return "\n".join([*block, "-----END PGP PUBLIC KEY BLOCK-----", ""]).encode()


def _names(user_id: Component, mailbox: Mailbox) -> bool:
    text = user_id.packet.body.decode(errors="replace")
    return addr_specs(text) == (mailbox.key,)
