"""A lookup from the address to the decision: real DNS, HTTPS and vetting child, on loopback."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from authority import Authority
from certificates import gallery, sequoia
from fake_net import LoopbackNetwork
from https_peer import Behaviour, HTTPSPeer, endless, raw, redirect, silence
from keyservice.dns import ValidatingResolver
from keyservice.https_fetcher import HTTPSFetcher
from keyservice.levels import Level, Source
from keyservice.mailbox import Mailbox
from keyservice.methods import InquiryResult
from keyservice.methods.openpgpkey import OpenPGPKey
from keyservice.methods.wkd import WKD, Variant, request_uri
from keyservice.packets import fingerprint, split
from keyservice.peer_wire import PeerOutcome
from keyservice.vetting import Vetter
from peer_world import PeerWorld
from unbound import Signing, Unbound

ADDRESS = "9.9.9.9"
HOST = "openpgpkey.advanced.org"
ZONES = {"advanced.org": (Signing.RIGHT, f"@ A {ADDRESS}\nopenpgpkey A {ADDRESS}\n")}
JOE = Mailbox.parse("Joe.Doe@advanced.org")
PAGE = request_uri(JOE, Variant.ADVANCED).removeprefix(f"https://{HOST}").partition("?")[0]


@pytest.fixture(scope="module")
def unbound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unbound]:
    """The only resolver that is asked."""
    with Unbound(tmp_path_factory.mktemp("unbound"), ZONES) as running:
        yield running


@pytest.fixture
def peer() -> Iterator[HTTPSPeer]:
    """The directory's server."""
    authority = Authority()
    with HTTPSPeer(authority.server((HOST,))) as running:
        running.trust = authority.trust()  # type: ignore[attr-defined]
        yield running


@pytest.fixture
def world(unbound: Unbound, peer: HTTPSPeer, tmp_path: Path) -> Iterator[PeerWorld]:
    """The key service's parts over them, with a deadline of 4 s."""
    resolver = ValidatingResolver("127.0.0.1", unbound.port)
    fetcher = HTTPSFetcher(
        resolver,
        deadline=20,
        trust=peer.trust,  # type: ignore[attr-defined]
        network=LoopbackNetwork({ADDRESS: peer.port}),
    )
    methods = [WKD(fetcher), OpenPGPKey(resolver)]
    with closing(Vetter()) as child:
        child.vet(gallery()["alice"])  # it is there: its start is not part of a lookup
        world = PeerWorld(tmp_path / "k.sqlite", methods=methods, deadline=4.0, child=child)
        yield world
        world.close()


def test_a_lookup_from_the_address_to_the_decision(world: PeerWorld, peer: HTTPSPeer) -> None:
    """Found over HTTPS, vetted in the child, registered; the DNS could not be asked yet."""
    octets = sequoia("Joe <joe.doe@advanced.org>").certificate
    peer.pages[PAGE] = octets
    answer = world.answer(JOE)

    assert (PeerOutcome.FOUND, Source.WKD, Level.PROVIDER_TRUST) == (
        answer.outcome,
        answer.source,
        answer.level,
    )
    assert fingerprint(split(octets)[0]) == answer.fingerprint
    told = {inquiry.source: inquiry for inquiry in world.explain(JOE).inquiries}
    assert "found" == told["wkd"].result
    assert PAGE in told["wkd"].detail
    # An Unbound that has not proved that it validates is not believed.
    assert "unavailable" == told["openpgpkey"].result


@pytest.mark.parametrize(
    ("behaviour", "result"),
    [
        (endless(b"HTTP/1.1 200 OK\r\n", b"X", 1.0), InquiryResult.UNAVAILABLE),
        (silence, InquiryResult.UNAVAILABLE),
        (
            endless(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n", b"x" * 65536),
            InquiryResult.REJECTED,
        ),
        (redirect(f"https://{HOST}{PAGE}"), InquiryResult.UNAVAILABLE),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx"), InquiryResult.UNAVAILABLE),
    ],
    ids=["drips an octet a second", "silent", "ten gigabytes", "redirects to itself", "closes"],
)
def test_a_bad_server_costs_one_deadline_and_is_counted(
    world: PeerWorld, peer: HTTPSPeer, behaviour: Behaviour, result: InquiryResult
) -> None:
    """What is registered stays registered; what there was not, there is not."""
    peer.pages[PAGE] = behaviour
    started = time.monotonic()
    answer = world.answer(JOE)

    assert time.monotonic() - started < 12
    assert answer.outcome in (PeerOutcome.UNAVAILABLE, PeerOutcome.REJECTED)
    assert 1 == world.counted("discoveries", method="wkd", result=result.value)
    peer.pages[PAGE] = sequoia("Joe <joe.doe@advanced.org>").certificate
    found = world.discover(JOE)
    assert PeerOutcome.FOUND is found.outcome
    peer.pages[PAGE] = behaviour
    assert found.fingerprint == world.discover(JOE).fingerprint
