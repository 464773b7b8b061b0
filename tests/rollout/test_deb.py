"""One host from a Debian package to encrypted mail and back, as docs/deb.md says.

What that page and docs/install.md have between their fences is typed; what their sentences say of
options is done by `Terminal.set_options`.
"""

import json
import shutil
import smtplib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from stack.owner import Owner
from testbed import Host, MailHost, Network, package, tree
from testbed.handbook import Page, Terminal
from testbed.host import CommandFailed
from testbed.load import Load
from testbed.mail_host import STRANGER

DOMAIN = "example.test"
ALICE = f"alice@{DOMAIN}"

MILTER = "/etc/letterlock/letterlock.toml"
KEY_SERVICE = "/etc/letterlock/keyservice.toml"
DOCUMENTS = "/usr/share/doc/letterlock"
DATABASE = "/var/lib/letterlock-keyservice/keyservice.sqlite"

pytestmark = pytest.mark.timeout(600)


@dataclass
class World:
    """The operator, who reads; his host; and Alice."""

    host: Host
    mail: MailHost
    alice: Owner
    terminal: Terminal
    versions: tuple[str, str]
    postfix_before: str
    page: Page
    install: Page

    def type(self, heading: str) -> str:
        """Type the next block under a heading of deb.md."""
        return self.terminal.type(self.page.next(heading))

    def follow(self, heading: str) -> str:
        """Type the next block under a heading of install.md, where deb.md says."""
        return self.terminal.type(self.install.next(heading), directory=DOCUMENTS)

    def send(self, subject: str) -> None:
        """Send Alice a mail from outside."""
        self.mail.send(subject, ALICE)

    def require_running(self, version: str) -> None:
        """Both daemons are of that release, as soon as they have begun anew."""
        for unit in ("letterlock", "letterlock-keyservice"):
            program = f"/opt/letterlock/releases/{version}/"
            line = f"grep -aqF {program} /proc/$(systemctl show -P MainPID {unit})/cmdline"
            self.host.wait(lambda line=line: self.host.succeeds(line), f"{unit} {version}")
        assert version in self.host.run("letterlock --version")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Boot a host on which mail works, and put two packages in root's directory."""
    directory = tmp_path_factory.mktemp("packages")
    old = package.version()
    versions = (old, f"{old}.post1")
    packages = [package.build(version, directory) for version in versions]
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        host = stack.enter_context(Host(network, tree(), "mx1", 11))
        network.publish([f"{DOMAIN}. MX 10 mx1.test.", f"mx1.test. A {host.address}"])
        mail = MailHost(host, DOMAIN, ["alice", "bob"])
        host.write("/etc/apt/apt.conf.d/90testbed", 'APT::Get::Assume-Yes "true";\n')
        mail.have_dns_validated(network.gateway)
        for file in packages:
            shutil.copy(file, host.root / "root")
        alice = stack.enter_context(Owner(ALICE))
        names = {
            "mail.example.org": "mx1.test",
            "example.org": DOMAIN,
            "elsewhere.example": "elsewhere.test",
            # The versions that the page names.
            "0.1.0": versions[0],
            "0.2.0": versions[1],
        }
        pages = (Page(name, names) for name in ("docs/deb.md", "docs/install.md"))
        yield World(host, mail, alice, Terminal(host), versions, _postfix(host), *pages)


def _postfix(host: Host) -> str:
    """Return what Postfix' own files are, and what Postfix takes them for."""
    files = "find /etc/postfix -type f | sort | xargs sha256sum"
    return host.run(f"{files}; postconf -n; postconf -M; postconf -P")


def test_a_host_with_letterlock_from_elsewhere_is_refused(world: World) -> None:
    """It says so, and nothing has changed."""
    world.host.run("mkdir -p /opt/letterlock/releases/0.0.1")
    world.host.run("ln -s releases/0.0.1 /opt/letterlock/current")

    with pytest.raises(CommandFailed, match=r"uninstall\.yml"):
        world.host.run(f"apt-get install --no-install-recommends ./{_name(world.versions[0])}")

    assert "" == world.host.run("ls -d /etc/letterlock /usr/bin/letterlock", check=False)
    world.host.run("rm -r /opt/letterlock; apt-get purge letterlock")


def _name(version: str) -> str:
    return f"letterlock_{version}_amd64.deb"


def test_installing_starts_nothing(world: World, clock: Any) -> None:
    """No pip and no index; Postfix is left as it is."""
    with clock("install the Debian package"):
        world.type("Install it")

    assert world.versions[0] in world.host.run("letterlock --version")
    assert "" == world.host.run("systemctl list-units --no-legend 'letterlock*'")
    enabled = "systemctl list-unit-files --no-legend --state=enabled 'letterlock*'"
    assert "" == world.host.run(enabled, check=False)
    assert world.postfix_before == _postfix(world.host)
    assert not world.host.succeeds("ls /opt/letterlock/current/bin/pip*")


def test_secrets_are_roots_and_the_daemons_alone(world: World) -> None:
    """Each configuration is readable to its own daemon, and the program is root's."""
    files = f"{MILTER} {KEY_SERVICE} /etc/letterlock/cache.key /etc/letterlock/dkim"
    modes = world.host.run(f"stat -c '%a %U %G' {files}")
    writable = "find -L /opt/letterlock/current /etc/letterlock -perm /022 -o ! -user root"

    assert [
        "640 root letterlock",
        "640 root letterlock-keyservice",
        "600 root root",
        "750 root letterlock",
    ] == modes.splitlines()
    assert "" == world.host.run(writable)


def test_the_pages_lead_to_encrypted_mail(world: World) -> None:
    """The page's own mail is in Dovecot, and only Alice reads it."""
    domains = world.install.word(f'[domains."{DOMAIN}')
    world.host.run(f"sed -i 's/^#.domains.*/{domains}/' {KEY_SERVICE}")
    for option, section in (("authserv_id", ""), ("nameserver", "[authentication]")):
        world.terminal.set_options(MILTER, world.install.word(f"{option} = "), section)
    world.type("Configure it")
    world.type("Configure it")
    world.host.write(f"{DOCUMENTS}/alice.asc", world.alice.certificate)
    assert f"{ALICE}: certificate in use" in world.follow("3. Start")
    world.host.run(f"rm {DOCUMENTS}/alice.asc")
    for _ in range(4):
        world.follow("4. Postfix")

    (stored,) = world.mail.stored("alice")
    assert b"Content-Type: multipart/encrypted" in stored
    assert b"the words" not in stored
    assert b"the words" in world.alice.read(stored)


def test_doctor_has_nothing_to_correct(world: World) -> None:
    """The host as a whole."""
    findings = json.loads(world.host.run("letterlock doctor --json", check=False))

    assert [] == [finding for finding in findings if finding["severity"] != "note"]


def test_an_upgrade_refuses_no_mail(world: World, clock: Any, figures: dict[str, str]) -> None:
    """Mail comes in all the while; what began with the release before ends with it."""
    before = world.mail.count("alice")
    early = smtplib.SMTP(world.host.address, local_hostname="elsewhere.test", timeout=60)
    early.mail(STRANGER)
    load = Load([world.host.address], ALICE)
    load.start()
    with clock("upgrade by apt"):
        world.type("Upgrade, and back")
    world.require_running(world.versions[1])
    assert 250 == early.rcpt(ALICE)[0]
    assert 250 == early.data("Subject: early\r\n\r\nthe words\r\n")[0]
    early.quit()
    load.finish(at_least=300)

    figures["mails during the upgrade by apt, refused"] = f"{len(load.refused)} of {load.accepted}"
    assert [] == load.refused
    assert 0 == load.unanswered
    previous = world.host.run("readlink -f /opt/letterlock/previous").strip()
    assert f"/opt/letterlock/releases/{world.versions[0]}" == previous
    expected = before + load.accepted + 1
    world.host.wait(lambda: world.mail.count("alice") == expected, "all mails", seconds=60)


def test_a_configuration_that_does_not_suit_ends_an_upgrade(world: World) -> None:
    """What runs goes on; when the file is corrected, dpkg is told so."""
    world.host.run(f"cp -p {MILTER} /root/right.toml; echo 'wrokers = 2' >>{MILTER}")
    before = world.mail.count("alice")

    with pytest.raises(CommandFailed, match="wrokers"):
        world.host.run(f"apt-get install --reinstall ./{_name(world.versions[1])}")
    world.send("meanwhile")
    world.host.wait(lambda: world.mail.count("alice") == before + 1, "the mail")

    world.host.run(f"cp -p /root/right.toml {MILTER}; dpkg --configure letterlock")
    assert "ii" == world.host.run("dpkg-query -W -f '${db:Status-Abbrev}' letterlock").strip()


def test_the_way_back_refuses_no_mail(world: World) -> None:
    """The package before, over the one after."""
    load = Load([world.host.address], ALICE)
    load.start()
    world.type("Upgrade, and back")
    load.finish(at_least=100)

    assert [] == load.refused
    assert 0 == load.unanswered
    world.require_running(world.versions[0])


def test_after_a_reboot_mail_is_encrypted(world: World) -> None:
    """Nothing has to be started by hand."""
    world.host.reboot()

    before = world.mail.count("alice")
    world.send("after the reboot")
    world.host.wait(lambda: world.mail.count("alice") == before + 1, "the mail")
    assert "" == world.host.run("systemctl list-units --failed --no-legend")
    assert all(b"the words" not in mail for mail in world.mail.stored("alice"))


def test_removed_it_leaves_what_cannot_be_had_again(world: World) -> None:
    """It says what becomes of mail while Postfix still asks; then mail comes as before."""
    assert "defers all" in world.type("Remove it")
    world.follow("Remove it")

    assert world.postfix_before == _postfix(world.host)
    assert not world.host.succeeds("ls -d /opt/letterlock /run/letterlock /usr/bin/letterlock")
    assert "" == world.host.run("systemctl list-units --no-legend 'letterlock*'")
    assert world.host.succeeds(f"test -s {DATABASE} && test -s /etc/letterlock/cache.key")
    before = world.mail.count("alice")
    world.send("plain")
    world.host.wait(lambda: world.mail.count("alice") == before + 1, "the mail")


def test_purged_it_leaves_nothing_but_its_accounts(world: World) -> None:
    """No secret, no database, no link to a unit."""
    world.type("Remove it")

    left = world.host.run(
        "find /etc /opt /usr /lib/systemd /var/lib /run -name '*letterlock*' "
        "! -path '/etc/postfix.before-letterlock'"
    )
    assert "" == left
    assert "" == world.host.run("find /etc/systemd -lname '*letterlock*'")
    assert world.host.succeeds("getent passwd letterlock letterlock-keyservice")
