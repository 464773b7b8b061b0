"""The fetcher against real servers on loopback that lie, drip, redirect and break off.

The names are public ones, and so are the addresses that the resolver gives for them; where
these lead is what `LoopbackNetwork` is told.
"""

import asyncio
import gzip
import os
import re
import selectors
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from authority import Authority
from fake_net import FakeResolver, LoopbackNetwork
from forbidden import FORBIDDEN_ADDRESSES, FORBIDDEN_URLS
from https_peer import Behaviour, HTTPSPeer, endless, page, raw, redirect, silence
from keyservice.fetch import Cause, FetchFailed, FetchRefused, Forbidden, Response
from keyservice.https_fetcher import HTTPSFetcher, webpki
from keyservice.pinned_backend import is_own_address
from keyservice.socks_backend import Proxy
from socks_peer import SocksPeer

PEER, OTHER, UNNAMED = "peer.org", "other.net", "unnamed.org"
HOSTS = {PEER: ["9.9.9.9"], OTHER: ["9.9.9.10"], UNNAMED: ["9.9.9.9"]}
URL = f"https://{PEER}/it"
LIMIT = 100_000
OK = b"HTTP/1.1 200 OK\r\n"


class World:
    """One server, behind both addresses, and a fetcher that trusts it."""

    def __init__(self, peer: HTTPSPeer, authority: Authority) -> None:
        self.peer = peer
        self.authority = authority
        self.resolver = FakeResolver(HOSTS)
        self.network = LoopbackNetwork({"9.9.9.9": peer.port, "9.9.9.10": peer.port})
        self.counted: list[Cause | Forbidden] = []

    def get(
        self, url: str = URL, *, deadline: float = 20.0, proxy: Proxy | None = None, sake: str = ""
    ) -> Response:
        """Fetch `url` as the key service does."""
        fetcher = HTTPSFetcher(
            self.resolver,
            deadline=deadline,
            proxy=proxy,
            count=self.counted.append,
            trust=self.authority.trust(),
            network=self.network,
        )
        return asyncio.run(fetcher.get(url, limit_octets=LIMIT, looked_up=sake))

    def failure(
        self, behaviour: Behaviour, deadline: float = 20.0, url: str = URL
    ) -> Cause | Forbidden:
        """Return why nothing came of a server that does `behaviour`; it is counted once."""
        self.peer.pages["/it"] = behaviour
        self.counted.clear()
        with pytest.raises((FetchFailed, FetchRefused)):
            self.get(url, deadline=deadline)
        (reason,) = self.counted
        return reason


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Whom the fetcher trusts."""
    return Authority()


@pytest.fixture
def world(authority: Authority) -> Iterator[World]:
    """A server for the names PEER and OTHER, and a way to it."""
    with HTTPSPeer(authority.server((PEER, OTHER))) as peer:
        yield World(peer, authority)


def test_a_page_is_fetched(world: World) -> None:
    """From the vetted address, with the name in the handshake and in Host, and little else."""
    world.peer.pages["/it"] = page(b"octets", 200, {"Content-Type": "application/octet-stream"})

    response = world.get(f"{URL}?l=a%40b")
    assert Response(200, b"octets", f"{URL}?l=a%40b", "application/octet-stream") == response
    (request,) = world.peer.requests
    assert (PEER, "/it?l=a%40b") == (request.server_name, request.target)
    assert {"host": PEER, "accept-encoding": "identity"}.items() <= request.fields.items()
    assert {"host", "accept", "accept-encoding", "user-agent"} == request.fields.keys()
    assert [("9.9.9.9", 443)] == world.network.attempts
    assert [PEER] == world.resolver.asked


def test_a_chunked_page_is_fetched(world: World) -> None:
    """It says where it ends."""
    world.peer.pages["/it"] = raw(
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"
    )

    assert b"abcdef" == world.get().octets


def test_absence_has_no_content(world: World) -> None:
    """Whatever is on the error page, it is not read."""
    world.peer.pages["/it"] = page(b"x" * 2 * LIMIT, 404)

    assert Response(404, b"", URL) == world.get()


def test_a_second_address_is_tried(world: World) -> None:
    """If the first does not answer."""
    world.peer.pages["/it"] = b"octets"
    world.resolver.hosts[PEER] = ["9.9.9.8", "9.9.9.9"]

    assert b"octets" == world.get().octets
    assert [("9.9.9.8", 443), ("9.9.9.9", 443)] == world.network.attempts


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_three_redirects_are_followed(world: World, status: int) -> None:
    """Each to a name that is resolved and vetted anew; nothing is taken along."""
    world.peer.pages |= {
        "/it": page(b"", status, {"Location": "/a", "Set-Cookie": "a=b; Secure"}),
        "/a": redirect(f"//{OTHER}/b", status),
        "/b": redirect(f"https://{OTHER}:443/c?d#e", status),
        "/c": b"octets",
    }

    assert Response(200, b"octets", f"https://{OTHER}/c?d") == world.get()
    assert [PEER, PEER, OTHER, OTHER] == world.resolver.asked
    assert [PEER, PEER, OTHER, OTHER] == [r.server_name for r in world.peer.requests]
    assert all("cookie" not in request.fields for request in world.peer.requests)


def test_a_redirect_to_itself_ends_after_three(world: World) -> None:
    """It costs four requests."""
    assert Cause.REDIRECT is world.failure(redirect(URL))
    assert 4 == len(world.peer.requests)


@pytest.mark.parametrize("location", ["", f"https://{UNNAMED}.nowhere.org/"])
def test_a_redirect_to_nowhere_is_a_failure(world: World, location: str) -> None:
    """Not the absence of the host that was asked for."""
    fields = {"Location": location} if location else {}

    assert Cause.REDIRECT is world.failure(page(b"", 302, fields))


def sendable(url: str) -> bool:
    """Whether `url` can stand in a header field, and names another host than it is sent by."""
    return url.isascii() and url.isprintable() and bool(re.match(r"\w+://[^/?#]|file:", url))


@pytest.mark.parametrize(
    "location", [*(url for url, _ in FORBIDDEN_URLS if sendable(url)), "//127.0.0.1/", "//[::1]/"]
)
def test_a_redirect_to_a_forbidden_form_is_not_followed(world: World, location: str) -> None:
    """There is one connection: to who sent it."""
    assert isinstance(world.failure(redirect(location)), Forbidden)
    assert [("9.9.9.9", 443)] == world.network.attempts
    assert [PEER] == world.resolver.asked


def test_a_redirect_with_other_octets_is_not_followed(world: World) -> None:
    """Names beyond ASCII have a form in ASCII."""
    reply = "HTTP/1.1 302 x\r\nContent-Length: 0\r\nLocation: https://pëer.org/\r\n\r\n"

    assert Forbidden.URL is world.failure(raw(reply.encode()))


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::ffff:127.0.0.1"])
def test_a_redirect_to_a_private_address_is_not_followed(world: World, address: str) -> None:
    """A public name may lead there."""
    world.resolver.hosts[OTHER] = [address]

    assert Forbidden.ADDRESS is world.failure(redirect(f"https://{OTHER}/"))
    assert [("9.9.9.9", 443)] == world.network.attempts


def test_a_rebinding_name_is_resolved_once(world: World) -> None:
    """What was vetted is connected to; the private address that comes next time is not."""
    world.peer.pages["/it"] = b"octets"
    world.resolver.rotating[PEER] = [["9.9.9.9"], ["127.0.0.1"]]

    assert b"octets" == world.get().octets
    assert Forbidden.ADDRESS is world.failure(page(b""))
    assert [("9.9.9.9", 443)] == world.network.attempts
    assert 2 == len(world.resolver.asked)


CHUNK = b"x" * 65_536


@pytest.mark.parametrize(
    ("behaviour", "cause"),
    [
        (page(b"", 500), Cause.STATUS),
        (page(b"", 204), Cause.STATUS),
        (page(b"", 401, {"WWW-Authenticate": 'Basic realm="x"'}), Cause.STATUS),
        (
            raw(b"HTTP/1.1 101 x\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
            Cause.PROTOCOL,
        ),
        (page(b"x" * (LIMIT + 1)), Cause.TOO_LARGE),
        (endless(OK + b"Content-Length: 10737418240\r\n\r\n", CHUNK), Cause.TOO_LARGE),
        (
            endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + CHUNK + b"\r\n"),
            Cause.TOO_LARGE,
        ),
        (page(gzip.compress(bytes(10**7)), 200, {"Content-Encoding": "gzip"}), Cause.ENCODED),
        (page(b"x", 200, {"Content-Encoding": "identity, br"}), Cause.ENCODED),
        (raw(OK + b"Content-Length: 1000\r\n\r\nsome"), Cause.PROTOCOL),
        (raw(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab"), Cause.PROTOCOL),
        (raw(OK + b"\r\nends with the connection"), Cause.PROTOCOL),
        (raw(OK + b"Content-Length: 3\r\nContent-Length: 9\r\n\r\nabcdefghi"), Cause.PROTOCOL),
        (raw(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), Cause.PROTOCOL),
        (raw(b"HTTP/1.1 200"), Cause.PROTOCOL),
        (raw(b"220 peer ESMTP\r\n"), Cause.PROTOCOL),
        (raw(b""), Cause.PROTOCOL),
        (raw(bytes(range(256))), Cause.PROTOCOL),
        (endless(OK, b"X: " + b"y" * 1000 + b"\r\n"), Cause.PROTOCOL),
    ],
)
def test_bad_servers_are_told_apart(world: World, behaviour: Behaviour, cause: Cause) -> None:
    """Each has its cause; none waits for the deadline."""
    started = time.monotonic()

    assert cause is world.failure(behaviour)
    assert time.monotonic() - started < 15


@pytest.mark.parametrize(
    "behaviour",
    [
        silence,
        endless(b"", b"H", 0.1),
        endless(OK, b"X", 0.1),
        endless(OK + b"Content-Length: 10000\r\n\r\n", b"x", 0.1),
        endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 0.1),
        endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.1),
    ],
    ids=["silent", "status line", "header", "content", "chunks", "informational"],
)
def test_a_dripping_server_costs_one_deadline(world: World, behaviour: Behaviour) -> None:
    """Each octet in time does not make the whole in time."""
    started = time.monotonic()

    assert Cause.DEADLINE is world.failure(behaviour, deadline=0.6)
    assert 0.5 < time.monotonic() - started < 15


def test_redirects_share_one_deadline(world: World) -> None:
    """Three slow ones are not three times as long."""
    slow = endless(b"HTTP/1.1 302 x\r\nLocation: /it\r\n", b"X: y\r\n", 0.1)

    assert Cause.DEADLINE is world.failure(slow, deadline=0.6)


def test_a_silent_handshake_costs_one_deadline(world: World) -> None:
    """The port is open, and nobody speaks TLS; nor does the connection stay open."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        world.network.routes["9.9.9.9"] = listener.getsockname()[1]
        assert Cause.DEADLINE is world.failure(silence, deadline=0.6)
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(60)
            while accepted.recv(4096):
                pass  # the ClientHello, then the end


def test_whoever_is_not_the_peer_is_not_believed(world: World) -> None:
    """Another name, another authority, no TLS at all."""
    assert Cause.TLS is world.failure(page(b"octets"), url=f"https://{UNNAMED}/it")
    trusted, world.authority = world.authority, Authority()
    assert Cause.TLS is world.failure(page(b"octets"))
    assert [] == world.peer.requests
    world.authority = trusted
    with SocksPeer({}) as plain:
        world.network.routes["9.9.9.9"] = plain.port
        assert Cause.TLS is world.failure(page(b"octets"))


def test_the_machines_authorities_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are checked, and no session secret is written, whatever the environment says."""
    monkeypatch.setenv("SSLKEYLOGFILE", "/nonexistent/secrets")
    context = webpki()

    assert context.check_hostname
    assert ssl.CERT_REQUIRED is context.verify_mode
    assert None is context.keylog_filename


def test_nothing_stays_open(world: World) -> None:
    """After every kind of ending there are as many descriptors as before."""
    world.get()  # what is opened once
    before = len(os.listdir("/proc/self/fd"))
    for behaviour in (silence, raw(b""), redirect("http://x/"), page(bytes(2 * LIMIT))):
        world.failure(behaviour, deadline=0.3)

    until = time.monotonic() + 60  # the server's ends are in this process, too
    while len(os.listdir("/proc/self/fd")) > before and time.monotonic() < until:
        time.sleep(0.05)
    assert before >= len(os.listdir("/proc/self/fd"))


class Trap:
    """Listens on both loopback addresses at one port, and sees who comes."""

    def __init__(self) -> None:
        self._sockets = [socket.create_server(("127.0.0.1", 0))]
        self.port = int(self._sockets[0].getsockname()[1])
        self._sockets.append(socket.create_server(("::1", self.port), family=socket.AF_INET6))

    def caught(self) -> bool:
        """Whether anybody connected: the kernel has accepted by the time connect returns."""
        with selectors.DefaultSelector() as selector:
            for listening in self._sockets:
                selector.register(listening, selectors.EVENT_READ)
            return bool(selector.select(0))

    def close(self) -> None:
        """Stop."""
        for listening in self._sockets:
            listening.close()


@pytest.fixture
def trap() -> Iterator[Trap]:
    """A port of loopback that nobody may come to."""
    trap = Trap()
    yield trap
    trap.close()


def test_the_trap_works(trap: Trap) -> None:
    """Else the next tests would show nothing."""
    with socket.create_connection(("127.0.0.1", trap.port)):
        assert trap.caught()


def test_nothing_reaches_loopback(trap: Trap, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real network: every forbidden form, name, address, and the environment's proxy."""
    for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{trap.port}")
    named = {f"a{i}.org": [a] for i, a in enumerate(FORBIDDEN_ADDRESSES)}
    mixed = {f"b{i}.org": ["9.9.9.9", a] for i, a in enumerate(FORBIDDEN_ADDRESSES)}
    fetcher = HTTPSFetcher(FakeResolver(named | mixed, failing={}), deadline=1.0)
    hosts = ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.1", "0", "[::1]", "localhost"]
    hosts += ["[::ffff:127.0.0.1]", "[::]", "0.0.0.0", "a@127.0.0.1", "localhost.localdomain"]

    async def try_all() -> None:
        for host in [*hosts, *named, *mixed]:
            for scheme in ("https", "http", "ftp", "file"):
                with pytest.raises(FetchRefused):
                    await fetcher.get(
                        f"{scheme}://{host}:{trap.port}/", limit_octets=1, port=trap.port
                    )
        with pytest.raises(FetchFailed):
            await fetcher.get("https://unknown.org/", limit_octets=1)

    asyncio.run(try_all())
    assert not trap.caught()


def test_a_redirect_does_not_reach_loopback(world: World, trap: Trap) -> None:
    """Also not on the port that the caller allows."""
    world.resolver.hosts[OTHER] = ["127.0.0.1"]
    for host in ("127.0.0.1", "[::1]", "localhost", "2130706433", OTHER, "x@127.0.0.1"):
        world.failure(redirect(f"https://{host}:{trap.port}/"))
        world.failure(redirect(f"http://{host}:{trap.port}/"))

    assert not trap.caught()


def test_our_own_addresses_are_known() -> None:
    """Without sending anything: those of this machine's interfaces, and no others."""
    assert is_own_address("127.0.0.1")
    assert is_own_address("::1")
    assert not is_own_address("9.9.9.9")
    routes = Path("/proc/net/fib_trie").read_text()
    for address in set(re.findall(r"-- (\S+)\n\s*/32 host LOCAL", routes)):
        assert is_own_address(address)


def test_a_proxy_gets_names_and_one_circuit_a_domain(world: World) -> None:
    """It resolves; what belongs to one looked-up domain shares a circuit, redirects too."""
    world.peer.pages |= {"/it": redirect(f"https://{OTHER}/b"), "/b": b"octets"}
    onion = f"{'a' * 56}.onion"
    with SocksPeer(
        {PEER: world.peer.port, OTHER: world.peer.port, onion: world.peer.port}
    ) as socks:
        world.network.routes = {"127.0.0.1": socks.port}
        fetcher = HTTPSFetcher(
            world.resolver,
            deadline=20,
            proxy=Proxy("127.0.0.1", 9050),
            trust=world.authority.trust(),
            network=world.network,
        )

        async def look_up() -> None:
            for sake in ("alice.org", "bob.org", "alice.org", ""):
                response = await fetcher.get(URL, limit_octets=9, looked_up=sake)
                assert b"octets" == response.octets
            with pytest.raises(FetchFailed) as caught:
                await fetcher.get(f"https://{onion}/it", limit_octets=9)
            assert Cause.TLS is caught.value.cause  # reached; its certificate has other names

        asyncio.run(look_up())
    hosts = [asked.host for asked in socks.asked]
    circuits = [asked.username for asked in socks.asked]
    assert [PEER, OTHER] * 4 + [onion] == hosts
    assert {443} == {asked.port for asked in socks.asked}
    assert circuits[0:2] == circuits[4:6] == [circuits[0]] * 2
    assert 4 == len(set(circuits))
    assert [] == world.resolver.asked
    assert {("127.0.0.1", 9050)} == set(world.network.attempts)


@pytest.mark.parametrize(("reply", "cause"), [(4, Cause.NO_SUCH_HOST), (5, Cause.CONNECT)])
def test_a_proxy_says_why_it_does_not_connect(world: World, reply: int, cause: Cause) -> None:
    """That the name has no address, or that nobody listens there."""
    with SocksPeer({}, refuse_with=reply) as socks:
        world.network.routes = {"127.0.0.1": socks.port}
        with pytest.raises(FetchFailed) as caught:
            world.get(proxy=Proxy("127.0.0.1", 9050))
    assert cause is caught.value.cause


def test_a_proxy_without_circuits_is_not_used(world: World) -> None:
    """One that takes no username would send all lookups the same way."""
    with SocksPeer({PEER: world.peer.port}) as socks:
        socks.methods = b"\x00"
        world.network.routes = {"127.0.0.1": socks.port}
        with pytest.raises(FetchFailed) as caught:
            world.get(proxy=Proxy("127.0.0.1", 9050))
    assert Cause.PROXY is caught.value.cause
    assert [] == socks.asked
