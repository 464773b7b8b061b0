"""Nothing is contacted that must not be: no sockets here, every attempt would be seen."""

import asyncio
import ssl

import pytest

from fake_net import FakeResolver, LoopbackNetwork
from forbidden import FORBIDDEN_ADDRESSES, FORBIDDEN_URLS
from keyservice import https_fetcher
from keyservice.dns import DnsCause
from keyservice.fetch import Cause, FetchFailed, FetchRefused, Forbidden
from keyservice.https_fetcher import HTTPSFetcher
from keyservice.socks_backend import Proxy, circuit_token

URL = "https://peer.org/"


def failure(
    url: str, resolver: FakeResolver, network: LoopbackNetwork, proxy: Proxy | None = None
) -> Cause | Forbidden:
    """Return why `url` was not fetched; it is counted, once, as what it is."""
    counted: list[Cause | Forbidden] = []
    fetcher = HTTPSFetcher(
        resolver,
        proxy=proxy,
        network=network,
        count=counted.append,
        trust=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    )
    with pytest.raises((FetchFailed, FetchRefused)) as caught:
        asyncio.run(fetcher.get(url, limit_octets=100))
    (reason,) = counted
    shown = caught.value.reason if isinstance(caught.value, FetchRefused) else caught.value.cause
    assert shown is reason
    return reason


@pytest.mark.parametrize(("url", "reason"), FORBIDDEN_URLS)
def test_forbidden_urls_are_neither_resolved_nor_contacted(url: str, reason: Forbidden) -> None:
    """Not even their name becomes known to anybody; so with a proxy."""
    for proxy in (None, Proxy("127.0.0.1", 9050)):
        if proxy and ".onion" in url:
            continue
        resolver, network = FakeResolver(), LoopbackNetwork()

        assert reason is failure(url, resolver, network, proxy)
        assert [] == resolver.asked
        assert [] == network.attempts


@pytest.mark.parametrize("address", FORBIDDEN_ADDRESSES)
@pytest.mark.parametrize("public", [[], ["9.9.9.9", "2620:fe::fe"]])
def test_forbidden_addresses_are_not_contacted(address: str, public: list[str]) -> None:
    """Nor are public ones of the same name, which is what an alias to inside looks like, too."""
    network = LoopbackNetwork()
    resolver = FakeResolver({"peer.org": [*public, address]})

    assert Forbidden.ADDRESS is failure(URL, resolver, network)
    assert [] == network.attempts


def test_our_own_address_is_not_contacted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it is public."""
    monkeypatch.setattr(https_fetcher, "is_own_address", lambda address: address == "9.9.9.9")
    network = LoopbackNetwork()

    assert Forbidden.ADDRESS is failure(URL, FakeResolver({"peer.org": ["9.9.9.9"]}), network)
    assert [] == network.attempts


def test_a_name_without_address_is_told_from_one_that_cannot_be_resolved() -> None:
    """The former is an answer."""
    failing = FakeResolver(failing={"peer.org": DnsCause.SERVFAIL})

    assert Cause.NO_SUCH_HOST is failure(URL, FakeResolver(), LoopbackNetwork())
    assert Cause.DNS is failure(URL, failing, LoopbackNetwork())


def test_every_address_has_its_turn() -> None:
    """In the order of the resolver, on the port of the URL."""
    network = LoopbackNetwork()
    resolver = FakeResolver({"peer.org": ["9.9.9.9", "2620:fe::fe"]})

    assert Cause.CONNECT is failure(URL, resolver, network)
    assert [("9.9.9.9", 443), ("2620:fe::fe", 443)] == network.attempts


def test_with_a_proxy_nothing_else_is_contacted() -> None:
    """Not the resolver, and nobody directly if the proxy does not answer."""
    network, resolver = LoopbackNetwork(), FakeResolver({"peer.org": ["9.9.9.9"]})

    assert Cause.PROXY is failure(URL, resolver, network, Proxy("127.0.0.1", 9050))
    assert [("127.0.0.1", 9050)] == network.attempts
    assert [] == resolver.asked


def test_circuits_differ_by_domain_and_tell_nothing() -> None:
    """Same domain, same circuit, until the next start."""
    alice, bob = circuit_token(b"1", "alice.org"), circuit_token(b"1", "bob.org")

    assert alice == circuit_token(b"1", "alice.org")
    assert 3 == len({alice, bob, circuit_token(b"2", "alice.org")})
    assert b"alice" not in alice
