"""A provider with several hosts: two MX, their key services, and a third host with the database."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stack.owner import Owner
from testbed.authority import Authority
from testbed.controller import Controller, Run
from testbed.host import Host
from testbed.load import Load
from testbed.mail_host import MailHost, know_names
from testbed.network import Network
from testbed.shared_servers import start_postgresql, start_redis
from testbed.tree import tree

DOMAIN = "example.test"
ALICE = f"alice@{DOMAIN}"
BOB = f"bob@{DOMAIN}"
_WORD = "known-to-the-testbed-only"

_MX = {"mx1": 11, "mx2": 12}
_KEYSERVICES = {"ks1": 14, "ks2": 15}


@dataclass
class Several:
    """All that is there."""

    mx: list[Host]
    keyservices: list[Host]
    """Hosts of the group: those with an MX, or others."""

    mail: list[MailHost]
    """What is on the MX hosts."""

    controller: Controller
    versions: tuple[str, str]

    @property
    def hosts(self) -> list[Host]:
        """All on which something of Letterlock is."""
        return list({host.name: host for host in (*self.mx, *self.keyservices)}.values())

    @property
    def addresses(self) -> list[str]:
        """Of the MX hosts, in the order of their preference."""
        return [host.address for host in self.mx]

    def findings(self) -> dict[str, list[dict[str, Any]]]:
        """Return what `letterlock doctor` wants to have corrected, of hosts where there is any."""
        found: dict[str, list[dict[str, Any]]] = {}
        for host in self.hosts:
            for one in json.loads(host.run("letterlock doctor --json", check=False)):
                if one["severity"] != "note":
                    found.setdefault(host.name, []).append(one)
        return found

    def upgrade(self) -> tuple[Run, Load]:
        """Upgrade all hosts while mail for Alice comes in; return when all of it is stored."""
        before = self.stored("alice")
        load = Load(self.addresses, ALICE)
        load.start()
        run = self.controller.play("upgrade.yml", letterlock_common_version=self.versions[1])
        load.finish(at_least=500)
        self.wait_for("alice", before + load.accepted)
        return run, load

    def wait_for(self, local_part: str, count: int) -> None:
        """Return when that mailbox has got so many mails, or fail."""
        self.mx[0].wait(lambda: self.stored(local_part) == count, "all mails", seconds=60)

    def stored(self, local_part: str) -> int:
        """Return how many mails that mailbox has got, on both hosts."""
        return sum(mail.count(local_part) for mail in self.mail)


@contextmanager
def several(releases: tuple[str, str, Path], directory: Path, *, apart: bool) -> Iterator[Several]:
    """Boot them, and start what is no part of Letterlock.

    `apart`: the key services are on hosts of their own. `directory`: the operator's.
    """
    old, new, archives = releases
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        names = _MX | (_KEYSERVICES if apart else {}) | {"data": 13}
        hosts = {name: Host(network, tree(), name, number) for name, number in names.items()}
        network.publish([f"{host.fqdn}. A {host.address}" for host in hosts.values()])
        network.publish([f"{DOMAIN}. MX 10 mx1.test.", f"{DOMAIN}. MX 20 mx2.test."])
        for host in hosts.values():
            stack.enter_context(host)
        mx = [hosts[name] for name in _MX]
        keyservices = [hosts[name] for name in _KEYSERVICES] if apart else mx
        for host in keyservices:
            know_names(host)
        mail = [MailHost(host, DOMAIN, ["alice", "bob"]) for host in mx]
        variables = {
            **_shared(keyservices, [*hosts.values()], hosts["data"]),
            "letterlock_common_version": old,
            "letterlock_common_archive": f"{archives}/letterlock-"
            "{{ letterlock_common_version }}.tar",
            "letterlock_resolver_forwarders": [network.gateway],
            "letterlock_keyservice_domains": [{"name": DOMAIN}],
            "letterlock_monitoring_interval": "2s",
        }
        groups = {
            "letterlock_mx": mx,
            "letterlock_keyservice": keyservices,
            "letterlock_redis": keyservices,
            # One of each kind.
            "letterlock_monitoring": [mx[0], keyservices[0]] if apart else [],
        }
        yield Several(mx, keyservices, mail, Controller(directory, groups, variables), (old, new))


def enrol(host: Host, owner: Owner) -> None:
    """Do it on that host."""
    host.write("/root/owner.asc", owner.certificate)
    host.run(f"letterlock enrol {owner.address} /root/owner.asc")


def _shared(redis_hosts: list[Host], everybody: list[Host], data: Host) -> dict[str, object]:
    """Start what the hosts share; return what the inventory says of it."""
    authority = Authority()
    database = start_postgresql(data, authority, _WORD)
    redis = start_redis(redis_hosts, [*redis_hosts, data], authority, _WORD)
    url = f"rediss+sentinel://{{}}:{{}}@{redis}?ssl_ca_certs=/etc/letterlock/ca.pem"
    milter = url.format("letterlock", "{{ letterlock_milter_redis_password }}")
    keyservice = url.format("letterlock-keyservice", "{{ letterlock_keyservice_redis_password }}")
    network = [f"{host.address}/32" for host in everybody]
    return {
        "letterlock_common_authorities": {"ca.pem": authority.certificate},
        "letterlock_keyservice_database_password": _WORD,
        "letterlock_keyservice_settings": {"database": database, "discovery": {"methods": ["wkd"]}},
        "letterlock_keyservice_redis_url": keyservice,
        "letterlock_keyservice_reaches": network,
        "letterlock_milter_redis_url": milter,
        "letterlock_milter_reaches": network,
        "letterlock_milter_settings": {"authserv_id": "mx.example.test"},
        "letterlock_redis_instance": "existing",
        "letterlock_redis_existing_options": [
            "--tls",
            "--cacert",
            "/etc/redis/ca.pem",
            "-h",
            "{{ inventory_hostname }}",
        ],
        "letterlock_redis_existing_password": _WORD,
    }
