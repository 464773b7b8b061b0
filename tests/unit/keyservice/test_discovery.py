"""Discovery as it is configured, and the rules that go with it."""

import asyncio

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from keyservice.config import DiscoverySection
from keyservice.discovery import Discovery
from keyservice.levels import METHODS, Level, Source
from keyservice.mailbox import Mailbox
from keyservice.metrics import Metrics
from keyservice.replacement import DAY, Mode
from keyservice.rulebook import Rulebook

NOWHERE = "127.0.0.1:9"
"""The discard port: nobody resolves there."""


def section(**changes: object) -> DiscoverySection:
    """Return a configuration whose resolver is nowhere."""
    hosts = {"resolver": NOWHERE, "vks": "vks.example.org", "hkp": "hkp.example.org"}
    return msgspec.convert(hosts | changes, DiscoverySection)


def discovery(**changes: object) -> Discovery:
    """Return what comes of it."""
    return Discovery(section(**changes), Metrics(CollectorRegistry()))


def test_methods_are_asked_in_the_configured_order() -> None:
    """All that there are, or none."""
    names = [source.value for source in reversed(METHODS)]

    assert tuple(reversed(METHODS)) == discovery(methods=names).discoverer.sources
    assert () == discovery(methods=[]).discoverer.sources
    assert (Source.WKD, Source.OPENPGPKEY) == discovery().discoverer.sources


def test_through_a_proxy_the_dns_is_not_asked() -> None:
    """It would tell others whom Tor is to hide."""
    asked = discovery(proxy="127.0.0.1:9050", methods=["openpgpkey", "wkd"])

    assert (Source.WKD,) == asked.discoverer.sources


def test_a_resolver_that_is_not_there_makes_lookups_unavailable() -> None:
    """It is asked to prove itself at the start, and the service starts without it."""
    registry = CollectorRegistry()
    asked = Discovery(section(deadline=0.5), Metrics(registry))

    async def look_up() -> None:
        async with asked.proving():
            await asked.discoverer.discover(Mailbox.parse("alice@example.org"))

    asyncio.run(look_up())

    for source in (Source.WKD, Source.OPENPGPKEY):
        labels = {"method": source.value, "result": "unavailable"}
        assert 1 == registry.get_sample_value("keyservice_discoveries_total", labels)


@pytest.mark.parametrize("mode", list(Mode))
def test_the_mode_is_about_mailboxes_of_others(mode: Mode) -> None:
    """Ours always wait."""
    book = Rulebook({"ours.example"}, mode, Level.WEAK_CHAIN, 3 * DAY)
    ours = book.of(Mailbox.parse("a@ours.example"))
    others = book.of(Mailbox.parse("a@sub.ours.example"))

    assert (Mode.HOLD, True, 3 * DAY) == (ours.mode, ours.is_ours, ours.hold_down)
    assert (mode, False, Level.WEAK_CHAIN) == (others.mode, others.is_ours, others.first_contact)
