"""Which resolvers are acceptable."""

import asyncio

import pytest

from keyservice.dns import DnsCause, DnsUnavailable, ValidatingResolver
from keyservice.errors import ConfigError


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.53", "::1"])
def test_a_resolver_on_loopback_is_accepted(address: str) -> None:
    """It has proved nothing yet."""
    assert not ValidatingResolver(address).is_proved


@pytest.mark.parametrize(
    "address", ["9.9.9.9", "192.168.1.1", "0.0.0.0", "localhost", "fe80::1", "", "127.0.0.1:53"]
)
def test_any_other_resolver_is_refused_at_configuration(address: str) -> None:
    """The AD bit could be set by whoever is between us and it."""
    with pytest.raises(ConfigError):
        ValidatingResolver(address)


def test_without_a_proof_nothing_is_said_of_openpgpkey_records() -> None:
    """Not even asked: whether they are secure could not be told."""
    resolver = ValidatingResolver("127.0.0.1", port=9)

    with pytest.raises(DnsUnavailable) as caught:
        asyncio.run(resolver.openpgpkey("x._openpgpkey.example.org"))
    assert DnsCause.UNPROVED is caught.value.cause
