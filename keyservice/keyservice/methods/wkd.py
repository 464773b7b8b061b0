"""Certificates in a Web Key Directory (draft-koch-openpgp-webkey-service).

A mail domain publishes the certificates of its mailboxes over HTTPS. The path holds a hash of
the local part, so that the directory cannot be listed by its URLs; `Variant` says on which host.
What comes is not looked at here: an error page sent with status 200 is for vetting to refuse.
"""

from enum import Enum
from urllib.parse import quote

import msgspec

from keyservice.fetch import Cause, Fetcher, FetchFailed, FetchRefused
from keyservice.levels import Level, Source
from keyservice.mailbox import Mailbox
from keyservice.methods import Found, NotFound, Rejected, Result, Unavailable
from keyservice.packets import ARMORED_OCTETS_MAX
from keyservice.wkd_name import hashed_local_part

_WELL_KNOWN = ".well-known/openpgpkey"

CONTENT_OCTETS_MAX = 4 * ARMORED_OCTETS_MAX
"""A current certificate, and older ones that were revoked (draft-koch §5)."""

_POLICY_OCTETS_MAX = 65_536
_POLICY_LINE_OCTETS_MAX = 1_000


class Variant(Enum):
    """How the request URI is formed (draft-koch §3.1)."""

    ADVANCED = "advanced"
    """On the `openpgpkey` sub-domain. Tried first."""

    DIRECT = "direct"
    """On the mail domain itself. Only if that sub-domain does not exist."""


class Policy(msgspec.Struct, frozen=True):
    """A policy file (draft-koch §4.5); what it does not say is None or False."""

    mailbox_only: bool = False
    dane_only: bool = False
    auth_submit: bool = False
    protocol_version: int | None = None
    submission_address: str | None = None


class WKD:
    """See `DiscoveryMethod`."""

    source = Source.WKD

    def __init__(self, fetcher: Fetcher) -> None:
        """Ask through `fetcher`."""
        self._fetcher = fetcher

    async def discover(self, mailbox: Mailbox) -> Result:
        """See `DiscoveryMethod`."""
        for variant in Variant:
            result = await self._ask(mailbox, variant)
            if result is not None:
                return result
        # By the word of the DNS, which need not be signed: who forges that can hide a
        # directory, but cannot put another one in its place.
        return NotFound(f"neither openpgpkey.{mailbox.domain} nor {mailbox.domain} has an address")

    async def policy(self, domain: str) -> Policy | None:
        """Return what the policy file of `domain` says; None if it has none.

        Raises FetchRefused and FetchFailed.
        """
        for variant in Variant:
            try:
                response = await self._fetcher.get(
                    f"{directory(domain, variant)}/policy",
                    limit_octets=_POLICY_OCTETS_MAX,
                    looked_up=domain,
                )
            except FetchFailed as failure:
                if failure.cause is not Cause.NO_SUCH_HOST:
                    raise
            else:
                return read_policy(response.octets) if response.status == 200 else None
        return None

    async def _ask(self, mailbox: Mailbox, variant: Variant) -> Result | None:
        """Return None if the host does not exist: only then may another be asked."""
        uri = request_uri(mailbox, variant)
        # The query repeats the local part, which is nobody's business in a log.
        where = uri.partition("?")[0]
        try:
            response = await self._fetcher.get(
                uri, limit_octets=CONTENT_OCTETS_MAX, looked_up=mailbox.domain
            )
        except FetchRefused as refusal:
            return Rejected(f"{where}: {refusal}")
        except FetchFailed as failure:
            return _failed(where, failure)
        if response.status == 404:
            return NotFound(f"{where}: 404")
        if not response.octets:
            return Rejected(f"{where}: empty")
        return Found(response.octets, Level.PROVIDER_TRUST, where)


def _failed(where: str, failure: FetchFailed) -> Result | None:
    match failure.cause:
        case Cause.NO_SUCH_HOST:
            return None
        case Cause.TOO_LARGE | Cause.ENCODED:
            return Rejected(f"{where}: {failure}")
        case _:
            return Unavailable(f"{where}: {failure}")


def directory(domain: str, variant: Variant) -> str:
    """Return the URL of the directory of `domain`, without a final slash."""
    match variant:
        case Variant.ADVANCED:
            return f"https://openpgpkey.{domain}/{_WELL_KNOWN}/{domain}"
        case Variant.DIRECT:
            return f"https://{domain}/{_WELL_KNOWN}"


def request_uri(mailbox: Mailbox, variant: Variant) -> str:
    """Return the URI at which the certificates of `mailbox` may be published."""
    # `l` is the local part as written: some servers match case themselves.
    local_part = quote(mailbox.local_part, safe="")
    path = f"hu/{hashed_local_part(mailbox.local_part)}?l={local_part}"
    return f"{directory(mailbox.domain, variant)}/{path}"


def read_policy(octets: bytes) -> Policy:
    """Return what a policy file says: a keyword a line; unknown and damaged lines do not count."""
    said: dict[str, str] = {}
    for line in octets.split(b"\n"):
        if len(line) <= _POLICY_LINE_OCTETS_MAX and not line.startswith(b"#"):
            keyword, _, value = line.decode("utf-8", "replace").partition(":")
            said.setdefault(keyword.strip().lower(), value.strip())
    version = said.get("protocol-version", "")
    return Policy(
        mailbox_only="mailbox-only" in said,
        dane_only="dane-only" in said,
        auth_submit="auth-submit" in said,
        protocol_version=int(version) if version.isdecimal() and len(version) < 6 else None,
        submission_address=said.get("submission-address") or None,
    )
