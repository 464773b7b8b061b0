"""Keyservers that speak HKP version 1 (draft-ietf-openpgp-hkp, "HKP v1").

By fingerprint such a server is a source of revocations and new self-signatures. By address
it shows whatever anybody uploaded, so that is weak evidence, and never the newest of
several: whoever uploads last would be encrypted to.
"""

from urllib.parse import quote, urlencode

from keyservice.fetch import Fetcher
from keyservice.levels import Level, Source
from keyservice.mailbox import Mailbox
from keyservice.methods import Found, NotFound, Rejected, Result
from keyservice.methods.hkp_index import read
from keyservice.methods.keyserver import Material, Refreshed, Reply, ask, require_material

CANDIDATES_MAX = 3
"""More certificates for one address are somebody's flood; any choice would be his."""


class HKP:
    """One keyserver."""

    source = Source.HKP

    def __init__(self, fetcher: Fetcher, host: str) -> None:
        """Speak to `https://host/`."""
        self._fetcher = fetcher
        self._base = f"https://{host}/pks/lookup"

    async def discover(self, mailbox: Mailbox) -> Result:
        """Ask which certificates claim the address, then for each of them by fingerprint."""
        reply = await self._ask("index", mailbox.key, mailbox.domain)
        if not isinstance(reply, bytes):
            return reply
        named = [listed for listed in read(reply) if mailbox.key in listed.mailboxes]
        if not named:
            return NotFound(f"{self._base}: none with exactly this address")
        candidates = dict.fromkeys(each.fingerprint for each in named if not each.is_withdrawn)
        return await self._fetch(list(candidates), mailbox.domain)

    async def refresh(self, fingerprint: str) -> Refreshed:
        """Ask for what is new about the certificate `fingerprint`."""
        return await self._get(fingerprint, fingerprint)

    async def _fetch(self, candidates: list[str], domain: str) -> Result:
        if not candidates:
            return Rejected(f"{self._base}: every certificate is listed as revoked or expired")
        if len(candidates) > CANDIDATES_MAX:
            return Rejected(f"{self._base}: {len(candidates)} certificates claim this address")
        found = []
        for fingerprint in candidates:
            # One that cannot be seen may be the right one: there is no choice among the rest.
            if not isinstance(material := await self._get(fingerprint, domain), Material):
                return material
            found.append(material.octets)
        return Found(b"".join(found), Level.WEAK_CHAIN, self._base)

    async def _get(self, fingerprint: str, looked_up: str) -> Refreshed:
        reply = await self._ask("get", f"0x{fingerprint}", looked_up)
        if not isinstance(reply, bytes):
            return reply
        return require_material(reply, fingerprint, f"{self._base}?op=get 0x{fingerprint}")

    async def _ask(self, operation: str, search: str, looked_up: str) -> Reply:
        parameters = {"op": operation, "options": "mr", "exact": "on", "search": search}
        url = f"{self._base}?{urlencode(parameters, quote_via=quote)}"
        return await ask(self._fetcher, url, looked_up)
