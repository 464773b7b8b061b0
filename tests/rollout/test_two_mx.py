"""Two MX hosts with a key service each, on one PostgreSQL and a Redis that Sentinels watch."""

import smtplib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stack.owner import Owner
from testbed.load import Load
from testbed.several import ALICE, BOB, Several, enrol, several

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def world(
    releases: tuple[str, str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Several]:
    """Boot three hosts: two on which mail works, and one with the database."""
    with several(releases, tmp_path_factory.mktemp("operator"), apart=False) as world:
        yield world


def test_site_rolls_out_both(world: Several, clock: Any) -> None:
    """One after the other, and a second run changes nothing."""
    with clock("two MX: roll out on fresh hosts"):
        first = world.controller.play("site.yml")
    assert not first.has_failed, first.output

    second = world.controller.play("site.yml")
    assert not second.has_failed, second.output
    assert [] == second.changes


def test_a_host_that_is_to_lose_its_key_service_must_be_rid_of_it(world: Several) -> None:
    """A link would listen on its socket: said before anything changes, with what to take off."""
    run = world.controller.regrouped(letterlock_keyservice=world.mx[:1]).play("site.yml")

    assert run.has_failed
    assert [] == run.changes
    assert "letterlock_keyservice: mx2.test has a key service and is not in the group" in run.words


def test_doctor_has_nothing_to_correct(world: Several) -> None:
    """On either host, Redis' rights and the database included."""
    assert {} == world.findings()


def test_what_is_enrolled_on_one_host_counts_on_the_other(world: Several, alice: Owner) -> None:
    """At once: the key services share a database."""
    enrol(world.mx[0], alice)

    for mail in world.mail:
        mail.send("hello", ALICE)
        stored = mail.wait_for("hello", "alice")
        assert b"the words" not in stored
        assert b"the words" in alice.read(stored)


def test_an_upgrade_of_both_refuses_no_mail(
    world: Several, clock: Any, figures: dict[str, str]
) -> None:
    """Hosts take turns."""
    with clock("two MX: upgrade"):
        run, load = world.upgrade()

    figures["two MX: mails during the upgrade, refused"] = f"{len(load.refused)} of {load.accepted}"
    assert not run.has_failed, run.output
    assert [] == load.refused
    assert 0 == load.unanswered


def test_a_host_is_lost_during_mail_flow(
    world: Several, bob: Owner, figures: dict[str, str]
) -> None:
    """With it go a key service and the Redis that led; the other host encrypts on."""
    lost, other = world.mx
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
    enrol(other, bob)
    world.mail[1].send("for Bob", BOB)
    world.mail[1].wait_for("for Bob", "bob")

    lost.start()
    # What was under way when it was lost may have come twice, but nothing is missing.
    lost.wait(lambda: world.stored("alice") >= before + load.accepted, "all mails", seconds=90)


def test_the_host_that_was_lost_comes_back_by_itself(world: Several, bob: Owner) -> None:
    """And knows what was enrolled meanwhile."""
    back = world.mx[0]
    back.wait(
        lambda: back.succeeds("systemctl is-active -q letterlock letterlock-keyservice"),
        "its daemons",
    )

    world.mail[0].send("hello", BOB)

    stored = world.mail[0].wait_for("hello", "bob")
    assert b"the words" in bob.read(stored)


def test_a_withdrawal_counts_everywhere(world: Several) -> None:
    """Also on the host to which it was not said."""
    world.mx[1].run(f"letterlock withdraw {BOB}")

    for mail in world.mail:
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            mail.send("never", BOB)
