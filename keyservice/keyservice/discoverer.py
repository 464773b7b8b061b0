"""Asks the methods which certificate a mailbox of somebody else has, all at once.

Whoever sends mail chooses which domain is asked, so one lookup has one deadline, however many
methods there are and however slowly they drip, and one domain is asked for two of its
mailboxes at a time. Every method is accounted for: also one that did not answer.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Protocol

import msgspec

from keyservice.levels import Source
from keyservice.mailbox import Mailbox
from keyservice.methods import DiscoveryMethod, InquiryResult, Result, Unavailable, in_a_word
from keyservice.methods.keyserver import Material, Refreshed

DEADLINE = 5.0
"""Seconds for one mailbox in all."""

PER_DOMAIN_MAX = 2

_LATE = Unavailable("no answer before the deadline")

log = logging.getLogger(__name__)


class Refresher(Protocol):
    """A keyserver that can be asked by fingerprint: a method, too."""

    async def refresh(self, fingerprint: str) -> Refreshed:
        """Ask for what is new about a certificate."""
        ...


class Inquiry(msgspec.Struct, frozen=True):
    """What one method said."""

    source: Source
    result: Result


class Discoverer:
    """Belongs to one event loop."""

    def __init__(
        self,
        methods: Sequence[DiscoveryMethod],
        refreshers: Sequence[Refresher] = (),
        *,
        deadline: float = DEADLINE,
        observe: Callable[[Source, InquiryResult], None] = lambda _source, _result: None,
    ) -> None:
        """Ask `methods`; tell `observe` what became of each inquiry."""
        self._methods = tuple(methods)
        self._refreshers = tuple(refreshers)
        self._deadline = deadline
        self._observe = observe
        self._domains: dict[str, tuple[asyncio.Semaphore, int]] = {}

    @property
    def sources(self) -> tuple[Source, ...]:
        """What is asked, in the configured order."""
        return tuple(method.source for method in self._methods)

    async def discover(self, mailbox: Mailbox) -> tuple[Inquiry, ...]:
        """Return what each method said about `mailbox` by the deadline, in their order."""
        results: dict[Source, Result] = dict.fromkeys(self.sources, _LATE)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._deadline), self._turn(mailbox.domain):
                await self._ask_all(mailbox, results)
        for source, result in results.items():
            self._observe(source, in_a_word(result))
        return tuple(Inquiry(source, result) for source, result in results.items())

    async def refresh(self, fingerprint: str) -> tuple[Material, ...]:
        """Return what keyservers have of the certificate `fingerprint`: revocations above all."""
        asked = [
            asyncio.create_task(refresher.refresh(fingerprint)) for refresher in self._refreshers
        ]
        if not asked:
            return ()
        done, late = await asyncio.wait(asked, timeout=self._deadline)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        results = [task.result() for task in done if task.exception() is None]
        return tuple(result for result in results if isinstance(result, Material))

    async def _ask_all(self, mailbox: Mailbox, results: dict[Source, Result]) -> None:
        """Fill in `results` as they come."""

        async def ask(method: DiscoveryMethod) -> None:
            results[method.source] = await self._ask(method, mailbox)

        async with asyncio.TaskGroup() as asked:
            for method in self._methods:
                asked.create_task(ask(method))

    @staticmethod
    async def _ask(method: DiscoveryMethod, mailbox: Mailbox) -> Result:
        try:
            return await method.discover(mailbox)
        except Exception as error:  # one method that breaks must not take the others with it
            # Without its text, which may be a stranger's.
            log.exception("method_failed", extra={"method": method.source.value})
            return Unavailable(f"failed: {type(error).__name__}")

    @asynccontextmanager
    async def _turn(self, domain: str) -> AsyncIterator[None]:
        semaphore, waiting = self._domains.get(domain, (asyncio.Semaphore(PER_DOMAIN_MAX), 0))
        self._domains[domain] = (semaphore, waiting + 1)
        try:
            async with semaphore:
                yield
        finally:
            semaphore, waiting = self._domains.pop(domain)
            if waiting > 1:
                self._domains[domain] = (semaphore, waiting - 1)
