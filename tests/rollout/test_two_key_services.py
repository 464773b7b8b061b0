"""Two MX hosts, and two key-service hosts that they reach by mutual TLS, on one PostgreSQL."""

import smtplib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stack.owner import Owner
from testbed.load import Load
from testbed.prometheus import metric
from testbed.several import ALICE, BOB, Several, enrol, several

DOWN = 'count(ALERTS{alertname=~"Letterlock.*(Down|Lost|Unreachable)"})'

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def world(
    releases: tuple[str, str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Several]:
    """Boot five hosts: two of each kind, and one with the database."""
    with several(releases, tmp_path_factory.mktemp("operator"), apart=True) as world:
        yield world


def test_submissions_need_a_key_service_beside_them(world: Several) -> None:
    """Said before anything changes, by the variable's name."""
    run = world.controller.play(
        "site.yml", letterlock_submission=True, letterlock_postfix_sender_logins="static:x"
    )

    assert run.has_failed
    assert [] == run.changes
    assert "letterlock_submission: a host on which users hand in mail" in run.output


def test_check_mode_works_on_fresh_hosts(world: Several) -> None:
    """It says what would be done, and does nothing."""
    run = world.controller.play("site.yml", "--check")

    assert not run.has_failed, run.output
    for host in world.hosts:
        assert not host.succeeds("test -e /etc/letterlock -o -e /usr/sbin/haproxy"), host.name


def test_site_rolls_out_all(world: Several, clock: Any) -> None:
    """And a second run changes nothing."""
    with clock("two MX, two key services: roll out on fresh hosts"):
        first = world.controller.play("site.yml")
    assert not first.has_failed, first.output

    second = world.controller.play("site.yml")
    assert not second.has_failed, second.output
    assert [] == second.changes


def test_a_host_that_is_to_get_a_key_service_must_lose_its_link(world: Several) -> None:
    """Both would listen on one socket: said before anything changes, with what to take off."""
    run = world.controller.regrouped(letterlock_keyservice=world.hosts).play("site.yml")

    assert run.has_failed
    assert [] == run.changes
    assert "letterlock_keyservice: mx1.test has a link to other key services" in run.words


def test_doctor_has_nothing_to_correct(world: Several) -> None:
    """On any host, with a milter or with a key service."""
    assert {} == world.findings()


def test_the_links_are_locked_up(world: Several, figures: dict[str, str]) -> None:
    """As the daemons are; and nobody finds out the key without being root."""
    for host, unit in ((world.mx[0], "letterlock-link"), (world.keyservices[0], "letterlock-door")):
        said = host.run(f"systemd-analyze security --no-pager {unit}.service | tail -1")
        score = float(said.split("Overall exposure level for")[1].split()[1])
        figures[f"security score of {unit}"] = str(score)

        assert score <= 1.5
        assert "root 600" == host.run("stat -c '%U %a' /etc/letterlock/link.pem").strip()


def test_prometheus_finds_all_well(world: Several) -> None:
    """On an MX host and on a key-service host; neither misses what only the other one has."""
    for host, jobs in (
        (world.mx[0], ("milter", "link")),
        (world.keyservices[0], ("keyservice", "door")),
    ):
        for job in jobs:
            up = f'up{{job="letterlock-{job}"}}'
            host.wait(lambda host=host, up=up: metric(host, up) == 1, up)
        # Those that have not lasted long enough to ring are pending.
        host.wait(lambda host=host: metric(host, DOWN) == 0, "no alert", seconds=90)
    unwell = 'sum(haproxy_server_status{proxy="answers",state="DOWN"})'
    assert 0 == metric(world.mx[0], unwell)


def test_what_is_enrolled_counts_on_both(world: Several, alice: Owner) -> None:
    """At once."""
    enrol(world.keyservices[0], alice)

    for mail in world.mail:
        mail.send("hello", ALICE)
        stored = mail.wait_for("hello", "alice")
        assert b"the words" not in stored
        assert b"the words" in alice.read(stored)


def test_an_mx_host_reads_and_changes_nothing(world: Several) -> None:
    """`letterlock list` works there, and `letterlock withdraw` says where it is done."""
    host = world.mx[0]

    assert ALICE in host.run("letterlock list")
    said = host.run(f"letterlock withdraw {ALICE} 2>&1", check=False)
    assert "only on a host with a key service" in said
    assert ALICE in host.run("letterlock list")


def test_a_key_service_host_is_lost_during_mail_flow(
    world: Several, bob: Owner, figures: dict[str, str]
) -> None:
    """With the Redis that led; all mail is encrypted on, and nothing is refused."""
    lost, other = world.keyservices
    before = world.stored("alice")
    load = Load(world.addresses, ALICE)
    load.start()
    lost.wait(lambda: load.accepted >= 50, "some mails")
    lost.kill()
    load.finish(at_least=300)

    figures["mails after the loss of a key-service host, refused"] = (
        f"{len(load.refused)} of {load.accepted}"
    )
    assert [] == load.refused
    assert 0 == load.unanswered
    world.wait_for("alice", before + load.accepted)
    rings = 'ALERTS{alertname="LetterlockKeyServiceHostLost",server="ks1.test"}'
    world.mx[0].wait(lambda: metric(world.mx[0], f"count({rings})") == 1, "the alert", seconds=90)
    enrol(other, bob)
    for mail in world.mail:
        mail.send("for Bob", BOB)
        assert b"the words" in bob.read(mail.wait_for("for Bob", "bob"))


def test_the_host_that_was_lost_comes_back_by_itself(world: Several) -> None:
    """And then the other one can go."""
    back, other = world.keyservices
    back.start()
    units = "letterlock-keyservice letterlock-door"
    back.wait(lambda: back.succeeds(f"systemctl is-active -q {units}"), "its daemons")
    other.run(f"systemctl stop {units} letterlock-keyservice.socket")

    for host in world.mx:
        host.wait(lambda host=host: host.succeeds("letterlock list"), "an answer")
    other.run(f"systemctl start letterlock-keyservice.socket {units}")


def test_an_upgrade_of_all_refuses_no_mail(
    world: Several, clock: Any, figures: dict[str, str]
) -> None:
    """Hosts take turns."""
    with clock("two MX, two key services: upgrade"):
        run, load = world.upgrade()

    figures["two MX, two key services: mails during the upgrade, refused"] = (
        f"{len(load.refused)} of {load.accepted}"
    )
    assert not run.has_failed, run.output
    assert [] == load.refused
    assert 0 == load.unanswered


def test_a_withdrawal_counts_everywhere(world: Several) -> None:
    """Though both MX hosts hold the answer of before."""
    world.keyservices[1].run(f"letterlock withdraw {BOB}")

    for mail in world.mail:
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            mail.send("never", BOB)


def test_uninstall_takes_the_links_along(world: Several) -> None:
    """Nothing of them runs or stays."""
    run = world.controller.play("uninstall.yml")

    assert not run.has_failed, run.output
    for host in world.hosts:
        assert "" == host.run("ls /etc/letterlock | grep link || true").strip()
        assert "" == host.run("systemctl list-units --no-legend 'letterlock*'").strip()
