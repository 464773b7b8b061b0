"""What VKS, HKP and Nicknym have in common: one GET, and certificates by fingerprint.

A certificate that is known already is refreshed by its fingerprint. What comes back claims
nothing about any mailbox, so it is a type of its own: `Material` cannot be first contact,
even when the server left out the user IDs, as a verifying one does.
"""

from collections.abc import Callable

import msgspec

from keyservice import packets
from keyservice.certificate import RejectedCertificate
from keyservice.fetch import HTTPS_PORT, Cause, Fetcher, FetchFailed, FetchRefused
from keyservice.methods import NotFound, Rejected, Unavailable
from keyservice.openpgp_field import key_id

REPLY_OCTETS_MAX = 262_144
"""A flooded certificate ends here; one that we accept is a quarter of it."""


class Material(msgspec.Struct, frozen=True):
    """Packets to merge into the certificate `fingerprint`: new self-signatures, revocations."""

    fingerprint: str
    octets: bytes
    """Binary; one certificate, perhaps without user IDs. Nothing in it was verified."""

    detail: str


Reply = bytes | NotFound | Unavailable | Rejected
Refreshed = Material | NotFound | Unavailable | Rejected


async def ask(
    fetcher: Fetcher, url: str, looked_up: str, *, port: int = HTTPS_PORT, is_guess: bool = False
) -> Reply:
    """Return what is at `url`, asked for the sake of `looked_up`. Raises nothing.

    `is_guess` says that the host was made up from a mail domain: that there is none is an
    answer then, and otherwise the operator's mistake.
    """
    try:
        response = await fetcher.get(
            url,
            limit_octets=REPLY_OCTETS_MAX,
            accept_status=(200, 404),
            port=port,
            looked_up=looked_up,
        )
    except FetchRefused as refused:
        return Rejected(f"{url}: {refused}")
    except FetchFailed as failed:
        if is_guess and failed.cause is Cause.NO_SUCH_HOST:
            return NotFound(f"{url}: no such host")
        return Unavailable(f"{url}: {failed}")
    return response.octets if response.status == 200 else NotFound(f"{url}: 404")


def require_material(octets: bytes, fingerprint: str, detail: str) -> Material | Rejected:
    """Return `octets` as material of the certificate `fingerprint`, and of nothing else."""
    return _require(octets, lambda found: found == fingerprint, detail)


def require_key_id(octets: bytes, identity: str, detail: str) -> Material | Rejected:
    """Return `octets` if they are one certificate with a key ID.

    A key ID is a hint: whoever wants can make a second certificate that has it (RFC 9580
    §5.5.4). Which one it is, is known only when `Material.fingerprint` is one known before.
    """
    return _require(octets, lambda found: key_id(found) == identity, detail)


def _require(
    octets: bytes, is_asked_for: Callable[[str], bool], detail: str
) -> Material | Rejected:
    try:
        certificate = packets.require_one_certificate(octets)
        found = packets.fingerprint(certificate[0].packet)
    except RejectedCertificate as rejected:
        return Rejected(f"{detail}: {rejected.refusal.detail}")
    if not is_asked_for(found):
        return Rejected(f"{detail}: another certificate than the one asked for")
    return Material(found, packets.serialise(certificate), detail)
