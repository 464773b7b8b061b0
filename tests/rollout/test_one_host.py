"""One host from Debian to encrypted mail and back, as an operator does it: in this order."""

import json
import re
import smtplib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dkim_verifiers import dkimpy
from smtp_sink import SMTPSink
from stack.owner import Owner
from testbed import PASSWORD, Controller, Host, MailHost, Network, tree
from testbed.load import Load
from testbed.mail_host import STRANGER
from testbed.prometheus import metric

DOMAIN = "example.test"
ALICE = f"alice@{DOMAIN}"
BOB = f"bob@{DOMAIN}"

LAPTOP = "laptop.home.test"
"""What a user's computer calls itself; nothing that leaves may say it."""

pytestmark = pytest.mark.timeout(600)


@dataclass
class World:
    """All that is there."""

    network: Network
    host: Host
    mail: MailHost
    controller: Controller
    alice: Owner
    elsewhere: SMTPSink
    """Where mail to `elsewhere.test` ends."""

    versions: tuple[str, str]
    postfix_before: dict[str, bytes]

    def send(self, subject: str, to: str = ALICE) -> None:
        """Send a mail from outside."""
        self.mail.send(subject, to)

    def stored(self, subject: str) -> bytes:
        """Return that mail as it is in Alice's mailbox, as soon as it is there."""
        return self.mail.wait_for(subject, "alice")


@pytest.fixture(scope="module")
def world(
    releases: tuple[str, str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Boot a host on which mail works, and Letterlock is not."""
    *versions, archives = releases
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        host = stack.enter_context(Host(network, tree(), "mx1", 11))
        elsewhere = stack.enter_context(SMTPSink(network.gateway, 25))
        network.publish(
            [
                f"{DOMAIN}. MX 10 mx1.test.",
                f"mx1.test. A {host.address}",
                "elsewhere.test. MX 10 mx.elsewhere.test.",
                f"mx.elsewhere.test. A {network.gateway}",
            ]
        )
        mail = MailHost(host, DOMAIN, ["alice", "bob"])
        roles = ("redis", "keyservice", "mx", "monitoring")
        archive = f"{archives}/letterlock-{{{{ letterlock_common_version }}}}.tar"
        controller = Controller(
            tmp_path_factory.mktemp("operator"),
            {f"letterlock_{role}": [host] for role in roles},
            {
                "letterlock_common_version": versions[0],
                "letterlock_common_archive": archive,
                "letterlock_resolver_forwarders": [network.gateway],
                "letterlock_keyservice_domains": [{"name": DOMAIN}],
                "letterlock_keyservice_settings": {"discovery": {"methods": ["wkd"]}},
                "letterlock_submission": True,
                "letterlock_postfix_sender_logins": "regexp:/etc/postfix/own_addresses",
                "letterlock_monitoring_interval": "2s",
            },
        )
        alice = stack.enter_context(Owner(ALICE))
        old, new = versions
        yield World(network, host, mail, controller, alice, elsewhere, (old, new), _postfix(host))


def _postfix(host: Host) -> dict[str, bytes]:
    """Return Postfix' own files, and what Postfix takes them for."""
    names = host.run("cd /etc/postfix && find . -type f | sort").split()
    files = {name: (host.root / "etc/postfix" / name).read_bytes() for name in names}
    words = host.run("postconf -n; postconf -M; postconf -P")
    return {**files, "postconf": words.encode()}


def test_check_mode_shows_a_first_roll_out_and_changes_nothing(world: World) -> None:
    """An operator may look first, on a host where nothing is."""
    run = world.controller.play("site.yml", "--check", "--diff")

    assert not run.has_failed, run.output
    assert run.changed > 0
    assert world.postfix_before == _postfix(world.host)
    assert "" == world.host.run("ls -d /opt/letterlock /etc/letterlock 2>/dev/null", check=False)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("letterlock_keyservice_domains", [{"name": "Example.Test"}], "not the name of a domain"),
        ("letterlock_keyservice_domains", [{"name": DOMAIN, "header_policy": "x"}], "hcp_shy"),
        ("letterlock_milter_settings", {"workers": "many"}, "workers"),
        ("letterlock_milter_settings", {"wrokers": 2}, "wrokers"),
        ("letterlock_milter_settings", {"postfix": {"reentry": "0.0.0.0:25"}}, "reentry"),
        ("letterlock_postfix_sender_logins", "", "smtpd_sender_login_maps"),
        ("letterlock_redis_memory", "much", "no amount"),
        ("letterlock_common_archive", "/nowhere.tar", "ansible/wheelhouse"),
        ("letterlock_monitoring_interval", "often", "15s"),
        # Hosts of the testbed are containers, and these cannot encrypt.
        ("letterlock_spool_device", "/var/lib/spool", "no dm-crypt"),
    ],
)
def test_a_wrong_value_ends_it_before_anything_changes(
    world: World, variable: str, value: object, said: str
) -> None:
    """The variable is named."""
    passphrase = {"letterlock_spool_passphrase": "twelve letters", "letterlock_spool_size": "1G"}
    run = world.controller.play("site.yml", **{**passphrase, variable: value})

    assert run.has_failed
    assert 0 == run.changed, run.changes
    assert variable in run.output
    assert said in run.output


def test_site_rolls_out(world: World, clock: Any) -> None:
    """One command on a fresh host."""
    with clock("roll out on a fresh host"):
        run = world.controller.play("site.yml")

    assert not run.has_failed, run.output
    assert "running" == world.host.run("systemctl is-system-running", check=False).strip()


def test_a_second_run_changes_nothing(world: World, clock: Any, figures: dict[str, str]) -> None:
    """What is as it should be is left alone."""
    with clock("second run"):
        run = world.controller.play("site.yml")

    figures["second run, tasks that changed something"] = str(run.changed)
    assert not run.has_failed, run.output
    assert [] == run.changes


def test_check_mode_finds_nothing_to_change(world: World) -> None:
    """It can be run at any time to see whether somebody has meddled."""
    run = world.controller.play("site.yml", "--check", "--diff")

    assert not run.has_failed, run.output
    assert [] == run.changes


def test_an_enrolled_mailbox_gets_encrypted_mail(world: World) -> None:
    """From outside by SMTP; in Dovecot nobody but the owner can read it."""
    world.host.write("/root/alice.asc", world.alice.certificate)
    world.host.run(f"letterlock enrol {ALICE} /root/alice.asc")

    world.send("first")

    stored = world.stored("first")
    assert b"Content-Type: multipart/encrypted" in stored
    assert b"the words" not in stored
    plaintext = world.alice.read(stored)
    assert b"Subject: first" in plaintext
    assert b"the words" in plaintext


def test_who_has_no_certificate_gets_nothing_in_the_clear(world: World) -> None:
    """Deferred, as the domain's policy says."""
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        world.send("never", to=BOB)

    assert 450 <= refused.value.recipients[BOB][0] < 460
    assert 0 == world.mail.count("bob")


def test_a_user_hands_in_mail_that_leaves_signed(world: World) -> None:
    """Following docs/install.md, "Submission": with a client certificate, on port 465."""
    generated = world.host.run(f"letterlock dkim-key generate {DOMAIN}")
    records = _records(generated)
    world.network.publish([f"{name}. TXT {text}" for name, text in records.items()])
    # The host's own resolver remembers for a while that there was nothing.
    world.host.run("systemctl restart unbound")
    world.host.run(f"letterlock dkim-key activate {DOMAIN}")
    issued = world.host.run(f"letterlock client-certificate issue {ALICE} --out -")

    client = world.network.directory / "alice.pem"
    client.write_text(issued)
    tls = world.mail.tls
    tls.load_cert_chain(client)
    text = f"From: {ALICE}\r\nTo: {STRANGER}\r\nSubject: out\r\n\r\nhello\r\n"
    with smtplib.SMTP_SSL(world.host.address, 465, LAPTOP, timeout=60, context=tls) as server:
        server.sendmail(ALICE, [STRANGER], text)

    (taken,) = world.elsewhere.wait_for(1)
    plain = {name: re.sub(r'" *"', "", text).strip('"') for name, text in records.items()}
    assert {"pass"} == set(dkimpy(taken.octets, plain).values())
    assert LAPTOP.encode() not in taken.octets


def _records(zone: str) -> dict[str, str]:
    """Return the TXT records of lines for a zone file, as they are written there."""
    found = re.findall(r"(?s)(\S+)\. IN TXT \(\s*(.*?)\s*\)", zone)
    return {name: re.sub(r"\s*\n\s*", " ", text) for name, text in found}


def test_who_is_not_alice_cannot_write_in_her_name(world: World) -> None:
    """Bob, with his own password."""
    text = f"From: {ALICE}\r\nTo: {STRANGER}\r\nSubject: forged\r\n\r\nhello\r\n"
    with smtplib.SMTP(world.host.address, 587, LAPTOP, timeout=60) as server:
        server.starttls(context=world.mail.tls)
        server.login(BOB, PASSWORD)
        with pytest.raises(smtplib.SMTPResponseException) as refused:
            server.sendmail(BOB, [STRANGER], text)

    assert 550 == refused.value.smtp_code
    assert 1 == len(world.elsewhere.messages)


def test_doctor_has_nothing_to_correct(world: World) -> None:
    """The host as a whole, by the operator's own command."""
    findings = json.loads(world.host.run("letterlock doctor --json", check=False))

    assert [] == [finding for finding in findings if finding["severity"] != "note"]


def test_prometheus_scrapes_both_daemons(world: World) -> None:
    """Debian's, with our rules loaded."""
    for job in ("letterlock-milter", "letterlock-keyservice"):
        up = f'up{{job="{job}"}}'
        world.host.wait(lambda up=up: metric(world.host, up) == 1, up)
    wrapped = 'sum(letterlock_messages_total{reason="wrapped"})'
    world.host.wait(lambda: metric(world.host, wrapped) >= 1, wrapped)
    assert "letterlock" in world.host.run("ls /etc/prometheus/letterlock")


def test_the_host_is_looked_at_by_itself(world: World) -> None:
    """By timers; what they find reaches Prometheus, and no alert rings."""
    looked = "letterlock_doctor_last_run_timestamp_seconds"
    world.host.wait(lambda: metric(world.host, looked) > 0, looked, seconds=120)
    world.host.run("systemctl start letterlock-sweep.service")

    assert 0 == metric(world.host, 'sum(letterlock_doctor_findings{severity!="note"})')
    assert 0 == metric(world.host, 'count(ALERTS{alertstate="firing"})')
    assert "" == world.host.run("systemctl list-units --failed --no-legend")


def test_what_is_there_can_be_read_up(world: World) -> None:
    """The manual is of the release that runs."""
    page = world.host.run("cat /usr/local/share/man/man1/letterlock-doctor.1")

    assert f"Letterlock {world.versions[0]}" in page


def test_submission_can_be_taken_away_and_given_back(world: World) -> None:
    """While the milter runs and mail comes in: its socket goes and comes."""
    for wanted in (False, True):
        load = Load([world.host.address], ALICE)
        load.start()
        run = world.controller.play("site.yml", letterlock_submission=wanted)
        load.finish()

        assert not run.has_failed, run.output
        assert [] == load.refused
        assert 0 == load.unanswered
        active = world.host.succeeds("systemctl is-active letterlock-submission.socket")
        assert wanted is active
    with smtplib.SMTP_SSL(
        world.host.address, 465, LAPTOP, timeout=60, context=world.mail.tls
    ) as server:
        assert 250 == server.ehlo()[0]


def test_an_upgrade_refuses_no_mail(world: World, clock: Any, figures: dict[str, str]) -> None:
    """Mail comes in all the while; every one is accepted at once, and arrives."""
    before = world.mail.count("alice")
    load = Load([world.host.address], ALICE)
    load.start()
    with clock("upgrade"):
        run = world.controller.play("upgrade.yml", letterlock_common_version=world.versions[1])
    load.finish(at_least=500)

    figures["mails during the upgrade, accepted"] = str(load.accepted)
    figures["mails during the upgrade, refused"] = str(len(load.refused))
    figures["mails during the upgrade, the slowest"] = f"{load.slowest:.2f} s"
    assert not run.has_failed, run.output
    assert [] == load.refused
    assert 0 == load.unanswered
    _require_running(world, world.versions[1])
    world.host.wait(
        lambda: world.mail.count("alice") == before + load.accepted, "all mails", seconds=60
    )


def _require_running(world: World, version: str) -> None:
    """Both daemons are of that release, and so is the command."""
    assert version in world.host.run("letterlock --version")
    for unit in ("letterlock", "letterlock-keyservice"):
        line = world.host.run(f"tr '\\0' ' ' </proc/$(systemctl show -P MainPID {unit})/cmdline")
        assert f"/opt/letterlock/releases/{version}/" in line


def test_an_upgrade_that_was_cut_off_can_be_taken_up(world: World) -> None:
    """Whatever was written and not yet read is read in the next run."""
    new = world.versions[1]
    world.host.run(f"rm /opt/letterlock/releases/{new}/.complete")
    world.host.run("touch /etc/letterlock/letterlock.toml")

    run = world.controller.play("upgrade.yml", letterlock_common_version=new)

    assert not run.has_failed, run.output
    assert any("Have it begin anew" in change for change in run.changes)
    assert world.host.succeeds("systemctl is-active letterlock letterlock-keyservice")


def test_a_roll_back_refuses_no_mail(world: World, clock: Any, figures: dict[str, str]) -> None:
    """Back to the release before, while mail comes in."""
    load = Load([world.host.address], ALICE)
    load.start()
    with clock("roll-back"):
        run = world.controller.play("rollback.yml")
    load.finish()

    figures["mails during the roll-back, refused"] = f"{len(load.refused)} of {load.accepted}"
    assert not run.has_failed, run.output
    assert [] == load.refused
    assert 0 == load.unanswered
    _require_running(world, world.versions[0])


def test_after_a_reboot_mail_is_encrypted(world: World) -> None:
    """Nothing has to be started by hand."""
    world.host.reboot()

    world.send("after the reboot")
    assert b"the words" in world.alice.read(world.stored("after the reboot"))
    assert "" == world.host.run("systemctl list-units --failed --no-legend")


def test_uninstalled_postfix_is_what_it_was(world: World, clock: Any) -> None:
    """Every file of its, octet for octet; mail is delivered as before Letterlock came."""
    with clock("uninstall"):
        run = world.controller.play("uninstall.yml")

    assert not run.has_failed, run.output
    assert world.postfix_before == _postfix(world.host)
    gone = "/opt/letterlock /usr/local/bin/letterlock* /etc/systemd/system/letterlock*"
    assert "" == world.host.run(f"ls -d {gone} 2>/dev/null", check=False)
    world.send("plain")
    assert b"Subject: plain" in world.stored("plain")
    # What cannot be had again is kept.
    assert world.host.succeeds("test -s /var/lib/letterlock-keyservice/keyservice.sqlite")


def test_uninstalling_twice_changes_nothing(world: World) -> None:
    """Also where there never was anything."""
    run = world.controller.play("uninstall.yml")

    assert not run.has_failed, run.output
    assert [] == run.changes
