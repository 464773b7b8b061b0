"""Redis with Sentinels and as a cluster: masters end, and nothing stale is answered for long."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from certificates import gallery, sequoia
from keyservice.cache import connect
from keyservice.client import ClientConfig, KeyServiceClient, Layer, Mailbox, Outcome
from keyservice.public.limits import Limits
from keyservice.record import record_name
from keyservice.tracking import STALENESS_MAX
from keyservice_process import SECRET, KeyServiceProcess, wait_until
from letterlock.assembly import RedisStore
from redis_ha import ClusterSet, RedisServer, SentinelSet, running

ALICE = Mailbox.parse("alice@example.org")
NAME = record_name(SECRET, ALICE)
SLACK = 4.0
"""Seconds that a busy machine may add."""

MILTER_ACL = (
    "%R~letterlock:answer:* &__redis__:invalidate -@all +getrange +ping +hello +client|tracking"
    " (~letterlock:copy:* -@all +get +set +del)"
)
KEYSERVICE_ACL = "~letterlock:* -@all +getrange +set +del +incrby +expire +ping +hello"
CLUSTER_ACL = "+cluster|slots +command"


class World:
    """A key service and a milter's client, with whichever Redis."""

    def __init__(self, directory: Path, url: str, milter_url: str = "") -> None:
        self.url = milter_url or url
        self.service = KeyServiceProcess(
            directory / "keyservice", {"example.org": {"without_certificate": "reject"}}, url
        )
        self.layers: list[Layer] = []
        self.service.start()
        self.client: KeyServiceClient = self._client()

    def _client(self) -> KeyServiceClient:
        layers = self.layers
        return KeyServiceClient(
            ClientConfig(service=self.service.url, redis_url=self.url, secret=SECRET, hold=True),
            observe=lambda layer, _outcome, _seconds: layers.append(layer),
        )

    def look_up(self, mailbox: Mailbox = ALICE) -> tuple[Layer, Outcome]:
        """Return who answered, and what."""
        outcome = self.client.lookup(mailbox).outcome
        return self.layers[-1], outcome

    def wait_for(self, layer: Layer, outcome: Outcome, deadline: float = 90) -> None:
        """Look up until it is so."""
        wait_until(lambda: (layer, outcome) == self.look_up(), f"{layer} {outcome}", deadline)

    def close(self) -> None:
        """Stop it."""
        del self.client
        self.service.stop()


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[SentinelSet]:
    """A master, a replica, three Sentinels; to be broken."""
    servers = SentinelSet(tmp_path / "sentinels")
    with running(servers):
        yield servers


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ClusterSet]:
    """Three masters, three replicas; to be broken."""
    servers = ClusterSet(tmp_path / "cluster")
    with running(servers):
        yield servers


def lookups_during(world: World, event: Callable[[], object], until: Callable[[], bool]) -> float:
    """Look up all the time from `event` on; each is answered. Return the longest one."""
    event()
    longest, deadline = 0.0, time.monotonic() + 120
    while not until():
        assert time.monotonic() < deadline
        began = time.monotonic()
        assert Outcome.FOUND is world.look_up()[1]
        longest = max(longest, time.monotonic() - began)
    return longest


def test_a_master_that_ends_is_replaced_by_sentinels(
    sentinels: SentinelSet, tmp_path: Path
) -> None:
    """Mail goes on meanwhile; afterwards changes are heard as before."""
    world = World(tmp_path, sentinels.url)
    world.service.operator.enrol(ALICE, gallery()["alice"])
    world.wait_for(Layer.MEMORY, Outcome.FOUND)
    old = sentinels.named_master()
    assert old == sentinels.master.port

    longest = lookups_during(world, sentinels.master.kill, lambda: sentinels.named_master() != old)

    assert longest < 2 + SLACK
    world.wait_for(Layer.MEMORY, Outcome.FOUND)
    assert 0 == world.service.operator.withdraw(ALICE).effective_within
    world.wait_for(Layer.MEMORY, Outcome.NOT_FOUND, STALENESS_MAX + SLACK)
    world.close()


def test_a_master_that_is_changed_on_purpose(sentinels: SentinelSet, tmp_path: Path) -> None:
    """The old one lives on as a replica; what it is not told is not believed."""
    world = World(tmp_path, sentinels.url)
    world.service.operator.enrol(ALICE, gallery()["alice"])
    world.wait_for(Layer.MEMORY, Outcome.FOUND)

    with closing(sentinels.sentinels[0].client()) as client:
        client.execute_command("SENTINEL", "FAILOVER", "letterlock")  # type: ignore[no-untyped-call]
    wait_until(lambda: sentinels.named_master() == sentinels.replica.port, "failed over", 120)
    wait_until(lambda: world.service.operator.withdraw(ALICE).effective_within >= 0, "withdrawn")

    bound = time.monotonic() + STALENESS_MAX + SLACK
    wait_until(lambda: world.look_up()[1] is Outcome.NOT_FOUND, "heard")
    assert time.monotonic() < bound
    world.close()


def test_no_sentinel_is_a_miss(tmp_path: Path) -> None:
    """As a Redis that is down; nothing waits for it for long."""
    world = World(tmp_path, "redis+sentinel://127.0.0.1:1,127.0.0.1:2/letterlock")
    world.service.operator.enrol(ALICE, gallery()["alice"])
    began = time.monotonic()
    assert (Layer.SERVICE, Outcome.FOUND) == world.look_up()
    assert time.monotonic() - began < 2 + SLACK
    world.close()


def test_a_cluster_holds_answers_and_tells_of_changes(cluster: ClusterSet, tmp_path: Path) -> None:
    """Whichever master has them."""
    world = World(tmp_path, cluster.url)
    mailboxes = [Mailbox.parse(f"m{number}@example.org") for number in range(12)]
    masters = set()
    for mailbox in mailboxes:
        world.service.operator.enrol(mailbox, sequoia(f"<{mailbox.key}>").certificate)
        masters.add(cluster.master_of(record_name(SECRET, mailbox)).port)
    assert 3 == len(masters)
    for mailbox in mailboxes:
        wait_until(lambda at=mailbox: (Layer.MEMORY, Outcome.FOUND) == world.look_up(at), "held")
    for mailbox in mailboxes:
        assert 0 == world.service.operator.withdraw(mailbox).effective_within
        wait_until(
            lambda at=mailbox: world.look_up(at)[1] is Outcome.NOT_FOUND,
            "heard",
            STALENESS_MAX + SLACK,
        )
    world.close()


def test_a_master_of_a_cluster_that_ends_is_replaced(cluster: ClusterSet, tmp_path: Path) -> None:
    """Mail goes on meanwhile; afterwards answers are held and changes heard again."""
    world = World(tmp_path, cluster.url)
    world.service.operator.enrol(ALICE, gallery()["alice"])
    world.wait_for(Layer.MEMORY, Outcome.FOUND)
    master = cluster.master_of(NAME)
    heir = cluster.replica_of(master)

    longest = lookups_during(world, master.kill, lambda: _is_master(heir))

    assert longest < 3 + SLACK
    world.wait_for(Layer.MEMORY, Outcome.FOUND)
    assert 0 == world.service.operator.withdraw(ALICE).effective_within
    world.wait_for(Layer.MEMORY, Outcome.NOT_FOUND, STALENESS_MAX + SLACK)
    world.close()


def test_a_master_of_a_cluster_that_hangs_ends_what_is_held(
    cluster: ClusterSet, tmp_path: Path
) -> None:
    """Of any of them: what that one would have told is not known."""
    world = World(tmp_path, cluster.url)
    world.service.operator.enrol(ALICE, gallery()["alice"])
    world.wait_for(Layer.MEMORY, Outcome.FOUND)
    master = cluster.master_of(NAME)
    another = next(s for s in cluster.servers if _is_master(s) and s is not master)

    another.signal(signal.SIGSTOP)
    began = time.monotonic()
    wait_until(lambda: world.look_up()[0] is not Layer.MEMORY, "not in memory")

    assert time.monotonic() - began < STALENESS_MAX + SLACK
    assert Outcome.FOUND is world.look_up()[1]
    world.close()


def test_a_slot_that_moves_takes_no_change_with_it(cluster: ClusterSet, tmp_path: Path) -> None:
    """A replica takes over on purpose: its changes are heard within the bound."""
    world = World(tmp_path, cluster.url)
    world.service.operator.enrol(ALICE, gallery()["alice"])
    world.wait_for(Layer.MEMORY, Outcome.FOUND)
    heir = cluster.replica_of(cluster.master_of(NAME))

    with closing(heir.client()) as client:
        client.execute_command("CLUSTER", "FAILOVER")  # type: ignore[no-untyped-call]
    wait_until(lambda: _is_master(heir), "took over", 120)
    world.service.operator.withdraw(ALICE)

    began = time.monotonic()
    wait_until(lambda: world.look_up()[1] is Outcome.NOT_FOUND, "heard")
    assert time.monotonic() - began < STALENESS_MAX + SLACK
    world.wait_for(Layer.MEMORY, Outcome.NOT_FOUND)
    world.close()


def test_markers_and_limits_work_on_a_cluster(cluster: ClusterSet) -> None:
    """Several names at once, of which each is elsewhere."""
    with closing(connect(cluster.url)) as client:
        store = RedisStore(client)
        names = [f"letterlock:copy:{number}" for number in range(8)]
        for name in names:
            store.set(name, b"x", 60)
        assert [b"x"] * 8 == [store.get(name) for name in names]
        store.delete(names)
        assert [None] * 8 == [store.get(name) for name in names]
        one, other = (Limits(1, client, SECRET, lambda: 60.0) for _ in range(2))
        assert [0, 60] == [limits.wait("192.0.2.1") for limits in (one, other)]


@pytest.mark.parametrize("url", ["redis+cluster://127.0.0.1:1,127.0.0.1:2"])
def test_no_cluster_is_a_miss(tmp_path: Path, url: str) -> None:
    """And it is not needed for the start."""
    world = World(tmp_path, url)
    world.service.operator.enrol(ALICE, gallery()["alice"])
    began = time.monotonic()
    assert (Layer.SERVICE, Outcome.FOUND) == world.look_up()
    assert time.monotonic() - began < 2 + SLACK
    world.close()


USERS = [f"user m on >m-word {MILTER_ACL}", f"user k on >k-word {KEYSERVICE_ACL}"]
FORBIDDEN_TO_THE_MILTER = (
    ("SET", NAME, "forged"),
    ("DEL", NAME),
    ("GET", NAME),
    ("GETRANGE", "of somebody else", "0", "1"),
    ("SET", "of somebody else", "x"),
    ("GET", "letterlock:public:1:0:x"),
)
FORBIDDEN_TO_ALL = (
    ("KEYS", "*"),
    ("FLUSHALL",),
    ("CONFIG", "GET", "*"),
    ("ACL", "LIST"),
    ("SCAN", "0"),
)


def _all_of_it(directory: Path, url: str) -> None:
    """Do everything that either daemon does with Redis. `url` has a place for the account."""
    with closing(connect(url.format("m:m-word@"))) as client:
        store = RedisStore(client)
        store.set("letterlock:copy:x", b"x", 60)
        assert b"x" == store.get("letterlock:copy:x")
        store.delete(["letterlock:copy:x"])
        assert store.get("letterlock:copy:x") is None
    with closing(connect(url.format("k:k-word@"))) as client:
        limits = Limits(1, client, SECRET, lambda: 60.0)
        other = Limits(1, client, SECRET, lambda: 60.0)
        assert [0, 60] == [limits.wait("192.0.2.1"), other.wait("192.0.2.1")]
    world = World(directory, url.format("k:k-word@"), url.format("m:m-word@"))
    world.service.operator.enrol(ALICE, gallery()["alice"])
    world.wait_for(Layer.MEMORY, Outcome.FOUND)
    assert Layer.REDIS in world.layers
    assert 0 == world.service.operator.withdraw(ALICE).effective_within
    world.wait_for(Layer.MEMORY, Outcome.NOT_FOUND, STALENESS_MAX + SLACK)
    world.close()


def _require_forbidden(url: str) -> None:
    """Each account may do no more than it needs."""
    for account, commands in (
        ("m:m-word@", FORBIDDEN_TO_THE_MILTER + FORBIDDEN_TO_ALL),
        ("k:k-word@", FORBIDDEN_TO_ALL),
    ):
        with closing(connect(url.format(account))) as client:
            for command in commands:
                with pytest.raises(redis.exceptions.NoPermissionError):
                    client.execute_command(*command)  # type: ignore[no-untyped-call]


def test_the_accounts_that_are_documented_are_enough_and_no_more(tmp_path: Path) -> None:
    """One server; the milter can neither forge nor remove an answer."""
    server = RedisServer(tmp_path / "redis", USERS)
    server.start()
    try:
        _all_of_it(tmp_path, f"redis://{{}}127.0.0.1:{server.port}/0")
        _require_forbidden(f"redis://{{}}127.0.0.1:{server.port}/0")
    finally:
        server.stop()


def test_the_accounts_are_enough_on_a_cluster(tmp_path: Path) -> None:
    """With two commands more, which tell where things are."""
    servers = ClusterSet(tmp_path / "cluster", [f"{user} {CLUSTER_ACL}" for user in USERS])
    with running(servers):
        _all_of_it(tmp_path, servers.url.replace("//", "//{}"))


def test_the_accounts_are_enough_with_sentinels(tmp_path: Path) -> None:
    """Which have accounts of their own."""
    sentinel = ["user s on >s-word -@all +ping +hello +sentinel|masters"]
    servers = SentinelSet(tmp_path / "sentinels", USERS, sentinel)
    with running(servers):
        url = servers.url.replace("//", "//{}")
        _all_of_it(tmp_path, url + "?sentinel_username=s&sentinel_password=s-word")


@pytest.mark.parametrize("acl", [MILTER_ACL, KEYSERVICE_ACL])
def test_the_accounts_are_the_documented_ones(acl: str) -> None:
    """In the manual, and in what Ansible sets."""
    root = Path(__file__).parents[2]
    rules = (root / "ansible/roles/letterlock_redis/vars/main.yml").read_text()
    # What a cluster takes in addition.
    rules = rules.replace("{{ letterlock_redis_for_cluster }}", "")

    assert acl in (root / "docs/operating.md").read_text().replace('"', "")
    assert acl in " ".join(rules.split())
    assert CLUSTER_ACL in (root / "docs/scaling.md").read_text()


def test_redis_by_tls_with_client_certificates(tmp_path: Path) -> None:
    """Both ways proved; without a certificate nothing is told."""
    ca = _authority(tmp_path / "tls")
    lines = [
        "tls-port {port}",
        "port 0",
        f"tls-cert-file {ca}/peer.pem",
        f"tls-key-file {ca}/peer.key",
        f"tls-ca-cert-file {ca}/ca.pem",
        "tls-auth-clients yes",
        "tls-protocols TLSv1.3",
        f"unixsocket {tmp_path}/redis.sock",
    ]
    server = RedisServer(tmp_path / "redis", [*USERS, *lines], socket=tmp_path / "redis.sock")
    server.start()
    try:
        trust = f"ssl_ca_certs={ca}/ca.pem"
        own = f"&ssl_certfile={ca}/peer.pem&ssl_keyfile={ca}/peer.key"
        url = f"rediss://{{}}127.0.0.1:{server.port}/0?{trust}"
        _all_of_it(tmp_path, url + own)
        for refused in (url, f"rediss://{{}}127.0.0.1:{server.port}/0?{own[1:]}"):
            client = connect(refused.format("m:m-word@"))
            with closing(client), pytest.raises((redis.ConnectionError, OSError)):
                client.getrange(NAME, 0, 1)
    finally:
        server.stop()


def _authority(directory: Path) -> Path:
    """Make `ca.pem`, and `peer.pem` with `peer.key` for 127.0.0.1."""
    directory.mkdir()
    (directory / "extensions").write_text("subjectAltName=IP:127.0.0.1")
    for command in (
        "req -x509 -newkey ed25519 -nodes -keyout ca.key -out ca.pem -subj /CN=ca -days 2",
        "req -newkey ed25519 -nodes -keyout peer.key -out peer.csr -subj /CN=peer",
        "x509 -req -in peer.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2"
        " -extfile extensions -out peer.pem",
    ):
        subprocess.run(
            ["openssl", *command.split()], cwd=directory, check=True, capture_output=True
        )
    return directory


def _is_master(server: RedisServer) -> bool:
    with closing(server.client()) as client:
        try:
            return bool(client.info("replication")["role"] == "master")
        except redis.RedisError:
            return False
