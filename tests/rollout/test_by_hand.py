"""One host by hand: what docs/install.md has between its fences is typed, and nothing else.

What its sentences say in words (which option, in which file) is done in `World`, under the name of
the heading. The reader's own names take the place of `example.org` and the like.
"""

import json
import re
import shutil
import smtplib
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dkim_verifiers import dkimpy
from smtp_sink import SMTPSink, Taken
from stack.owner import Owner
from testbed import PASSWORD, Host, MailHost, Network, tree
from testbed.distributions import distributions
from testbed.handbook import Page, Terminal
from testbed.host import CommandFailed
from testbed.load import Load
from testbed.mail_host import STRANGER

DOMAIN = "example.test"
ALICE = f"alice@{DOMAIN}"
BOB = f"bob@{DOMAIN}"

NAMES = {
    "mail.example.org": "mx1.test",
    "example.org": DOMAIN,
    "elsewhere.example": "elsewhere.test",
    "Example Org": "Example Test",
}

OLD, NEW = "0.1.0", "0.2.0"
"""The versions that the page names."""

MILTER = "/etc/letterlock/letterlock.toml"
KEY_SERVICE = "/etc/letterlock/keyservice.toml"

# What an operator's hosts have: an index of packages.
_PIP = "[global]\nno-index = true\nfind-links = /srv/distributions\n"
_APT = 'APT::Get::Assume-Yes "true";\n'

# As most have it who have a spam filter; this one has gone.
_FILTER = "{ inet:127.0.0.1:11332, default_action=accept }"
_MILTERS = {
    "smtpd_milters": _FILTER,
    "non_smtpd_milters": "$smtpd_milters",
    "milter_protocol": "6",
    "milter_default_action": "accept",
}

_LOGINS = re.compile(r"(?ms)^service auth \{.*?^\}\n")

pytestmark = pytest.mark.timeout(600)


@dataclass
class World:
    """The operator, who reads; his host; Alice, and somebody elsewhere."""

    network: Network
    host: Host
    mail: MailHost
    alice: Owner
    elsewhere: SMTPSink
    terminal: Terminal
    postfix_before: str
    install: Page
    operating: Page
    authorities: Page
    records: dict[str, str] = field(default_factory=dict)
    """What was published of the signing keys, by name."""

    def type(self, heading: str, stdin: str = "", *, version: str = OLD) -> str:
        """Type the next block under a heading of install.md, where that version was unpacked."""
        text = self.install.next(heading)
        return self.terminal.type(text, stdin, directory=f"~/letterlock-{version}")

    def submitted(self, count: int) -> Taken:
        """Return the last one of so many mails that have arrived elsewhere."""
        return self.elsewhere.wait_for(count)[count - 1]

    def send(self, subject: str, to: str = ALICE) -> None:
        """Send a mail from outside."""
        self.mail.send(subject, to)

    def stored(self, subject: str) -> bytes:
        """Return that mail as it is in Alice's mailbox, as soon as it is there."""
        return self.mail.wait_for(subject, "alice")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Boot a host on which mail works, and put two versions of this tree on it."""
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        host = stack.enter_context(Host(network, tree(), "mx1", 11))
        elsewhere = stack.enter_context(SMTPSink(network.gateway, 25))
        network.publish(
            [
                f"{DOMAIN}. MX 10 mx1.test.",
                "mx1.test. MX 10 mx1.test.",
                f"mx1.test. A {host.address}",
                "elsewhere.test. MX 10 mx.elsewhere.test.",
                f"mx.elsewhere.test. A {network.gateway}",
            ]
        )
        mail = MailHost(host, DOMAIN, ["alice", "bob"])
        mail.have_dns_validated(network.gateway)
        _be_as_new(host)
        alice = stack.enter_context(Owner(ALICE))
        for version in (OLD, NEW):
            _unpack(host, version)
            host.write(f"/root/letterlock-{version}/alice.asc", alice.certificate)
        pages = (
            Page(name, NAMES)
            for name in ("docs/install.md", "docs/operating.md", "docs/client-certificates.md")
        )
        terminal = Terminal(host)
        yield World(network, host, mail, alice, elsewhere, terminal, _postfix(host), *pages)


def _be_as_new(host: Host) -> None:
    host.write("/etc/pip.conf", _PIP)
    host.write("/etc/apt/apt.conf.d/90testbed", _APT)
    shutil.copytree(distributions(), host.root / "srv/distributions")
    settings = " ".join(f"'{name}={value}'" for name, value in _MILTERS.items())
    host.run(f"postconf -e {settings}")
    # Both come by the page.
    host.run("rm /etc/postfix/own_addresses")
    dovecot, count = _LOGINS.subn("", host.run("cat /etc/dovecot/dovecot.conf"))
    assert count == 1
    host.write("/etc/dovecot/dovecot.conf", dovecot)
    host.run("systemctl restart dovecot")


def _unpack(host: Host, version: str) -> None:
    """Put there what a clone has of this tree, as that version."""
    root = Path(__file__).parents[2]
    line = ["git", "-c", f"safe.directory={root}", "ls-files", "-z", "--cached", "--others"]
    listed = subprocess.run(
        [*line, "--exclude-standard"], cwd=root, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (root / name).is_file():
            target = host.root / f"root/letterlock-{version}" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, target)
    project = host.root / f"root/letterlock-{version}/pyproject.toml"
    text, count = re.subn(r'(?m)^version = ".*"$', f'version = "{version}"', project.read_text())
    assert count == 1
    project.write_text(text)


def _postfix(host: Host) -> str:
    """Return what Postfix' own files are, and what Postfix takes them for."""
    files = "find /etc/postfix -type f | sort | xargs sha256sum"
    return host.run(f"{files}; postconf -n; postconf -M; postconf -P")


def test_steps_1_to_4_lead_to_encrypted_mail(world: World, clock: Any) -> None:
    """The page's own mail is in Dovecot, and only Alice reads it."""
    with clock("install by hand"):
        for _ in range(2):
            world.type("1. The programs")
        assert OLD in world.type("1. The programs")
        world.type("2. Accounts, a secret, the units")
        domains = world.install.word(f'[domains."{DOMAIN}')
        world.host.run(f"sed -i 's/^#.domains.*/{domains}/' {KEY_SERVICE}")
        for option, section in (("authserv_id", ""), ("nameserver", "[authentication]")):
            world.terminal.set_options(MILTER, world.install.word(f"{option} = "), section)
        world.type("2. Accounts, a secret, the units")
        assert f"{ALICE}: certificate in use" in world.type("3. Start")
        world.type("4. Postfix")
        world.type("4. Postfix")
        world.type("4. Postfix")
        shown = world.type("4. Postfix")

    assert "hdr.subject: [...]" in shown
    assert "multipart/encrypted" in shown
    assert "first" not in shown
    (stored,) = world.mail.stored("alice")
    assert b"the words" not in stored
    plaintext = world.alice.read(stored)
    assert b"Subject: first" in plaintext
    assert b"the words" in plaintext


def test_milters_of_the_operators_stay_before_ours(world: World) -> None:
    """In both lists, once; Postfix has nothing to warn of."""
    for name in ("smtpd_milters", "non_smtpd_milters"):
        assert f"{_FILTER} $letterlock_milter" == world.host.run(f"postconf -h {name}").strip()
    assert "" == world.host.run("postconf -n 2>&1 >/dev/null")


def test_doctor_says_what_the_page_says(world: World) -> None:
    """Notes that the page tells of, and one more, because the testbed's names are unsigned."""
    findings = json.loads(world.host.run("letterlock doctor --json"))
    expected = re.findall(r"(?m)^- `(?:.*… )?(.*?)`", world.install.text)
    said = [" ".join(str(finding[key]) for key in finding) for finding in findings]

    assert {"note"} == {finding["severity"] for finding in findings}
    unexpected = [one for one in said if not any(words in one for words in expected)]
    assert ["resolver 127.0.0.1:53"] == [
        found["where"] for found, one in zip(findings, said, strict=True) if one in unexpected
    ]
    assert [] == [words for words in expected if not any(words in one for one in said)]


def test_mail_from_outside_is_encrypted(world: World) -> None:
    """By SMTP, on port 25."""
    world.send("outside")

    stored = world.stored("outside")
    assert b"Content-Type: multipart/encrypted" in stored
    assert b"the words" in world.alice.read(stored)


def test_who_has_no_certificate_gets_nothing_in_the_clear(world: World) -> None:
    """Deferred."""
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        world.send("never", to=BOB)

    assert 450 <= refused.value.recipients[BOB][0] < 460
    assert 0 == world.mail.count("bob")


def test_the_operators_commands(world: World) -> None:
    """Of docs/operating.md: one after the other, with a queue ID of this host."""
    page, terminal = world.operating, world.terminal
    terminal.type(page.next("Is this host in order?"))
    until_ctrl_c, *others = page.next("What is it doing?").splitlines()
    for line in [f"timeout --preserve-status -s INT 3 {until_ctrl_c}", *others]:
        terminal.type(line)
    queue_id = world.host.run("journalctl -o cat -t postfix/cleanup -n 1").partition(":")[0]
    trace, *_with_files = page.next("What happened to this message?").splitlines()
    story = terminal.type(re.sub(r"trace \w+", f"trace {queue_id}", trace))
    terminal.type(page.next("Manual pages and completion"))
    for_bash, *_ = page.next("Manual pages and completion").splitlines()
    world.host.run("mkdir -p /etc/bash_completion.d")
    terminal.type(for_bash)

    assert world.alice.fingerprint in story
    assert "2.0.0" in story


def test_redis_gives_each_daemon_its_rights(world: World) -> None:
    """Then doctor has no word for Redis, and mail goes on."""
    said = world.terminal.type(world.operating.next("Redis"))

    assert "Redis" not in said
    world.send("rights")
    assert b"the words" in world.alice.read(world.stored("rights"))


def test_submission_is_set_up(world: World) -> None:
    """Section 5, up to doctor, who has nothing to correct."""
    zone = world.type("Signing keys")
    records = _records(zone)
    assert 2 == len(records)
    world.network.publish([f"{name}. TXT {text}" for name, text in records.items()])
    world.records = {n: re.sub(r'" *"', "", text).strip('"') for n, text in records.items()}
    world.type("Signing keys")
    _make_authority(world)
    option = world.install.next("The milter's other role", "toml")
    world.terminal.set_options(MILTER, option, "[submission]")
    world.type("The milter's other role")
    world.host.run("cat >>/etc/dovecot/dovecot.conf", world.install.next("Passwords", ""))
    world.type("Passwords")
    world.type("Postfix")
    said = world.type("Postfix")

    assert "" == world.host.run("postconf -n 2>&1 >/dev/null")
    assert "breach" not in said
    assert "fault" not in said
    options = world.install.next("Certificates of others", "toml")
    world.terminal.set_options(MILTER, options, "[authentication]")
    world.host.run("systemctl reload letterlock")


def _make_authority(world: World) -> None:
    """Follow docs/client-certificates.md, where install.md says so."""
    page, terminal = world.authorities, world.terminal
    heading = "Setting it up"
    terminal.type(page.next(heading))
    terminal.set_options(KEY_SERVICE, page.next(heading, "toml"))
    terminal.type(page.next(heading))
    terminal.type(page.next(heading))


def _records(zone: str) -> dict[str, str]:
    """Return the TXT records of lines for a zone file, as they are written there."""
    found = re.findall(r"(?s)(\S+)\. IN TXT \(\s*(.*?)\s*\)", zone)
    return {name: re.sub(r"\s*\n\s*", " ", text) for name, text in found}


def test_the_queue_moves_to_another_volume(world: World) -> None:
    """By the lines of docs/operating.md, but to a plain one: a container cannot encrypt."""
    *_, with_the_volume = world.operating.next("Encrypted spool").partition("systemctl stop")
    volume, options = "/srv/volume", "nosuid,noatime,nofail"
    text = (
        f"systemctl stop{with_the_volume}".replace(
            "mount /dev/mapper/postfix-spool", f"mkdir {volume} && mount --bind {volume}"
        )
        .replace("/dev/mapper/postfix-spool", volume)
        .replace(f"ext4 {options} 0 2", f"none bind,{options} 0 0")
    )
    said = world.terminal.type(text)

    assert "fault" not in said
    assert volume in world.host.run("findmnt -n -o SOURCE /var/spool/postfix")
    world.send("moved")
    assert b"the words" in world.alice.read(world.stored("moved"))


def test_after_a_reboot_mail_is_encrypted(world: World) -> None:
    """Nothing has to be started by hand."""
    world.host.reboot()

    assert "" == world.host.run("systemctl list-units --failed --no-legend")
    world.send("rebooted")
    assert b"the words" in world.alice.read(world.stored("rebooted"))


@pytest.mark.parametrize(("count", "password"), [(1, ""), (2, PASSWORD)])
def test_what_a_user_sends_leaves_signed(world: World, count: int, password: str) -> None:
    """With a client certificate, then with a password, which is asked for."""
    world.type("Try it before you tell your users", password + "\n")

    taken = world.submitted(count)
    assert {"pass"} == set(dkimpy(taken.octets, world.records).values())
    assert ALICE == taken.reverse_path
    assert b"swaks" not in taken.octets
    assert b"from mx1" not in taken.octets


def test_who_is_not_alice_cannot_write_in_her_name(world: World) -> None:
    """As the page says: refused."""
    line = (
        "swaks --server mx1.test:465 --tls-on-connect --tls-cert alice.pem --tls-key alice.pem "
        f"--from {BOB} --to {STRANGER}"
    )
    with pytest.raises(CommandFailed, match=r"550 5\.7\.1"):
        world.terminal.type(line, directory=f"~/letterlock-{OLD}")

    assert 2 == len(world.elsewhere.messages)


def test_upgrade_and_back(world: World, clock: Any, figures: dict[str, str]) -> None:
    """Mail comes in all the while, and none is refused."""
    (build,) = [
        block.text
        for block in Page("docs/install.md", NAMES).left
        if block.heading == "1. The programs" and "-m venv" in block.text
    ]
    load = Load([world.host.address], ALICE)
    load.start()
    with clock("upgrade by hand"):
        world.terminal.type(build, directory=f"~/letterlock-{NEW}")
        world.type("Upgrade, and back", version=NEW)
    assert NEW in world.host.run("letterlock --version")
    world.type("Upgrade, and back", version=NEW)
    load.finish(at_least=50)

    assert OLD in world.host.run("letterlock --version")
    for unit in ("letterlock", "letterlock-keyservice"):
        world.host.wait(lambda unit=unit: _runs(world.host, unit, OLD), f"{unit} {OLD}")
    figures["mails while upgraded and put back by hand, refused"] = (
        f"{len(load.refused) + load.unanswered} of {load.accepted}"
    )
    assert [] == load.refused
    assert 0 == load.unanswered


def _runs(host: Host, unit: str, version: str) -> bool:
    mapped = host.run(f"tr '\\0' ' ' </proc/$(systemctl show -P MainPID {unit})/cmdline")
    return f"/opt/letterlock/releases/{version}/" in mapped


def test_the_copy_of_the_database_can_be_put_back(world: World) -> None:
    """What has happened since is forgotten, nothing else."""
    world.terminal.type(world.operating.next("Backups"))
    world.host.run(f"letterlock withdraw {ALICE}")
    world.terminal.type(world.operating.next("Backups"))

    assert "certificate in use" in world.host.run(f"letterlock explain {ALICE}")
    world.host.wait(lambda: _is_taken(world, "put-back"), "Alice's mail")
    assert b"the words" in world.alice.read(world.stored("put-back"))


def _is_taken(world: World, subject: str) -> bool:
    # The answer of before waits in Redis for half a minute.
    try:
        world.send(subject)
    except smtplib.SMTPRecipientsRefused:
        return False
    return True


def test_removed_postfix_is_what_it_was(world: World) -> None:
    """Mail is delivered as before; Alice's certificate and the keys are kept."""
    world.type("Remove it")
    assert world.postfix_before == _postfix(world.host)
    world.type("Remove it")

    world.send("plain")
    assert b"Subject: plain" in world.stored("plain")
    gone = "/opt/letterlock /usr/local/bin/letterlock* /etc/systemd/system/*/letterlock*"
    assert "" == world.host.run(f"ls -d {gone} 2>/dev/null", check=False)
    assert "" == world.host.run("systemctl list-units --failed --no-legend")
    assert world.host.succeeds("test -s /var/lib/letterlock-keyservice/keyservice.sqlite")
    assert world.host.succeeds(f"test -s /etc/letterlock/dkim/{DOMAIN}/keys.json")


def test_nothing_of_the_page_was_left_out(world: World) -> None:
    """Whatever these documents say to type was typed."""
    for page in (world.install, world.operating):
        assert [] == [block for block in page.left if block.language == "sh"]
