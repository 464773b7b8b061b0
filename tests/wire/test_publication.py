"""The whole daemon: enrolled on the internal socket, fetched by the world on the public one."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from certificates import sequoia
from keyservice.armor import dearmor
from keyservice.mailbox import Mailbox
from keyservice.packets import components, fingerprint, split
from keyservice.wkd_name import hashed_local_part
from keyservice_process import KeyServiceProcess, RedisProcess
from ports import free_port

SHOWN, NOT_SHOWN = "alice@example.org", "alice@hidden.example"
DIRECTORY = "/.well-known/openpgpkey"
PATHS = {
    "advanced": f"{DIRECTORY}/example.org/hu/{hashed_local_part('alice')}",
    "direct": f"{DIRECTORY}/hu/{hashed_local_part('alice')}",
    "hkp": f"/pks/lookup?op=get&search={SHOWN}",
    "vks": f"/vks/v1/by-email/{SHOWN}",
    "nicknym": f"/?address={SHOWN}",
}
PER_MINUTE = 40


class Daemon:
    """One, with both sides of it as a stranger sees them."""

    def __init__(self, directory: Path, redis_url: str) -> None:
        self.public_socket = directory / "public.sock"
        self.port = free_port()
        self.service = KeyServiceProcess(
            directory,
            {"example.org": {"published": True}, "hidden.example": {}},
            redis_url,
            sections={
                "public": {
                    "socket": str(self.public_socket),
                    "tcp": f"127.0.0.1:{self.port}",
                    "requests_per_minute": PER_MINUTE,
                    "client_address_header": "X-Real-IP",
                }
            },
        )

    def public(self, network: int) -> httpx.Client:
        """Return a client behind the operator's reverse proxy, in a network of its own."""
        headers = {"Host": "example.org", "X-Real-IP": f"198.51.{network}.7"}
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers)

    def internal(self) -> httpx.Client:
        """Return a client that may do everything."""
        transport = httpx.HTTPTransport(uds=str(self.service.socket))
        return httpx.Client(transport=transport, base_url="http://example.org")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One with two domains, of which one is published, and a mailbox in each."""
    with RedisProcess(tmp_path_factory.mktemp("r")) as redis:
        daemon = Daemon(tmp_path_factory.mktemp("k"), redis.url)
        with daemon.service as service:
            for address in (SHOWN, NOT_SHOWN):
                service.operator.enrol(Mailbox.parse(address), sequoia(address).certificate)
            yield daemon


@pytest.mark.parametrize("protocol", PATHS)
def test_what_is_enrolled_inside_is_fetched_outside(daemon: Daemon, protocol: str) -> None:
    """By each protocol, the certificate that the milter encrypts to."""
    enrolled = daemon.service.client().lookup(Mailbox.parse(SHOWN)).fingerprint
    with daemon.public(1) as http:
        reply = http.get(PATHS[protocol])

    assert 200 == reply.status_code
    octets = reply.json()["openpgp"].encode() if protocol == "nicknym" else reply.content
    binary = octets if protocol in ("advanced", "direct") else dearmor(octets)
    assert enrolled == fingerprint(components(split(binary))[0].packet)


def test_a_domain_is_not_published_unless_the_operator_says_so(daemon: Daemon) -> None:
    """Its mailboxes are answered for like mailboxes that do not exist."""
    hashed = hashed_local_part("alice")
    with daemon.public(2) as http:
        hidden = http.get(f"/vks/v1/by-email/{NOT_SHOWN}")
        unknown = http.get("/vks/v1/by-email/nobody@example.org")
        statuses = [
            http.get(path).status_code
            for path in (
                f"{DIRECTORY}/hidden.example/hu/{hashed}",
                f"{DIRECTORY}/hidden.example/policy",
                f"/pks/lookup?op=get&search={NOT_SHOWN}",
                f"/?address={NOT_SHOWN}",
            )
        ]

    assert (404, unknown.content) == (hidden.status_code, hidden.content)
    assert [404] * 4 == statuses


def test_nothing_of_the_internal_interface_is_reachable_outside(daemon: Daemon) -> None:
    """No path of its document, by any method, on either public socket; and nothing happened."""
    with daemon.internal() as http:
        document = http.get("/schema/openapi.json").json()
        before = http.get(f"/v1/mailboxes/{SHOWN}/explanation").json()
    values = {"mailbox": SHOWN, "name": "header_policy", "fingerprint": 32 * "00"}
    paths = [path.format(**values) for path in document["paths"]]
    asked = [(method, path) for path in paths for method in ("GET", "PUT", "PATCH", "DELETE")]
    asked += [("GET", path) for path in ("/schema", "/schema/openapi.json", "/metrics")]
    transport = httpx.HTTPTransport(uds=str(daemon.public_socket))
    with httpx.Client(transport=transport, base_url="http://example.org") as http:
        statuses = {
            http.request(method, path, headers={"X-Real-IP": f"203.0.{number}.7"}).status_code
            for number, (method, path) in enumerate(asked)
        }
    with daemon.internal() as http:
        after = http.get(f"/v1/mailboxes/{SHOWN}/explanation").json()

    assert {404} == statuses
    for explanation in (before, after):
        del explanation["sender"]["issued_at"]
    assert before == after


def test_nothing_public_is_served_inside(daemon: Daemon) -> None:
    """Two applications, not one that is asked for two names."""
    with daemon.internal() as http:
        statuses = {http.get(path).status_code for path in PATHS.values()}

    assert {404} == statuses


def test_who_asks_too_often_waits_and_the_milter_does_not(daemon: Daemon) -> None:
    """The limit is per network, counted, and only of the public side."""
    with daemon.public(3) as http, daemon.public(4) as neighbour:
        statuses = [http.get(PATHS["vks"]).status_code for _ in range(2 * PER_MINUTE + 1)]
        other = neighbour.get(PATHS["vks"]).status_code
    limited = 'keyservice_published_total{protocol="vks",result="limited"}'

    assert 429 in statuses  # even if a minute ended meanwhile
    assert 200 == other
    assert statuses.count(429) == daemon.service.metric(limited)
    with daemon.internal() as http:
        assert {200} == {http.get(f"/v1/mailboxes/{SHOWN}").status_code for _ in range(50)}


def test_the_public_socket_is_for_its_group_only(daemon: Daemon) -> None:
    """The file permission is what keeps everybody but the proxy from naming a client."""
    assert 0o660 == stat.S_IMODE(daemon.public_socket.stat().st_mode)


def test_it_is_closed_with_the_daemon(tmp_path: Path) -> None:
    """No socket file stays behind, and the next start finds its place."""
    daemon = Daemon(tmp_path, "")
    for _ in range(2):
        with daemon.service, daemon.public(5) as http:
            assert 404 == http.get(PATHS["vks"]).status_code
        assert not daemon.public_socket.exists()


def test_without_a_place_to_listen_there_is_no_listener(tmp_path: Path) -> None:
    """A domain marked as published is then simply not asked for."""
    with KeyServiceProcess(tmp_path, {"example.org": {"published": True}}) as service:
        assert 0.0 == service.metric('keyservice_published_total{protocol="vks",result="found"}')
        log = [json.loads(line) for line in service.log.read_text().splitlines()]

    assert [] == [line for line in log if line.get("level") == "error"]
