"""A real Unbound on loopback that resolves and validates zones of ours, and knows no others.

The zones are in files and signed by BIND's dnssec-signzone. Unbound takes them in place of
their name servers' answers and validates them as such.
"""

import shutil
import subprocess
import time
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Self

import dns.exception
import dns.message
import dns.query

from ports import free_port

_START_DEADLINE = 60.0

_HEAD = """\
$TTL 300
@ SOA ns.{zone}. postmaster.{zone}. 1 3600 600 86400 300
@ NS ns.{zone}.
ns A 127.0.0.1
"""

_CONFIG = """\
server:
  interface: 127.0.0.1
  port: {port}
  username: ""
  chroot: ""
  directory: "{directory}"
  pidfile: ""
  use-syslog: no
  logfile: "{directory}/unbound.log"
  log-time-ascii: yes
  val-log-level: 2
  num-threads: 1
  so-reuseport: no
  max-udp-size: 1232
  module-config: "validator iterator"
  do-not-query-localhost: yes
  access-control: 127.0.0.0/8 allow
remote-control:
  control-enable: no
# Nobody else's names: the root is ours, too, and empty.
auth-zone:
  name: "."
  zonefile: "{directory}/root.zone"
  for-downstream: no
  for-upstream: yes
"""

_AUTH_ZONE = """\
auth-zone:
  name: "{zone}"
  zonefile: "{path}"
  for-downstream: no
  for-upstream: yes
"""


class Signing(Enum):
    """How a zone is signed."""

    RIGHT = "right"
    WRONG = "wrong"
    """By another key than its parent names: like dnssec-failed.org, all of it is bogus."""

    NOT = "not"


class Unbound:
    """Resolves `zones`: records in master file form, with relative names, by zone."""

    def __init__(
        self,
        directory: Path,
        zones: Mapping[str, tuple[Signing, str]],
        tampered: Mapping[str, tuple[str, str]] | None = None,
        *,
        validating: bool = True,
        port: int = 0,
    ) -> None:
        """In the signed file of a zone in `tampered`, the first text is replaced by the second.

        `port`: from `free_port`, where somebody must know it before the zones are known.
        """
        self.port = port or free_port()
        self._directory = directory
        self._tampered = tampered or {}
        config = _CONFIG.format(port=self.port, directory=directory)
        if not validating:
            config = config.replace("validator iterator", "iterator")
        _write_root(directory / "root.zone")
        for zone, (signing, records) in zones.items():
            path, anchor = self._sign(zone, signing, records)
            config += _AUTH_ZONE.format(zone=zone, path=path)
            if anchor and validating:
                config += f'server:\n  trust-anchor: "{anchor}"\n'
        (directory / "unbound.conf").write_text(config)

    def __enter__(self) -> Self:
        program = shutil.which("unbound", path="/usr/sbin:/usr/bin:/sbin")
        assert program, "unbound is not installed"
        self._process = subprocess.Popen(
            [program, "-d", "-c", str(self._directory / "unbound.conf")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._await_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(60)

    def log(self) -> str:
        """Return what it has logged."""
        return (self._directory / "unbound.log").read_text()

    def _await_ready(self) -> None:
        until = time.monotonic() + _START_DEADLINE
        while time.monotonic() < until:
            assert self._process.poll() is None, self.log()
            try:
                dns.query.udp(dns.message.make_query(".", "SOA"), "127.0.0.1", 0.5, port=self.port)
            except (dns.exception.Timeout, OSError):
                continue
            return
        raise AssertionError(self.log())

    def _sign(self, zone: str, signing: Signing, records: str) -> tuple[Path, str]:
        folder = self._directory / zone
        folder.mkdir()
        path = folder / "zone"
        path.write_text(_HEAD.format(zone=zone) + records)
        if signing is Signing.NOT:
            return path, ""
        anchor = _generated(zone, folder)
        signed = folder / "zone.signed"
        _run(folder, "dnssec-signzone", "-S", "-o", zone, "-f", str(signed), str(path))
        if zone in self._tampered:
            honest, forged = self._tampered[zone]
            text = signed.read_text()
            assert honest in text
            signed.write_text(text.replace(honest, forged))
        if signing is Signing.WRONG:
            other = folder / "other"
            other.mkdir()
            anchor = _generated(zone, other)
        return signed, anchor


def _generated(zone: str, folder: Path) -> str:
    """Make the keys of a zone in `folder`; return the record that its parent would vouch for."""
    algorithm = ["-q", "-a", "ECDSAP256SHA256"]
    _run(folder, "dnssec-keygen", *algorithm, zone)
    name = _run(folder, "dnssec-keygen", *algorithm, "-f", "KSK", zone).strip()
    (record,) = (
        line
        for line in (folder / f"{name}.key").read_text().splitlines()
        if line and not line.startswith(";")
    )
    return record


def _write_root(path: Path) -> None:
    path.write_text(
        ". 300 SOA ns.invalid. postmaster.invalid. 1 3600 600 86400 300\n. 300 NS ns.invalid.\n"
    )


def _run(folder: Path, *command: str) -> str:
    return subprocess.run(
        command, cwd=folder, check=True, capture_output=True, text=True, timeout=30
    ).stdout
