"""Several certificates in one reply, taken apart without looking into them. Pure."""

from keyservice import packets
from keyservice.armor import dearmor
from keyservice.certificate import RefusalReason, RejectedCertificate
from keyservice.packets import PUBLIC_KEY, Packet

BUNDLE_OCTETS_MAX = 4 * packets.ARMORED_OCTETS_MAX
BUNDLE_MAX = 8
"""Certificates. Who answers with more is asked about somebody else, or wants to cost us."""


def certificates(octets: bytes) -> list[bytes]:
    """Return the certificates in `octets`, armored or binary, each for itself.

    Raises RejectedCertificate if they are damaged, too many, or hold secret key material.
    """
    if len(octets) > BUNDLE_OCTETS_MAX:
        raise RejectedCertificate(
            RefusalReason.TOO_LARGE, f"more than {BUNDLE_OCTETS_MAX} octets in one reply"
        )
    groups: list[list[Packet]] = []
    for number, packet in enumerate(packets.leading_packets(dearmor(octets))):
        if number >= BUNDLE_MAX * packets.PACKETS_MAX:
            raise RejectedCertificate(RefusalReason.TOO_LARGE, "too many packets in one reply")
        if packet.tag == PUBLIC_KEY or not groups:
            groups.append([])
        groups[-1].append(packet)
        if len(groups) > BUNDLE_MAX:
            raise RejectedCertificate(
                RefusalReason.TOO_LARGE, f"more than {BUNDLE_MAX} certificates in one reply"
            )
    return [b"".join(packets.framed(packet) for packet in group) for group in groups]
