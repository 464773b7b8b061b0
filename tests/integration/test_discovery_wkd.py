"""Web Key Directories behind real DNS and HTTPS: Unbound's answers, a server that may lie."""

import asyncio
from collections.abc import Iterator

import pytest

from authority import Authority
from certificates import sequoia
from fake_net import LoopbackNetwork
from https_peer import Behaviour, HTTPSPeer, endless, page, raw, redirect
from keyservice.dns import ValidatingResolver
from keyservice.https_fetcher import HTTPSFetcher
from keyservice.levels import Level
from keyservice.mailbox import Mailbox
from keyservice.methods import Found, NotFound, Rejected, Result, Unavailable
from keyservice.methods.wkd import WKD, Policy, Variant, request_uri
from openpgp_tools import GnuPG
from unbound import Signing, Unbound

HASHED = "iy9q119eutrkn8s1mk4r39qejnbu3n5q"
ADDRESS = "9.9.9.9"
OK = b"HTTP/1.1 200 OK\r\n"
ZONES = {
    "advanced.org": (Signing.RIGHT, f"@ A {ADDRESS}\nopenpgpkey A {ADDRESS}\n"),
    "direct.org": (Signing.NOT, f"@ A {ADDRESS}\n"),
    "hosted.org": (Signing.NOT, "openpgpkey CNAME openpgpkey.advanced.org.\n"),
    "empty.org": (Signing.NOT, "openpgpkey TXT none\n"),
    "inside.org": (Signing.NOT, f"@ A {ADDRESS}\nopenpgpkey CNAME host.lan.inside.org.\n"
                   "host.lan A 10.0.0.1\n"),
    "alias.org": (Signing.NOT, f"@ A {ADDRESS}\nopenpgpkey CNAME nothing.alias.org.\n"),
    "bogus.org": (Signing.WRONG, f"@ A {ADDRESS}\n"),
}  # fmt: skip
NAMES = tuple(f"{prefix}{zone}" for zone in ZONES for prefix in ("", "openpgpkey."))


def advanced(domain: str) -> str:
    """Return the path on the sub-domain."""
    return f"/.well-known/openpgpkey/{domain}/hu/{HASHED}"


DIRECT = f"/.well-known/openpgpkey/hu/{HASHED}"


class World:
    """A resolver, one server for all names, and how a directory looks from here."""

    def __init__(self, unbound: Unbound, peer: HTTPSPeer, authority: Authority) -> None:
        self.peer = peer
        self.network = LoopbackNetwork({ADDRESS: peer.port})
        self._unbound = unbound
        self._authority = authority

    def wkd(self, deadline: float = 20.0) -> WKD:
        """Return the method."""
        fetcher = HTTPSFetcher(
            ValidatingResolver("127.0.0.1", self._unbound.port),
            deadline=deadline,
            trust=self._authority.trust(),
            network=self.network,
        )
        return WKD(fetcher)

    def discover(self, domain: str, deadline: float = 20.0) -> Result:
        """Return what the directory of `domain` says of Joe."""
        mailbox = Mailbox.parse(f"Joe.Doe@{domain}")
        return asyncio.run(self.wkd(deadline).discover(mailbox))


@pytest.fixture(scope="module")
def unbound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unbound]:
    """The only resolver that is asked, which knows the ZONES only."""
    with Unbound(tmp_path_factory.mktemp("unbound"), ZONES) as running:
        yield running


@pytest.fixture
def world(unbound: Unbound) -> Iterator[World]:
    """See World."""
    authority = Authority()
    with HTTPSPeer(authority.server(NAMES)) as peer:
        yield World(unbound, peer, authority)


def test_the_advanced_method(world: World) -> None:
    """One request, on the sub-domain, with the local part as written."""
    world.peer.pages[advanced("advanced.org")] = b"octets"

    where = f"https://openpgpkey.advanced.org{advanced('advanced.org')}"
    assert Found(b"octets", Level.PROVIDER_TRUST, where) == world.discover("advanced.org")
    (request,) = world.peer.requests
    assert "openpgpkey.advanced.org" == request.server_name == request.fields["host"]
    assert request.target.endswith("?l=Joe.Doe")


def test_the_direct_method(world: World) -> None:
    """On the domain, if the sub-domain does not exist."""
    world.peer.pages[DIRECT] = b"octets"

    where = f"https://direct.org{DIRECT}"
    assert Found(b"octets", Level.PROVIDER_TRUST, where) == world.discover("direct.org")
    assert ["direct.org"] == [request.server_name for request in world.peer.requests]


def test_a_sub_domain_may_be_hosted_elsewhere(world: World) -> None:
    """By an alias; the server has to have a certificate for the domain's own name."""
    world.peer.pages[advanced("hosted.org")] = b"octets"

    assert isinstance(world.discover("hosted.org"), Found)
    assert ["openpgpkey.hosted.org"] == [request.server_name for request in world.peer.requests]


def test_a_sub_domain_that_exists_is_the_only_one_asked(world: World) -> None:
    """Its 404 holds, its error is temporary; what the domain itself serves does not count."""
    world.peer.pages[DIRECT] = b"octets"
    assert isinstance(world.discover("advanced.org"), NotFound)
    world.peer.pages[advanced("advanced.org")] = page(b"", 500)
    assert isinstance(world.discover("advanced.org"), Unavailable)
    world.network.routes.clear()
    assert isinstance(world.discover("advanced.org"), Unavailable)

    assert {"openpgpkey.advanced.org"} == {r.server_name for r in world.peer.requests}


def test_a_sub_domain_without_address_does_not_exist(world: World) -> None:
    """Though there are other records at the name, or an alias to nowhere (draft-koch §3.1)."""
    world.peer.pages[DIRECT] = b"octets"

    assert isinstance(world.discover("empty.org"), NotFound)
    assert isinstance(world.discover("alias.org"), Found)


def test_wrong_signatures_are_not_the_absence_of_a_name(world: World) -> None:
    """Else an attacker could choose between the methods."""
    world.peer.pages[DIRECT] = b"octets"

    assert isinstance(world.discover("bogus.org"), Unavailable)
    assert [] == world.network.attempts


def test_an_alias_to_inside_is_not_followed(world: World) -> None:
    """Nor is the direct method tried: the sub-domain exists."""
    result = world.discover("inside.org")

    assert isinstance(result, Rejected)
    assert "address" in result.detail
    assert [] == world.network.attempts


def test_a_domain_that_does_not_exist(world: World) -> None:
    """It has no directory."""
    assert isinstance(world.discover("nowhere.net"), NotFound)


@pytest.mark.parametrize("domain", ["domain.test", "localhost", "domain.local", "a_b.org"])
def test_domains_that_are_not_public_are_not_asked(world: World, domain: str) -> None:
    """Mail may have been sent in their name nevertheless."""
    assert isinstance(world.discover(domain), Rejected)
    assert [] == world.network.attempts


def test_error_pages_are_for_vetting_to_refuse(world: World) -> None:
    """Content is not judged here, nor is its type (draft-koch §3.1)."""
    html = b"<html>Welcome!</html>"
    world.peer.pages[DIRECT] = page(html, 200, {"Content-Type": "text/html"})

    result = world.discover("direct.org")
    assert isinstance(result, Found)
    assert html == result.octets


def test_redirects_are_followed_safely(world: World) -> None:
    """To another public host, and not to inside."""
    world.peer.pages[DIRECT] = redirect("https://openpgpkey.advanced.org/x")
    world.peer.pages["/x"] = b"octets"
    found = world.discover("direct.org")
    assert isinstance(found, Found)

    world.peer.pages[DIRECT] = redirect("https://openpgpkey.inside.org/x")
    assert isinstance(world.discover("direct.org"), Rejected)


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (endless(b"HTTP/1.1 200 OK\r\n", b"X", 0.1), Unavailable),
        (
            endless(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n", b"x" * 65536),
            Rejected,
        ),
        (redirect(f"https://direct.org{DIRECT}"), Unavailable),
        (raw(OK + b"Content-Length: 100\r\n\r\nx"), Unavailable),
        (page(b"x", 200, {"Content-Encoding": "gzip"}), Rejected),
        (page(b""), Rejected),
    ],
    ids=["drips", "ten gigabytes", "redirects to itself", "closes midway", "gzip", "empty"],
)
def test_bad_servers_cost_one_deadline(
    world: World, behaviour: Behaviour, expected: type[Result]
) -> None:
    """And are no reason to try the other method."""
    world.peer.pages[DIRECT] = behaviour

    assert isinstance(world.discover("direct.org", deadline=6.0), expected)


def test_policy_files(world: World) -> None:
    """Read where the directory is."""
    world.peer.pages["/.well-known/openpgpkey/policy"] = b"mailbox-only\n"

    assert Policy(mailbox_only=True) == asyncio.run(world.wkd().policy("direct.org"))
    assert None is asyncio.run(world.wkd().policy("advanced.org"))
    assert None is asyncio.run(world.wkd().policy("nowhere.net"))


def test_gnupg_hashes_alike() -> None:
    """What GnuPG computes for a user ID is in our path."""
    with GnuPG.at_home() as gnupg:
        gnupg.run("--import", octets=sequoia("Joe <Joe.Doe@Example.ORG>").certificate)
        listing = gnupg.run("--with-wkd-hash", "--list-keys").decode()

    assert f"{HASHED}@example.org" in listing.lower()
    assert HASHED in request_uri(Mailbox.parse("Joe.Doe@Example.ORG"), Variant.DIRECT)
