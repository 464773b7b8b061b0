"""Two MX hosts with a key service each, on one PostgreSQL and a Redis that Sentinels watch."""

import json
import smtplib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stack.owner import Owner
from testbed import Controller, Host, MailHost, Network, tree
from testbed.authority import Authority
from testbed.load import Load
from testbed.shared_servers import start_postgresql, start_redis

DOMAIN = "example.test"
ALICE = f"alice@{DOMAIN}"
BOB = f"bob@{DOMAIN}"
WORD = "known-to-the-testbed-only"

_ARCHIVE = "letterlock-{{ letterlock_common_version }}.tar"

pytestmark = pytest.mark.timeout(900)


@dataclass
class World:
    """All that is there."""

    network: Network
    hosts: list[Host]
    mail: list[MailHost]
    data: Host
    controller: Controller
    versions: tuple[str, str]

    @property
    def addresses(self) -> list[str]:
        """Of the MX hosts, in the order of their preference."""
        return [host.address for host in self.hosts]

    def stored(self, local_part: str) -> int:
        """Return how many mails that mailbox has got, on both hosts."""
        return sum(mail.count(local_part) for mail in self.mail)


@pytest.fixture(scope="module")
def world(
    releases: tuple[str, str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Boot three hosts: two on which mail works, and one with the database."""
    old, new, archives = releases
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        names = {"mx1": 11, "mx2": 12, "data": 13}
        all_hosts = [Host(network, tree(), name, number) for name, number in names.items()]
        network.publish([f"{host.fqdn}. A {host.address}" for host in all_hosts])
        network.publish([f"{DOMAIN}. MX 10 mx1.test.", f"{DOMAIN}. MX 20 mx2.test."])
        for host in all_hosts:
            stack.enter_context(host)
        *hosts, data = all_hosts
        mail = [MailHost(host, DOMAIN, ["alice", "bob"]) for host in hosts]
        variables = {
            **_shared(hosts, data),
            "letterlock_common_version": old,
            "letterlock_common_archive": f"{archives}/letterlock-"
            "{{ letterlock_common_version }}.tar",
            "letterlock_resolver_forwarders": [network.gateway],
            "letterlock_keyservice_domains": [{"name": DOMAIN}],
        }
        groups = {
            "letterlock_mx": hosts,
            "letterlock_keyservice": hosts,
            "letterlock_redis": hosts,
        }
        controller = Controller(tmp_path_factory.mktemp("operator"), groups, variables)
        yield World(network, hosts, mail, data, controller, (old, new))


def _shared(hosts: list[Host], data: Host) -> dict[str, object]:
    """Start what the hosts share; return what the inventory says of it."""
    authority = Authority()
    database = start_postgresql(data, authority, WORD)
    redis = start_redis(hosts, [*hosts, data], authority, WORD)
    url = f"rediss+sentinel://{{}}:{{}}@{redis}?ssl_ca_certs=/etc/letterlock/ca.pem"
    milter = url.format("letterlock", "{{ letterlock_milter_redis_password }}")
    keyservice = url.format("letterlock-keyservice", "{{ letterlock_keyservice_redis_password }}")
    network = [f"{host.address}/32" for host in (*hosts, data)]
    return {
        "letterlock_common_authorities": {"ca.pem": authority.certificate},
        "letterlock_keyservice_database_password": WORD,
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
        "letterlock_redis_existing_password": WORD,
    }


@pytest.fixture(scope="module")
def alice() -> Iterator[Owner]:
    """Return the owner of alice@example.test."""
    with Owner(ALICE) as owner:
        yield owner


@pytest.fixture(scope="module")
def bob() -> Iterator[Owner]:
    """Return the owner of bob@example.test."""
    with Owner(BOB) as owner:
        yield owner


def _enrol(host: Host, owner: Owner) -> None:
    host.write("/root/owner.asc", owner.certificate)
    host.run(f"letterlock enrol {owner.address} /root/owner.asc")


def test_site_rolls_out_both(world: World, clock: Any) -> None:
    """One after the other, and a second run changes nothing."""
    with clock("two MX: roll out on fresh hosts"):
        first = world.controller.play("site.yml")
    assert not first.has_failed, first.output

    second = world.controller.play("site.yml")
    assert not second.has_failed, second.output
    assert [] == second.changes


def test_doctor_has_nothing_to_correct(world: World) -> None:
    """On either host, Redis' rights and the database included."""
    for host in world.hosts:
        findings = json.loads(host.run("letterlock doctor --json", check=False))

        assert [] == [finding for finding in findings if finding["severity"] != "note"]


def test_what_is_enrolled_on_one_host_counts_on_the_other(world: World, alice: Owner) -> None:
    """At once: the key services share a database."""
    _enrol(world.hosts[0], alice)

    for mail in world.mail:
        mail.send("hello", ALICE)
        stored = mail.wait_for("hello", "alice")
        assert b"the words" not in stored
        assert b"the words" in alice.read(stored)


def test_an_upgrade_of_both_refuses_no_mail(
    world: World, clock: Any, figures: dict[str, str]
) -> None:
    """Hosts take turns."""
    before = world.stored("alice")
    load = Load(world.addresses, ALICE)
    load.start()
    with clock("two MX: upgrade"):
        run = world.controller.play("upgrade.yml", letterlock_common_version=world.versions[1])
    load.finish(at_least=500)

    figures["two MX: mails during the upgrade, refused"] = f"{len(load.refused)} of {load.accepted}"
    assert not run.has_failed, run.output
    assert [] == load.refused
    assert 0 == load.unanswered
    world.hosts[0].wait(
        lambda: world.stored("alice") == before + load.accepted, "all mails", seconds=60
    )


def test_a_host_is_lost_during_mail_flow(world: World, bob: Owner, figures: dict[str, str]) -> None:
    """With it go a key service and the Redis that led; the other host encrypts on."""
    lost, other = world.hosts
    before = world.stored("alice")
    load = Load(world.addresses, ALICE)
    load.start()
    lost.wait(lambda: load.accepted >= 50, "some mails")
    lost.kill()
    load.finish(at_least=300)

    figures["two MX: mails after the loss of a host, refused"] = f"{len(load.refused)}"
    assert [] == load.refused
    assert load.accepted >= 250
    # Certificates can be enrolled as well: the database is elsewhere.
    _enrol(other, bob)
    world.mail[1].send("for Bob", BOB)
    world.mail[1].wait_for("for Bob", "bob")

    lost.start()
    # What was under way when it was lost may have come twice, but nothing is missing.
    lost.wait(lambda: world.stored("alice") >= before + load.accepted, "all mails", seconds=90)


def test_the_host_that_was_lost_comes_back_by_itself(world: World, bob: Owner) -> None:
    """And knows what was enrolled meanwhile."""
    back = world.hosts[0]
    back.wait(
        lambda: back.succeeds("systemctl is-active -q letterlock letterlock-keyservice"),
        "its daemons",
    )

    world.mail[0].send("hello", BOB)

    stored = world.mail[0].wait_for("hello", "bob")
    assert b"the words" in bob.read(stored)


def test_a_withdrawal_counts_everywhere(world: World) -> None:
    """Also on the host to which it was not said."""
    world.hosts[1].run(f"letterlock withdraw {BOB}")

    for mail in world.mail:
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            mail.send("never", BOB)
