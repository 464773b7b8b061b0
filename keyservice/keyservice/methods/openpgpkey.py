"""Certificates in the DNS: OPENPGPKEY records (RFC 7929).

Only what is DNSSEC-secure is used (RFC 7929 §5): else whoever is on the way chooses the
certificate.
"""

import hashlib
import unicodedata

from keyservice.dns import DnsUnavailable, Resolver
from keyservice.levels import Level, Source
from keyservice.mailbox import Mailbox
from keyservice.methods import Found, NotFound, Rejected, Result, Unavailable

_HASH_OCTETS = 28
"""RFC 7929 §3: SHA-256 cut so that its hexadecimal form fits a label."""


class OpenPGPKey:
    """See `DiscoveryMethod`."""

    source = Source.OPENPGPKEY

    def __init__(self, resolver: Resolver) -> None:
        """Ask `resolver`, which knows whether an answer is DNSSEC-secure."""
        self._resolver = resolver

    async def discover(self, mailbox: Mailbox) -> Result:
        """See `DiscoveryMethod`."""
        result = await self._ask(owner_name(mailbox))
        lowered = Mailbox.parse(mailbox.key)
        # The record counts case (RFC 7929 §4), the mailbox does not: see `Mailbox.key`.
        if isinstance(result, NotFound) and lowered != mailbox:
            return await self._ask(owner_name(lowered))
        return result

    async def _ask(self, name: str) -> Result:
        try:
            answer = await self._resolver.openpgpkey(name)
        except DnsUnavailable as unavailable:
            return Unavailable(f"{name}: {unavailable}")
        if not answer.records:
            denied = "denied with DNSSEC" if answer.authentic else "not in the DNS"
            return NotFound(f"{name}: {denied}")
        if not answer.authentic:
            return Rejected(f"{name}: not secured by DNSSEC")
        # Each record is one certificate in binary (RFC 7929 §2.1).
        return Found(b"".join(answer.records), Level.PROVIDER_TRUST, name)


def owner_name(mailbox: Mailbox) -> str:
    """Return the name at which the records of `mailbox` are, without the final dot."""
    # Normalised, not lower-cased (RFC 7929 §3); Mailbox has no quotes and comments.
    local_part = unicodedata.normalize("NFC", mailbox.local_part).encode()
    hashed = hashlib.sha256(local_part).digest()[:_HASH_OCTETS]
    return f"{hashed.hex()}._openpgpkey.{mailbox.domain}"
