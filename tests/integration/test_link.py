"""Key services on hosts of their own: HAProxy stands in their place on the milters' hosts."""

import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

import pytest

from authority import Authority
from keyservice.client import (
    KeyServiceClient,
    Mailbox,
    OperatorClient,
    Outcome,
    PeerClient,
    PeerOutcome,
    Report,
    SenderClient,
    ServiceRefused,
    Submitted,
    Use,
)
from keyservice_process import KeyServiceProcess
from link import Door, Link
from ports import free_port
from stack import Owner, wait_until

ALICE = Mailbox.parse("alice@example.org")
ODD = Mailbox.parse("a/b%2Fc?d#e@example.org")
STRANGER = Mailbox.parse("joe@elsewhere.example")
NAMES = ("ks1.example.org", "ks2.example.org")


class World:
    """Two key services, each behind a door, and a milter's host."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.authority = Authority()
        self.services = [stack.enter_context(KeyServiceProcess(directory / name)) for name in NAMES]
        self.doors = [
            stack.enter_context(
                Door(directory / f"door-{name}", self.authority, name, service.socket, free_port())
            )
            for name, service in zip(NAMES, self.services, strict=True)
        ]
        doors = dict(zip(NAMES, self.doors, strict=True))
        self.link = Link(directory / "link", self.authority, "mx.example.org", doors)
        stack.enter_context(self.link)
        self.wait_for_both()

    def milter(self, **changes: object) -> KeyServiceClient:
        """Return what a milter asks with, which has no other source."""
        return self.services[0].client(service=self.link.url, redis_url="", secret=b"", **changes)

    def wait_for_both(self) -> None:
        """Return when the link takes both doors for well."""
        before = [self.asked(at) for at in range(2)]

        def are_asked() -> bool:
            self.milter().lookup(ALICE)
            return all(self.asked(at) > before[at] for at in range(2))

        wait_until(are_asked, "both doors in use", log=self.link.log)

    def asked(self, at: int) -> float:
        """Return how many lookups that service has answered."""
        return self.services[at].metric("keyservice_lookup_seconds_count")


@pytest.fixture(scope="module")
def alice() -> Iterator[Owner]:
    with Owner(ALICE.key) as owner:
        yield owner


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, alice: Owner) -> Iterator[World]:
    with ExitStack() as stack:
        world = World(tmp_path_factory.mktemp("link"), stack)
        for service in world.services:
            service.operator.enrol(ALICE, alice.certificate)
        yield world


def test_a_milter_finds_what_is_enrolled(world: World, alice: Owner) -> None:
    """As if the key service were on its own host."""
    answer = world.milter().lookup(ALICE)

    assert (Outcome.FOUND, alice.fingerprint) == (answer.outcome, answer.fingerprint)
    assert world.services[0].client().lookup(ALICE).subkeys == answer.subkeys
    assert Outcome.OUTSIDE is world.milter().lookup(STRANGER).outcome


def test_a_local_part_arrives_as_it_is(world: World) -> None:
    """Slashes, percent signs and the like are neither decoded nor cut off."""
    for service in world.services:
        service.operator.set_policy(ODD, {"copy_to_self": True})

    policy = OperatorClient(world.link.url).policy(ODD)

    assert (ODD.key, True) == (policy.mailbox, policy.sender_policy.copy_to_self)


def test_all_that_a_milter_asks_and_tells_passes(world: World, alice: Owner) -> None:
    """About mail that goes out and that came in."""
    peers, senders = PeerClient(world.link.url), SenderClient(world.link.url)
    use = Use(fingerprint=alice.fingerprint, encrypted_to=True)
    now = int(time.time())
    written = Submitted(from_fields=1, from_addresses=(ALICE.key,), received_at=now)
    came = Report(from_fields=1, from_addresses=(STRANGER.key,), received_at=now)

    asked = (peers.lookup(STRANGER), peers.discover(STRANGER))
    assert [PeerOutcome.NOT_FOUND] * 2 == [answer.outcome for answer in asked]
    # Its own words: it has no certificate of his.
    assert "key service: status 422" == peers.used(STRANGER, use).reason
    assert peers.report(came) is not None
    found = senders.sender(ALICE)
    assert found is not None
    assert alice.fingerprint == found.fingerprint
    assert senders.autocrypt(ALICE, written) is not None


def test_a_milters_host_changes_nothing(world: World, alice: Owner) -> None:
    """Who breaks into it may ask, and no more: the command says where it is done."""
    operator = OperatorClient(world.link.url)
    changes = (
        lambda: operator.enrol(ALICE, alice.certificate),
        lambda: operator.withdraw(ALICE),
        lambda: operator.set_policy(ALICE, {"copy_to_self": True}),
        lambda: operator.unset_policy(ALICE, "copy_to_self"),
        operator.client_certificates.create_authority,
    )
    for change in changes:
        with pytest.raises(ServiceRefused, match="only on a host with a key service") as refused:
            change()
        assert "forbidden" == refused.value.error

    assert [ALICE.key] == [line.mailbox for line in operator.mailboxes()]
    assert Outcome.FOUND is world.milter().lookup(ALICE).outcome


@pytest.mark.parametrize("shown", ["nothing", "another authority's", "an old TLS"])
def test_a_door_opens_for_hosts_of_the_link_only(world: World, shown: str, tmp_path: Path) -> None:
    """Whoever else reaches the port gets no answer."""
    context = world.authority.trust()
    if shown != "nothing":
        issuer = Authority() if shown == "another authority's" else world.authority
        (tmp_path / "link.pem").write_text("".join(issuer.identity(["mx.example.org"])))
        context.load_cert_chain(tmp_path / "link.pem")
    if shown == "an old TLS":
        context.maximum_version = ssl.TLSVersion.TLSv1_2

    with pytest.raises((ssl.SSLError, ConnectionError)):
        _ask(context, world.doors[0].address)


def test_who_shows_a_certificate_of_the_link_gets_in(world: World, tmp_path: Path) -> None:
    """What is refused above is not refused to everybody."""
    context = world.authority.trust()
    (tmp_path / "link.pem").write_text("".join(world.authority.identity(["mx.example.org"])))
    context.load_cert_chain(tmp_path / "link.pem")

    assert _ask(context, world.doors[0].address).startswith(b"HTTP/1.1 200 ")


def _ask(context: ssl.SSLContext, address: tuple[str, int]) -> bytes:
    with (
        socket.create_connection(address, timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=NAMES[0]) as peer,
    ):
        peer.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = peer.recv(4096)
        if not received:
            raise ConnectionResetError
        return received


def test_no_lookup_is_lost_with_a_host(world: World) -> None:
    """Its HAProxy and its key service are killed while milters ask; afterwards it is used again."""
    milter = world.milter()
    outcomes = [milter.lookup(ALICE).outcome for _ in range(50)]
    world.services[0].kill()
    world.doors[0].kill()
    outcomes += [milter.lookup(ALICE).outcome for _ in range(150)]
    world.services[0].start()
    world.doors[0].start()
    outcomes += [milter.lookup(ALICE).outcome for _ in range(50)]

    assert [Outcome.FOUND] * 250 == outcomes
    world.wait_for_both()


def test_the_loss_of_a_host_is_seen(world: World) -> None:
    """By Prometheus: the rule LetterlockKeyServiceHostLost asks for that."""

    def is_down(name: str) -> bool:
        with urlopen(world.link.metrics_url, timeout=20) as reply:
            page = reply.read().decode()
        return f'{{proxy="answers",server="{name}",state="DOWN"}} 1\n' in page

    assert [False] * 2 == [is_down(name) for name in NAMES]
    world.doors[1].kill()
    wait_until(lambda: is_down(NAMES[1]), "the rule's series", log=world.link.log)

    assert not is_down(NAMES[0])
    world.doors[1].start()
    world.wait_for_both()
    wait_until(lambda: not is_down(NAMES[1]), "the end of it", log=world.link.log)


def test_a_service_that_hangs_is_asked_no_more(world: World) -> None:
    """A lookup that it keeps waiting is repeated with the other one, within the milter's time."""
    milter = world.milter()
    world.services[1].pause()
    try:
        outcomes = [milter.lookup(ALICE).outcome for _ in range(100)]
    finally:
        world.services[1].resume()

    assert [Outcome.FOUND] * 100 == outcomes
    world.wait_for_both()


def connections(door: Door) -> float:
    """Return how often somebody came to this door, whom it let in or not."""
    with urlopen(door.metrics_url, timeout=20) as reply:
        page = reply.read().decode()
    found = re.search(r'(?m)^haproxy_frontend_connections_total\{proxy="milters"\} (\S+)$', page)
    assert found
    return float(found[1])


def test_an_impostor_is_not_asked(world: World) -> None:
    """Whose certificate is of another name, or of an authority of his own."""
    door = world.doors[0]
    for authority, name in ((world.authority, "mx.example.org"), (Authority(), NAMES[0])):
        before = world.asked(0)
        door.kill()
        door.identify(authority, name)
        door.start()
        wait_until(lambda: connections(door) >= 3, "three looks at it", log=world.link.log)
        outcomes = [world.milter().lookup(ALICE).outcome for _ in range(20)]

        assert [Outcome.FOUND] * 20 == outcomes
        assert before == world.asked(0)
    door.kill()
    door.identify(world.authority, NAMES[0])
    door.start()
    world.wait_for_both()


def test_the_log_names_no_mailbox(world: World) -> None:
    """Only hosts that came and went."""
    logs = [end.log.read_text() for end in (world.link, *world.doors)]

    assert not any("example.org/v1" in log or "alice" in log for log in logs)
    assert "answers/ks1.example.org is DOWN" in logs[0]


def test_without_a_host_mail_waits(world: World) -> None:
    """Nobody can be asked: that is no answer."""
    for door in world.doors:
        door.kill()

    assert Outcome.UNAVAILABLE is world.milter(deadline=5.0, stale_for=0.0).lookup(ALICE).outcome
