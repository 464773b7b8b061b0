"""Postfix' queue moves to an encrypted volume: on a virtual machine, because it takes a kernel.

By emulation it takes twenty minutes. Things happen in this order.
"""

import io
import json
import re
import smtplib
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testbed import Controller, MailHost, Network
from testbed.machine import Machine

DOMAIN = "example.test"
ALICE = f"alice@{DOMAIN}"
STRANGER = "stranger@elsewhere.test"
CANARY = "no word of this may rest readable"

QUEUE = "/var/spool/postfix"
DEVICE = "/var/lib/spool.luks"
MAPPED = "/dev/mapper/letterlock-spool"
KEY = "/etc/spool.key"
PASSPHRASE = "twelve letters or more"

ROOT = Path(__file__).parents[2]
MILTER = ROOT / "milter"
SCRIPTS = ROOT / "ansible" / "roles" / "letterlock_spool" / "files"

# As site.yml calls it.
PLAY = """\
- hosts: letterlock_mx
  gather_facts: false
  any_errors_fatal: true
  tags: [always]
  tasks:
    - ansible.builtin.include_role:
        name: letterlock_spool
        tasks_from: preflight

- hosts: letterlock_mx
  gather_facts: false
  become: true
  roles:
    - role: letterlock_spool
"""

# In the place of the milter: it runs, and its sockets are those of the real units.
SERVICE = """\
[Unit]
Requires=letterlock-inbound.socket
After=letterlock-inbound.socket
[Service]
ExecStart=/bin/sleep infinity
[Install]
WantedBy=multi-user.target
"""

SOCKETS = [
    "letterlock/milter.sock",
    "letterlock/submission.sock",
    "private/dovecot-lmtp",
    "public/showq",
]

pytestmark = pytest.mark.timeout(1800)


@dataclass
class World:
    """All that is there."""

    host: Machine
    mail: MailHost
    controller: Controller
    book: Path
    held: list[str]
    """Messages on hold, as they were before."""

    def play(self, *options: str, **variables: object) -> Any:
        """Run the role."""
        return self.controller.play(str(self.book), *options, **variables)

    def is_delivered(self, subject: str) -> bool:
        """Whether a mail reaches its mailbox, from outside through Postfix and Dovecot."""
        before = self.mail.count("alice")
        send(self.host, subject)
        self.host.wait(lambda: self.mail.count("alice") > before, subject, seconds=120)
        return True


def send(host: Machine, subject: str) -> None:
    """Send a mail to Alice from outside."""
    text = f"From: {STRANGER}\r\nTo: {ALICE}\r\nSubject: {subject}\r\n\r\n{CANARY}\r\n"
    with smtplib.SMTP(host.address, local_hostname="elsewhere.test", timeout=120) as server:
        server.sendmail(STRANGER, [ALICE], text)


def held(host: Machine) -> list[str]:
    """Return what is on hold: time, envelope and message, but not its name, which may change."""
    listed = map(json.loads, host.run("postqueue -j").splitlines())
    return sorted(
        f"{each['arrival_time']} {each['sender']} {each['recipients'][0]['address']}\n"
        + host.run(f"postcat -bh {QUEUE}/hold/{each['queue_id']}")
        for each in listed
        if each["queue_name"] == "hold"
    )


def permissions(host: Machine) -> list[str]:
    """Return who may do what in the queue: of every directory, and of all that is no mail."""
    names = "-not -type s -not -path './pid/*' -not -path './hold/*' -not -path './defer/*'"
    return host.run(f"cd {QUEUE} && find . {names} -printf '%M %u %g %p\\n' | sort").splitlines()


def beneath(host: Machine) -> str:
    """Return what the directory holds on which the volume is mounted."""
    return host.run(
        f"unshare -m sh -c 'mount --bind {Path(QUEUE).parent} /mnt; ls -A /mnt/postfix'"
    )


def source(host: Machine) -> str:
    """Return what the queue is on."""
    return host.run(f"findmnt --noheadings --output SOURCE --target {QUEUE}").strip()


def answering(host: Machine) -> list[str]:
    """Return which of SOCKETS somebody listens at."""
    program = (
        "import socket\n"
        f"for name in {SOCKETS}:\n"
        "    with socket.socket(socket.AF_UNIX) as peer:\n"
        f"        if not peer.connect_ex('{QUEUE}/' + name):\n"
        "            print(name)\n"
    )
    return host.run("python3 -", program).split()


def findings(host: Machine) -> str:
    """Return what `letterlock doctor` finds of the queue, by its own code, run there."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in ("__init__.py", "postfix_findings.py", "doctor"):
            archive.add(MILTER / "letterlock" / name, f"letterlock/{name}")
    host.run(
        "rm -rf /root/doctor; mkdir /root/doctor; tar -xf - -C /root/doctor", packed.getvalue()
    )
    program = (
        "from letterlock.doctor import leftovers as l; from letterlock.doctor.host import Host\n"
        f"print([f.what for f in l.spool(Host(), {QUEUE!r})], "
        f"l.is_spool_encrypted(Host(), {QUEUE!r}))"
    )
    return host.run("cd /root/doctor && python3 -", program).strip()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, clock: Any) -> Iterator[World]:
    """Start a machine on which mail works, with mail in its queue."""
    directory = tmp_path_factory.mktemp("operator")
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        with clock("machine: disk and first start"):
            host = stack.enter_context(Machine(network, "vm1", 11))
        mail = MailHost(host, DOMAIN, ["alice"])
        host.write("/etc/postfix/hold", "/^Subject: held/ HOLD\n")
        for name in ("letterlock-inbound.socket", "letterlock-submission.socket"):
            host.write(f"/etc/systemd/system/{name}", (MILTER / name).read_bytes())
        host.write("/etc/systemd/system/letterlock.service", SERVICE)
        host.run(
            "postconf -e header_checks=regexp:/etc/postfix/hold && systemctl -q enable --now "
            "letterlock-inbound.socket letterlock-submission.socket letterlock.service && "
            f"umask 077 && head -c 64 /dev/urandom >{KEY}"
        )
        for number in range(3):
            send(host, f"held {number}")
        host.wait(lambda: len(held(host)) == 3, "three mails on hold", seconds=120)
        book = directory / "spool.yml"
        book.write_text(PLAY)
        variables = {
            "letterlock_spool_device": DEVICE,
            "letterlock_spool_size": "96M",
            "letterlock_spool_key_file": KEY,
        }
        controller = Controller(directory, {"letterlock_mx": [host]}, variables)
        yield World(host, mail, controller, book, held(host))


def test_the_doctor_finds_a_queue_in_the_clear(world: World) -> None:
    """Before."""
    assert "not encrypted'] False" in findings(world.host)


def test_check_mode_shows_what_would_change(world: World) -> None:
    """And changes nothing."""
    run = world.play("--check", "--diff")

    assert not run.has_failed, run.output
    assert "letterlock_spool : Have it mounted" in run.changes
    assert "/dev/vda" == source(world.host)
    assert "" == world.host.run(f"ls {DEVICE} /etc/crypttab 2>/dev/null", check=False)


def test_a_disk_with_partitions_is_refused(world: World) -> None:
    """Whatever they hold would be lost. Postfix runs on."""
    disk = "/var/lib/partitioned"
    # One, of Linux'; it is in no file system, so only the table tells of it.
    entry = bytes(4) + b"\x83" + bytes(3) + (2048).to_bytes(4, "little") * 2
    world.host.write(disk, bytes(446) + entry + bytes(48) + b"\x55\xaa" + bytes(1 << 20))

    run = world.play(letterlock_spool_device=disk)

    assert run.has_failed
    assert f"dos is on {disk}" in " ".join(run.output.split())
    world.host.run("systemctl is-active postfix@-")


def test_the_queue_moves(world: World, clock: Any) -> None:
    """With all that is in it."""
    before = permissions(world.host)

    with clock("machine: the queue moves"):
        run = world.play()

    assert not run.has_failed, run.output
    assert MAPPED == source(world.host)
    assert before == permissions(world.host)
    assert world.held == held(world.host)
    assert "" == world.host.run("postfix check 2>&1")


def test_what_has_sockets_there_has_them_again(world: World) -> None:
    """Postfix, Dovecot, and the milter's, which were in use."""
    active = world.host.run("systemctl is-active postfix@- dovecot letterlock letterlock-*.socket")

    assert {"active"} == set(active.split())
    assert SOCKETS == answering(world.host)
    assert world.is_delivered("through the new queue")


def test_no_word_rests_in_the_clear(world: World) -> None:
    """Neither in the volume's file nor where the queue was; it can be read where it should be."""
    search = f"sync; grep -c --binary-files=text '{CANARY}'"

    assert "0" == world.host.run(f"{search} {DEVICE}", check=False).strip()
    assert "0" != world.host.run(f"{search} {MAPPED}", check=False).strip()
    assert "" == beneath(world.host)
    assert "600 root" == world.host.run(f"stat -c '%a %U' {DEVICE}").strip()


def test_the_doctor_finds_nothing(world: World) -> None:
    """After."""
    assert "[] True" == findings(world.host)


def test_a_second_run_changes_nothing(world: World, clock: Any) -> None:
    """What is as it should be is left alone."""
    with clock("machine: second run"):
        run = world.play()

    assert not run.has_failed, run.output
    assert [] == run.changes


def test_check_mode_finds_nothing_to_change(world: World) -> None:
    """It can be run at any time."""
    run = world.play("--check")

    assert not run.has_failed, run.output
    assert [] == run.changes


def test_after_a_start_the_volume_is_open(world: World, clock: Any) -> None:
    """By itself, and the queue is what it was."""
    with clock("machine: reboot"):
        world.host.reboot()

    assert MAPPED == source(world.host)
    assert "" == world.host.run("systemctl --failed --no-legend")
    assert SOCKETS == answering(world.host)
    assert world.held == held(world.host)
    assert world.is_delivered("after a start")


def test_without_its_key_no_mail_comes_in(world: World) -> None:
    """The host starts, and can be logged into; Postfix does not come up on the bare directory."""
    world.host.run(f"mv {KEY} {KEY}.away")

    world.host.reboot()

    assert "/dev/vda" == source(world.host)
    assert not world.host.succeeds("systemctl is-active postfix@-")
    with pytest.raises(OSError, match="refused"):
        send(world.host, "never")
    # Nor does anything that is handed in on the host.
    assert not world.host.succeeds("echo never | timeout 20 sendmail root")
    assert not world.host.succeeds("postfix start")
    assert "" == world.host.run(f"ls -A {QUEUE}")


def test_with_its_key_the_queue_comes_back(world: World) -> None:
    """A run of the role opens it, and takes it for what it is: nothing is copied over it."""
    world.host.run(f"mv {KEY}.away {KEY}")

    run = world.play()

    assert not run.has_failed, run.output
    assert MAPPED == source(world.host)
    assert SOCKETS == answering(world.host)
    assert world.held == held(world.host)
    assert world.is_delivered("after all")


def test_a_host_waits_for_its_passphrase(world: World) -> None:
    """As long as it takes; one logs in meanwhile and gives it, and what waits goes on."""
    host = world.host
    host.run(f"cryptsetup luksAddKey --key-file {KEY} {DEVICE} -", PASSPHRASE)
    run = world.play(letterlock_spool_key_file="")
    assert not run.has_failed, run.output

    host.reboot(is_complete=False)
    device = r"dev-mapper-letterlock\\x2dspool.device"
    unlimited = host.run(f"systemctl show -P JobRunningTimeoutUSec {device}").strip()
    waiting = host.run("systemctl list-jobs --no-legend")
    host.wait(lambda: host.succeeds("ls /run/systemd/ask-password/ask.*"), "the question", 120)
    answer = ["ssh", "-tt", *host.ssh_options, f"root@{host.address}"]
    answer.append("systemd-tty-ask-password-agent --query")
    subprocess.run(answer, input=f"{PASSPHRASE}\n".encode(), capture_output=True, check=True)

    assert "infinity" == unlimited
    assert "postfix@-.service" in waiting
    host.wait(lambda: SOCKETS == answering(host), "all that waited", 180)
    assert MAPPED == source(host)
    assert world.held == held(host)


def test_mail_is_never_thrown_away(world: World) -> None:
    """Whenever a move is cut off, by what the role runs on the host, on a queue of its own."""
    host = world.host
    for name in ("copy_queue.sh", "clear_beneath.sh"):
        host.write(f"/srv/{name}", (SCRIPTS / name).read_bytes(), mode="755")
    host.run("mkdir -p /srv/queue/hold && echo first >/srv/queue/hold/A")
    host.run("truncate -s 16M /srv/volume && mkfs.ext4 -q -F /srv/volume")
    volume = host.run("losetup --find --show /srv/volume").strip()
    copy, clear = (
        f"/srv/{name} {volume} /srv/queue" for name in ("copy_queue.sh", "clear_beneath.sh")
    )
    mount = f"mount {volume} /srv/queue"

    # Cut off before the volume is in its place: what comes in is copied the next time.
    host.run(f"{copy}; echo second >/srv/queue/hold/B; {copy}")
    # Cut off there, and the volume is mounted by a start of the host.
    host.run(f"echo third >/srv/queue/hold/C; {mount}")
    assert not host.succeeds(clear)
    host.run(f"umount /srv/queue; {copy} && {mount} && {clear}")
    assert ["A", "B", "C"] == host.run("ls /srv/queue/hold").split()
    # Both have mail: the volume, which is not open, and the directory, where somebody put some.
    host.run("umount /srv/queue; chattr -i /srv/queue; mkdir /srv/queue/hold")
    host.run("echo fourth >/srv/queue/hold/D")
    assert not host.succeeds(copy)
    host.run(mount)
    assert not host.succeeds(clear)
    assert ["A", "B", "C"] == host.run("ls /srv/queue/hold").split()
    host.run(f"umount /srv/queue; losetup -d {volume}")
    assert "fourth" == host.run("cat /srv/queue/hold/D").strip()


def test_the_way_back_is_the_one_in_the_readme(world: World) -> None:
    """`uninstall.yml` leaves the queue encrypted; who wants it otherwise reads how."""
    readme = (ROOT / "ansible" / "README.md").read_text()
    section = readme.partition("## The encrypted queue")[2]
    (commands,) = re.findall(r"(?s)```sh\n(.*?)```", section)

    world.host.run(f"set -e\n{commands}")
    world.host.reboot()

    assert "/dev/vda" == source(world.host)
    assert "" == world.host.run("systemctl --failed --no-legend")
    assert not world.host.succeeds(f"ls {MAPPED}")
    assert SOCKETS == answering(world.host)
    assert world.held == held(world.host)


def test_what_was_on_hold_is_delivered(world: World) -> None:
    """At the end of all that, it is mail still."""
    before = world.mail.count("alice")

    world.host.run("postsuper -H ALL && postqueue -f")

    world.host.wait(lambda: world.mail.count("alice") == before + 3, "three mails", seconds=120)
