"""VKS, HKP and Nicknym over real HTTPS, through the fetcher that vets and pins addresses."""

import asyncio
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from authority import Authority
from certificates import ALICE, BOB, revoked, sequoia
from fake_net import FakeResolver, LoopbackNetwork
from keyserver_peer import Keyserver, Page, fingerprint, served
from keyservice import packets
from keyservice.https_fetcher import HTTPSFetcher
from keyservice.levels import Level
from keyservice.mailbox import Mailbox
from keyservice.methods import Found, NotFound, Rejected, Unavailable
from keyservice.methods.hkp import HKP
from keyservice.methods.keyserver import REPLY_OCTETS_MAX, Material
from keyservice.methods.nicknym import Nicknym
from keyservice.methods.vks import VKS

T = TypeVar("T")

KEYS, NICKNYM = "keys.example.net", "nicknym.example.org"
ADDRESS, PRIVATE = "93.184.215.14", "10.0.0.1"
ALICES, BOBS = Mailbox.parse("alice@example.org"), Mailbox.parse("bob@example.org")
MADE = sequoia(ALICE)
BY_EMAIL = "/vks/v1/by-email/alice%40example.org"


class Peer:
    """A keyserver, and what leads to it."""

    def __init__(self, keyserver: Keyserver, port: int, trust: ssl.SSLContext) -> None:
        self.keyserver = keyserver
        self.trust = trust
        self.network = LoopbackNetwork({ADDRESS: port})

    def fetcher(self, address: str = ADDRESS, deadline: float = 10) -> HTTPSFetcher:
        """Return a fetcher for which the server is at that address."""
        resolver = FakeResolver({KEYS: [address], NICKNYM: [address]})
        return HTTPSFetcher(resolver, deadline=deadline, trust=self.trust, network=self.network)


def run(answer: Coroutine[Any, Any, T]) -> T:
    """Return what comes of it."""
    return asyncio.run(answer)


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A server that has verified Alice's address; Bob's certificate was just uploaded."""
    keyserver = Keyserver(MADE.certificate, unverified=(sequoia(BOB).certificate,))
    authority = Authority()
    with served(keyserver, authority.server((KEYS, NICKNYM))) as port:
        yield Peer(keyserver, port, authority.trust())


def test_each_protocol_finds_alice(peer: Peer) -> None:
    """The same certificate, worth what the way to it is worth."""
    fetcher = peer.fetcher()
    methods = (VKS(fetcher, KEYS), Nicknym(fetcher), HKP(fetcher, KEYS))

    results = [run(method.discover(ALICES)) for method in methods]

    levels = [found.level for found in results if isinstance(found, Found)]
    assert [Level.PROVIDER_TRUST, Level.PROVIDER_TRUST, Level.WEAK_CHAIN] == levels
    for found in results:
        assert isinstance(found, Found)
        primary = packets.require_one_certificate(found.octets)[0].packet
        assert fingerprint(MADE.certificate) == packets.fingerprint(primary)


def test_nobody_is_found_under_an_unknown_address(peer: Peer) -> None:
    """Each protocol says so in its own way."""
    fetcher = peer.fetcher()
    nobody = Mailbox.parse("nobody@example.org")

    for method in (VKS(fetcher, KEYS), Nicknym(fetcher), HKP(fetcher, KEYS)):
        assert isinstance(run(method.discover(nobody)), NotFound)


def test_a_domain_without_nickserver_is_not_found(peer: Peer) -> None:
    """Its name has no address; nothing is sent."""
    mailbox = Mailbox.parse("alice@example.com")

    assert isinstance(run(Nicknym(peer.fetcher()).discover(mailbox)), NotFound)
    assert [] == peer.network.attempts


def test_an_unverified_certificate_is_material_and_no_discovery(peer: Peer) -> None:
    """By address the verifying server has nothing, by fingerprint it leaves out user IDs."""
    vks = VKS(peer.fetcher(), KEYS)
    (identity,) = peer.keyserver.unverified

    material = run(vks.refresh(identity))
    candidate = run(vks.candidate(identity[-16:]))

    assert isinstance(run(vks.discover(BOBS)), NotFound)
    assert isinstance(material, Material)
    assert packets.USER_ID not in {packet.tag for packet in packets.split(material.octets)}
    assert isinstance(candidate, Material)
    assert identity == candidate.fingerprint


def test_a_revocation_is_learned_by_every_protocol(peer: Peer) -> None:
    """By fingerprint; the revocation signature is in what comes."""
    withdrawn = revoked(MADE)
    identity = fingerprint(withdrawn)
    peer.keyserver.certificates[identity] = withdrawn
    fetcher = peer.fetcher()

    for answer in (
        VKS(fetcher, KEYS).refresh(identity),
        HKP(fetcher, KEYS).refresh(identity),
        Nicknym(fetcher).refresh(identity, "example.org"),
    ):
        material = run(answer)
        assert isinstance(material, Material)
        assert set(packets.split(withdrawn)) == set(packets.split(material.octets))


def test_two_certificates_on_a_keyserver_are_both_evidence(peer: Peer) -> None:
    """Mallory's upload neither replaces Alice's nor goes before it."""
    mallorys = sequoia(ALICE).certificate
    peer.keyserver.certificates[fingerprint(mallorys)] = mallorys

    found = run(HKP(peer.fetcher(), KEYS).discover(ALICES))

    assert isinstance(found, Found)
    primaries = [p for p in packets.split(found.octets) if p.tag == packets.PUBLIC_KEY]
    assert {fingerprint(MADE.certificate), fingerprint(mallorys)} == {
        packets.fingerprint(each) for each in primaries
    }


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_unavailable(peer: Peer, status: int) -> None:
    """It says nothing about the address."""
    peer.keyserver.pages[BY_EMAIL] = Page(status, b"Too many requests\n")

    assert isinstance(run(VKS(peer.fetcher(), KEYS).discover(ALICES)), Unavailable)


def test_a_flooded_certificate_ends_at_the_limit(peer: Peer) -> None:
    """A reply of more octets than any usable certificate has is not read to its end."""
    peer.keyserver.pages[BY_EMAIL] = Page(200, b"x" * (REPLY_OCTETS_MAX + 1))

    assert isinstance(run(VKS(peer.fetcher(), KEYS).discover(ALICES)), Unavailable)


def test_a_server_without_trusted_certificate_is_unavailable(peer: Peer) -> None:
    """Nothing is learned from whoever answers in its place, and nothing is asked."""
    peer.trust = Authority().trust()

    assert isinstance(run(VKS(peer.fetcher(), KEYS).discover(ALICES)), Unavailable)
    assert [] == peer.keyserver.targets


def test_a_nickserver_inside_our_network_is_rejected(peer: Peer) -> None:
    """A domain may point its name anywhere: no packet goes to what is not public."""
    assert isinstance(run(Nicknym(peer.fetcher(PRIVATE)).discover(ALICES)), Rejected)
    assert [] == peer.network.attempts


def test_nicknym_is_asked_at_its_port(peer: Peer) -> None:
    """6425, and no other."""
    run(Nicknym(peer.fetcher()).discover(ALICES))

    assert [(ADDRESS, 6425)] == peer.network.attempts


def test_gpg_takes_the_peer_for_a_keyserver() -> None:
    """What the method is tested against speaks HKP as gpg's own client understands it."""
    identity = fingerprint(MADE.certificate)
    assert shutil.which("gpg"), "gpg is not installed"
    with (
        tempfile.TemporaryDirectory(prefix="ll-gpg-") as home,
        served(Keyserver(MADE.certificate)) as port,
    ):
        Path(home, "dirmngr.conf").write_text("disable-ipv6\nno-use-tor\n")
        gpg = ["gpg", "--homedir", home, "--batch", "--keyserver", f"hkp://127.0.0.1:{port}"]
        try:
            done = subprocess.run(
                [*gpg, "--recv-keys", identity], capture_output=True, timeout=60, check=False
            )
            assert done.returncode == 0, done.stderr.decode()
            listed = subprocess.run(
                [*gpg, "--with-colons", "--list-keys"], capture_output=True, timeout=60, check=True
            )
        finally:
            subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True, timeout=60)

    assert identity.upper() in listed.stdout.decode()
