"""A bridge of this machine with the hosts of one test run on it, and the names they know."""

import ipaddress
import secrets
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from stack.processes import Session, spawn, wait_until

_NETWORKS = ipaddress.ip_network("10.77.0.0/16").subnets(new_prefix=24)

_RESOLVER = """\
server:
  interface: {address}
  access-control: {network} allow
  username: ""
  chroot: ""
  directory: "{directory}"
  pidfile: ""
  use-syslog: no
  logfile: "{directory}/unbound.log"
  num-threads: 1
  so-reuseport: no
  module-config: "iterator"
  # Nothing is asked of anybody: what is not here does not exist.
  local-zone: "." static
{records}
remote-control:
  control-enable: no
"""


class Network:
    """`10.77.N.0/24` behind a bridge, with a resolver at its first address.

    Nothing is routed, so hosts reach each other and this machine, which is the Internet to them.
    """

    def __init__(self) -> None:
        """Nothing exists before `__enter__`."""
        # Names of interfaces are 15 letters at most, and those of hosts are in theirs.
        self.name = secrets.token_hex(2)
        self.bridge = f"ll{self.name}"
        self.directory = Path()
        self.records: list[str] = []
        self._running = ExitStack()
        self._resolver: Session | None = None

    def __enter__(self) -> Self:
        """Make the bridge, on the first network that nobody uses."""
        with ExitStack() as stack:
            directory = tempfile.TemporaryDirectory(prefix="ll-net-", ignore_cleanup_errors=True)
            self.directory = Path(stack.enter_context(directory))
            _ip("link", "add", self.bridge, "type", "bridge")
            stack.callback(_ip, "link", "delete", self.bridge)
            self._network = self._claim()
            _ip("link", "set", self.bridge, "up")
            stack.callback(self._stop_resolver)
            self._restart_resolver()
            self._running = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove all of it."""
        self._running.close()

    @property
    def ledger(self) -> Path:
        """Where processes are written down as they start."""
        return self.directory / "ledger"

    @property
    def gateway(self) -> str:
        """This machine's address, and the resolver's."""
        return self.address(1)

    def address(self, number: int) -> str:
        """Return the address of the host with that number."""
        return str(self._network[number])

    def publish(self, records: Sequence[str]) -> None:
        """Add records to what all hosts know, as in a zone file: `example.test. MX 10 mx.test.`."""
        self.records.extend(records)
        self._restart_resolver()

    def _claim(self) -> ipaddress.IPv4Network:
        # The kernel takes one address on two bridges; so who was first is asked for.
        for network in _NETWORKS:
            if _ip("-o", "address", "show", "to", str(network)):
                continue
            _ip("address", "add", f"{network[1]}/24", "dev", self.bridge)
            return network
        raise RuntimeError("no network below 10.77.0.0/16 is free")

    def _restart_resolver(self) -> None:
        self._stop_resolver()
        config = self.directory / "unbound.conf"
        config.write_text(
            _RESOLVER.format(
                address=self.gateway,
                network=self._network,
                directory=self.directory,
                records="\n".join(f"  local-data: '{record}'" for record in self.records),
            )
        )
        log = self.directory / "unbound.log"
        log.touch()
        # Started by its path: it is not in every PATH.
        command = ["/usr/sbin/unbound", "-d", "-c", str(config)]
        before = log.stat().st_size
        self._resolver = spawn("unbound", command, log, self.ledger, {})
        wait_until(lambda: b"start of service" in log.read_bytes()[before:], "unbound", log=log)

    def _stop_resolver(self) -> None:
        if self._resolver is not None:
            self._resolver.stop()
            self._resolver = None


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
