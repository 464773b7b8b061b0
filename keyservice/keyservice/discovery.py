"""Discovery as the configuration wants it: resolver, fetcher, methods, in that order."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from keyservice.config import DiscoverySection, host_and_port
from keyservice.discoverer import Discoverer
from keyservice.dns import Proof, ValidatingResolver
from keyservice.fetch import Cause, Fetcher, Forbidden
from keyservice.https_fetcher import HTTPSFetcher
from keyservice.levels import Source
from keyservice.methods import DiscoveryMethod, InquiryResult
from keyservice.methods.hkp import HKP
from keyservice.methods.nicknym import Nicknym
from keyservice.methods.openpgpkey import OpenPGPKey
from keyservice.methods.vks import VKS
from keyservice.methods.wkd import WKD
from keyservice.metrics import Metrics
from keyservice.socks_backend import Proxy

log = logging.getLogger(__name__)


class Discovery:
    """Belongs to the event loop in which `proving` is entered."""

    def __init__(self, section: DiscoverySection, metrics: Metrics) -> None:
        """Ask nobody yet. Raises ConfigError."""
        self._metrics = metrics
        self._proof: Proof | None = None
        resolver = ValidatingResolver(
            *host_and_port(section.resolver, "discovery.resolver"),
            signed_name=section.signed_name,
            bogus_name=section.bogus_name,
        )
        proxy = Proxy(*host_and_port(section.proxy, "discovery.proxy")) if section.proxy else None
        fetcher = HTTPSFetcher(
            resolver, deadline=section.deadline, proxy=proxy, count=self._count_fetch
        )
        made = {source: _method(source, section, fetcher, resolver) for source in section.asked}
        self._resolver = resolver if Source.OPENPGPKEY in made else None
        self.discoverer = Discoverer(
            list(made.values()),
            [method for method in made.values() if isinstance(method, VKS | HKP)],
            deadline=section.deadline,
            observe=self._observe,
        )

    @asynccontextmanager
    async def proving(self, _: object = None) -> AsyncIterator[None]:
        """Have the resolver prove that it validates, for as long as the block lasts."""
        if self._resolver is None:
            yield
            return
        task = asyncio.create_task(self._resolver.keep_proving(self._report))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def _report(self, proof: Proof) -> None:
        self._metrics.proofs.labels(proof.value).inc()
        if proof is not self._proof:
            level = logging.INFO if proof is Proof.PROVED else logging.WARNING
            log.log(level, "resolver", extra={"proof": proof.value})
        self._proof = proof

    def _count_fetch(self, reason: Cause | Forbidden) -> None:
        self._metrics.fetches.labels(reason.value).inc()

    def _observe(self, source: Source, result: InquiryResult) -> None:
        self._metrics.discoveries.labels(source.value, result.value).inc()


def _method(
    source: Source, section: DiscoverySection, fetcher: Fetcher, resolver: ValidatingResolver
) -> DiscoveryMethod:
    match source:
        case Source.WKD:
            return WKD(fetcher)
        case Source.OPENPGPKEY:
            return OpenPGPKey(resolver)
        case Source.NICKNYM:
            return Nicknym(fetcher)
        case Source.VKS:
            return VKS(fetcher, section.vks)
        case Source.HKP:
            return HKP(fetcher, section.hkp)
        case _:
            raise ValueError("not a method")
