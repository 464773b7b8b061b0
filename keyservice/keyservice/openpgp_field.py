"""The OpenPGP header field (draft-josefsson-openpgp-mailnews-header): a hint, never trust. Pure.

Anybody can write one. It may choose among certificates that were found elsewhere and are
worth the same, and it may point to where WKD looks anyway; it adds no certificate, and no
URL in it is followed that we would not have asked by ourselves.
"""

import re
from collections.abc import Collection, Sequence

import msgspec

_IDENTITY = re.compile(r"(?:0x)?([0-9a-f]{16}|[0-9a-f]{40}|[0-9a-f]{64})")
"""Key ID or fingerprint. Eight digits can be made to order in seconds, and do not count."""


class Hint(msgspec.Struct, frozen=True):
    """What the field says, as far as it may be listened to."""

    identity: str | None = None
    """Fingerprint, or a key ID of 16 digits; lower-case hexadecimal."""

    url: str | None = None

    def chosen(self, fingerprints: Collection[str]) -> str | None:
        """Return the one fingerprint that the hint means; None if there is none or several."""
        if self.identity is None:
            return None
        meant = [each for each in fingerprints if self.identity in (each, key_id(each))]
        return meant[0] if len(meant) == 1 else None

    def points_to(self, urls: Collection[str]) -> bool:
        """Whether the URL is one of `urls`, those of WKD for the sender, to the octet."""
        return self.url in urls


def read(bodies: Sequence[bytes]) -> Hint:
    """Return the hint in the field bodies; none in several fields, or in one that is damaged."""
    if len(bodies) != 1 or not bodies[0].isascii():
        return Hint()
    parameters: dict[str, str] = {}
    for parameter in "".join(bodies[0].decode().splitlines()).split(";"):
        name, _, value = parameter.partition("=")
        parameters.setdefault(name.strip().lower(), value.strip().strip('"'))
    identity = _IDENTITY.fullmatch("".join(parameters.get("id", "").split()).lower())
    return Hint(identity and identity[1], parameters.get("url"))


def key_id(fingerprint: str) -> str:
    """Return the key ID of a version 4 or 6 fingerprint (RFC 9580 §5.5.4)."""
    return fingerprint[-16:] if len(fingerprint) == 40 else fingerprint[:16]
