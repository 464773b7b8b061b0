"""Verifying keyservers (keys.openpgp.org, "API", VKS): one certificate an address, or none.

The server shows a certificate by address only after the owner of the mailbox has opened a
link that it mailed. That is an endorsement by a third party that nobody audits, which LEAP
counts as PROVIDER_TRUST; `Source.VKS` ranks it below whatever the provider itself says.
"""

from urllib.parse import quote

from keyservice.fetch import Fetcher
from keyservice.levels import Level, Source
from keyservice.mailbox import Mailbox
from keyservice.methods import Found, Result
from keyservice.methods.keyserver import Refreshed, Reply, ask, require_key_id, require_material


class VKS:
    """One verifying keyserver."""

    source = Source.VKS

    def __init__(self, fetcher: Fetcher, host: str) -> None:
        """Speak to `https://host/`."""
        self._fetcher = fetcher
        self._base = f"https://{host}/vks/v1"

    async def discover(self, mailbox: Mailbox) -> Result:
        """Ask by address; the server matches it exactly."""
        # The server learns who is looked for: the operator decides whether it is asked at all.
        url = f"{self._base}/by-email/{quote(mailbox.key, safe='')}"
        reply = await self._ask(url, mailbox.domain)
        return Found(reply, Level.PROVIDER_TRUST, url) if isinstance(reply, bytes) else reply

    async def refresh(self, fingerprint: str) -> Refreshed:
        """Ask for what is new about the certificate `fingerprint`."""
        url = f"{self._base}/by-fingerprint/{fingerprint.upper()}"
        reply = await self._ask(url, fingerprint)
        return require_material(reply, fingerprint, url) if isinstance(reply, bytes) else reply

    async def candidate(self, identity: str) -> Refreshed:
        """Ask by key ID, 16 digits in lower case: which certificate may it be?"""
        url = f"{self._base}/by-keyid/{identity.upper()}"
        reply = await self._ask(url, identity)
        return require_key_id(reply, identity, url) if isinstance(reply, bytes) else reply

    async def _ask(self, url: str, looked_up: str) -> Reply:
        return await ask(self._fetcher, url, looked_up)
