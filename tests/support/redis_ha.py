"""Redis with a replica and Sentinels, and as a cluster: loopback, nothing kept."""

import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import redis

from keyservice_process import wait_until
from ports import free_port

SERVICE = "letterlock"


class RedisServer:
    """One `redis-server` on a port of loopback; with `sentinel`, one that watches."""

    def __init__(
        self,
        directory: Path,
        lines: Sequence[str],
        *,
        sentinel: bool = False,
        socket: Path | None = None,
    ) -> None:
        self.port = free_port()
        self._socket = socket
        directory.mkdir(parents=True)
        self._config = directory / "redis.conf"
        self._log = directory / "log"
        common = [f"port {self.port}", "bind 127.0.0.1", f"dir {directory}"]
        quiet = [] if sentinel else ['save ""', "appendonly no", "repl-diskless-sync-delay 0"]
        text = "\n".join([*common, *quiet, *lines]) + "\n"
        self._config.write_text(text.replace("{port}", str(self.port)))
        self._words = ["--sentinel"] if sentinel else []
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    def client(self) -> redis.Redis:
        """Return a connection for looking and for meddling; close it."""
        if self._socket is not None:
            return redis.Redis(unix_socket_path=str(self._socket), socket_timeout=5)
        return redis.Redis(port=self.port, socket_timeout=5)

    def start(self) -> None:
        """Return when it answers."""
        program = shutil.which("redis-server")
        assert program is not None, "redis-server is not installed"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [program, str(self._config), *self._words], stdout=log, stderr=log
            )
        wait_until(self._answers, "Redis up")

    def kill(self) -> None:
        """End it as a power cut would."""
        self.signal(signal.SIGKILL)
        self.wait()

    def signal(self, how: signal.Signals) -> None:
        """Stop it, let it hang, let it go on."""
        if self.process is not None:
            self.process.send_signal(how)

    def wait(self) -> None:
        """Return when it has ended."""
        if self.process is not None:
            self.process.wait(60)
            self.process = None

    def stop(self) -> None:
        """End it, whatever it does."""
        self.signal(signal.SIGCONT)
        self.kill()

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self._log.read_text()
        with closing(self.client()) as client:
            try:
                return bool(client.ping())
            except redis.AuthenticationError:
                return True
            except redis.RedisError:
                return False


class SentinelSet:
    """A master, a replica and three Sentinels; `lines` go to the first, `asked` to the others."""

    def __init__(
        self, directory: Path, lines: Sequence[str] = (), asked: Sequence[str] = ()
    ) -> None:
        self.master = RedisServer(directory / "one", lines)
        self.replica = RedisServer(
            directory / "other", [*lines, f"replicaof 127.0.0.1 {self.master.port}"]
        )
        self.sentinels = [
            RedisServer(
                directory / f"sentinel{number}",
                [
                    f"sentinel monitor {SERVICE} 127.0.0.1 {self.master.port} 2",
                    f"sentinel down-after-milliseconds {SERVICE} 3000",
                    f"sentinel failover-timeout {SERVICE} 5000",
                    *asked,
                ],
                sentinel=True,
            )
            for number in range(3)
        ]

    @property
    def url(self) -> str:
        """For `redis.url`."""
        return f"redis+sentinel://{','.join(s.address for s in self.sentinels)}/{SERVICE}"

    @property
    def servers(self) -> list[RedisServer]:
        """All of them."""
        return [self.master, self.replica, *self.sentinels]

    def start(self) -> None:
        """Return when all know each other."""
        for server in self.servers:
            server.start()
        wait_until(self._is_ready, "Sentinels agree", 120)

    def named_master(self) -> int:
        """Return the port of the master that the first Sentinel names."""
        with closing(self.sentinels[0].client()) as client:
            return int(client.sentinel_get_master_addr_by_name(SERVICE)[1])  # type: ignore[no-untyped-call]

    def _is_ready(self) -> bool:
        with closing(self.replica.client()) as replica:
            if replica.info("replication").get("master_link_status") != "up":
                return False
        for sentinel in self.sentinels:
            with closing(sentinel.client()) as client:
                state = client.sentinel_master(SERVICE)  # type: ignore[no-untyped-call]
                if state["num-slaves"] < 1 or state["num-other-sentinels"] < 2:
                    return False
        return True


class ClusterSet:
    """Three masters with a replica each."""

    def __init__(self, directory: Path, further: Sequence[str] = ()) -> None:
        lines = ["cluster-enabled yes", "cluster-node-timeout 3000", *further]
        # By default the port of the bus is higher by 10,000, which may be none.
        self.servers = [
            RedisServer(directory / f"node{n}", [*lines, f"cluster-port {free_port()}"])
            for n in range(6)
        ]

    @property
    def url(self) -> str:
        """For `redis.url`: two nodes lead to the others."""
        return f"redis+cluster://{','.join(s.address for s in self.servers[:2])}"

    def start(self) -> None:
        """Return when every slot is served and every replica is one."""
        for server in self.servers:
            server.start()
        addresses = [server.address for server in self.servers]
        command = ["redis-cli", "--cluster", "create", *addresses, "--cluster-replicas", "1"]
        subprocess.run([*command, "--cluster-yes"], check=True, stdout=subprocess.DEVNULL)
        wait_until(lambda: all(map(self._is_settled, self.servers)), "cluster settled", 120)

    def master_of(self, name: str) -> RedisServer:
        """Return the server that has a record."""
        for server in self.running():
            with closing(server.client()) as client:
                try:
                    client.exists(name)
                except redis.exceptions.MovedError:
                    continue
                except redis.RedisError:
                    continue
                if client.info("replication")["role"] == "master":
                    return server
        raise AssertionError("nobody has it")

    def replica_of(self, master: RedisServer) -> RedisServer:
        """Return the one that stands in for a master."""
        for server in self.running():
            with closing(server.client()) as client:
                about = client.info("replication")
                if about["role"] == "slave" and int(about["master_port"]) == master.port:
                    return server
        raise AssertionError("no replica")

    def running(self) -> Iterator[RedisServer]:
        """Yield those that have not been ended."""
        return (server for server in self.servers if server.process is not None)

    @staticmethod
    def _is_settled(server: RedisServer) -> bool:
        with closing(server.client()) as client:
            about = client.info("replication")
            is_linked = about["role"] == "master" or about["master_link_status"] == "up"
            state: dict[str, str] = client.cluster("info")  # type: ignore[no-untyped-call]
            rows = client.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
            is_told = all(len(row) == 4 for row in rows)
            return bool(is_linked and is_told and state["cluster_state"] == "ok")


@contextmanager
def running(servers: SentinelSet | ClusterSet) -> Iterator[None]:
    """Run them for as long as the block lasts."""
    try:
        servers.start()
        yield
    finally:
        for server in servers.servers:
            server.stop()
