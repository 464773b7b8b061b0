"""Nicknym (LEAP, "Nicknym", nickserver): the provider says it over TLS, in JSON.

The protocol has the provider sign what it says. The signature would make a statement
PROVIDER_ENDORSEMENT if two more things held: that the endorsing certificate was itself
registered by a stronger way than the one asked here, and that somebody audits what it
endorses without the provider seeing who asks. Neither is so yet, and LEAP counts such a
statement as PROVIDER_TRUST then. Signature and statement are kept as they came, unverified,
so that they can be held against a provider that later says something else.
"""

from urllib.parse import quote, urlencode

import msgspec

from keyservice.fetch import Fetcher
from keyservice.levels import Level, Source
from keyservice.mailbox import InvalidMailbox, Mailbox
from keyservice.methods import Found, NotFound, Rejected, Result
from keyservice.methods.keyserver import Refreshed, Reply, ask, require_material

PORT = 6425

_SIGNATURE = b"-----BEGIN PGP SIGNATURE-----"


class Statement(Found, frozen=True):
    """A provider's reply, with what it signed."""

    statement: bytes
    """The reply up to the signature, as it came."""

    signature: bytes
    """Armored and detached; empty: unsigned. Nobody has verified it."""


class _Reply(msgspec.Struct):
    """What is read of a reply; it may hold certificates of other protocols, too."""

    address: str | None = None
    openpgp: str | None = None


class Nicknym:
    """The nickserver of whichever domain is asked about."""

    source = Source.NICKNYM

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    async def discover(self, mailbox: Mailbox) -> Result:
        """Ask the mailbox's own domain."""
        url = self._url(mailbox.domain, address=mailbox.key)
        reply = await self._ask(mailbox.domain, url)
        return _read(reply, mailbox, url) if isinstance(reply, bytes) else reply

    async def refresh(self, fingerprint: str, domain: str) -> Refreshed:
        """Ask the nickserver of `domain` what is new about the certificate `fingerprint`."""
        url = self._url(domain, fingerprint=fingerprint)
        reply = await self._ask(domain, url)
        if not isinstance(reply, bytes):
            return reply
        decoded = _decode(reply)
        if decoded is None:
            return Rejected(f"{url}: not the JSON of a nickserver")
        if not decoded.openpgp:
            return NotFound(f"{url}: no OpenPGP certificate")
        return require_material(decoded.openpgp.encode(), fingerprint, url)

    async def _ask(self, domain: str, url: str) -> Reply:
        return await ask(self._fetcher, url, domain, port=PORT, is_guess=True)

    @staticmethod
    def _url(domain: str, **parameter: str) -> str:
        return f"https://nicknym.{domain}:{PORT}/?{urlencode(parameter, quote_via=quote)}"


def _read(octets: bytes, mailbox: Mailbox, url: str) -> Result:
    reply = _decode(octets)
    if reply is None:
        return Rejected(f"{url}: not the JSON of a nickserver")
    # The reference server says `{}` for a mailbox that it does not know.
    if not reply.openpgp:
        return NotFound(f"{url}: no OpenPGP certificate")
    if not _names(reply.address, mailbox):
        return Rejected(f"{url}: speaks of another address than the one asked for")
    statement, begin, signature = octets.partition(_SIGNATURE)
    return Statement(
        reply.openpgp.encode(), Level.PROVIDER_TRUST, url, statement, begin + signature
    )


def _decode(octets: bytes) -> _Reply | None:
    try:
        return msgspec.json.decode(octets.partition(_SIGNATURE)[0], type=_Reply)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _names(address: str | None, mailbox: Mailbox) -> bool:
    try:
        return address is not None and Mailbox.parse(address).key == mailbox.key
    except InvalidMailbox:
        return False
