"""The Debian package without a host: what is in it, and what Debian's own judge says."""

import csv
import itertools
import re
import subprocess
import tarfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pytest

from keyservice.config import Config as KeyServiceConfig
from letterlock.config import Config
from testbed import package

ROOT = Path(__file__).parents[2]
VERSION = package.version()
RELEASE = f"/opt/letterlock/releases/{VERSION}"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of this tree."""
    return package.build(VERSION, tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="module")
def members(deb: Path) -> Iterator[tarfile.TarFile]:
    """What it installs."""
    done = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], capture_output=True, check=True)
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        yield archive


def content(members: tarfile.TarFile, path: str) -> str:
    """A file of it."""
    member = members.extractfile(f".{path}")
    assert member is not None
    return member.read().decode()


def test_lintian_has_nothing_to_say(deb: Path) -> None:
    """No error, no warning, and no override that nothing needs; each has its reason beside it."""
    line = ["lintian", "--allow-root", "--display-info", "--tag-display-limit=0", str(deb)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    found = [line for line in done.stdout.splitlines() if re.match(r"[EW]:|.*-override\b", line)]

    assert "letterlock: " in done.stdout
    assert [] == found, done.stderr


def test_it_is_named_for_the_version() -> None:
    """A pre-release comes before its release, for Debian too."""
    build = (ROOT / "ansible/deb/build").read_text()
    expression = re.search(r"sed -E '(.*)'", build)
    assert expression

    def named(version: str) -> str:
        line = ["sed", "-E", expression[1]]
        done = subprocess.run(line, input=version, capture_output=True, text=True, check=True)
        return done.stdout

    ordered = ["0.2.0.dev1", "0.2.0a1", "0.2.0b1", "0.2.0rc1", "0.2.0", "0.2.0.post1", "0.2.1"]
    for before, after in itertools.pairwise(ordered):
        line = ["dpkg", "--compare-versions", named(before), "lt", named(after)]
        assert 0 == subprocess.run(line, check=False).returncode, (before, after)


def test_the_environment_is_for_the_place_where_it_runs(members: tarfile.TarFile) -> None:
    """No path of the machine that made it, no pip, and Debian's Python."""
    names = members.getnames()
    commands = {"letterlock", "letterlock-keyservice", "letterlock-milter"}
    programs = {name.rpartition("/")[2] for name in names if "/usr/lib/letterlock/bin/" in name}

    assert commands | {"python", "python3", "python3.11"} == programs
    for command in commands:
        first = content(members, f"/usr/lib/letterlock/bin/{command}").splitlines()[0]
        assert f"#!{RELEASE}/bin/python" == first
        link = members.getmember(f"./usr/bin/{command}").linkname
        assert f"/opt/letterlock/current/bin/{command}" == link
    assert "/usr/bin/python3" == members.getmember("./usr/lib/letterlock/bin/python3").linkname
    assert "/tmp" not in content(members, "/usr/lib/letterlock/pyvenv.cfg")
    assert [] == [name for name in names if "__pycache__" in name or "/site-packages/pip/" in name]


def test_what_the_lock_file_has_is_in_it_and_nothing_else(members: tarfile.TarFile) -> None:
    """In the versions that it names."""
    lock = (ROOT / "requirements.txt").read_text()
    locked = {
        (name.lower().replace("-", "_"), version)
        for name, version in re.findall(r"(?m)^([\w.-]+)(?:\[[\w,]+\])?==([^ ;\\]+)", lock)
    }
    installed = {
        (found[1].lower().replace("-", "_").replace(".", "_"), found[2])
        for name in members.getnames()
        if (found := re.search(r"/site-packages/([^/]+)-([^/-]+)\.dist-info$", name))
    }

    assert {(name.replace(".", "_"), version) for name, version in locked} == installed - {
        ("letterlock", VERSION)
    }


def test_every_file_of_a_wheel_is_as_it_was_packed(members: tarfile.TarFile) -> None:
    """Octet for octet, as its RECORD says; so nothing was stripped or linked anew."""
    packages = "/usr/lib/letterlock/lib/python3.11/site-packages"
    records = [name[1:] for name in members.getnames() if name.endswith(".dist-info/RECORD")]
    said = [row for path in records for row in csv.reader(content(members, path).splitlines())]
    packed = [(path, digest) for path, digest, _ in said if digest]

    assert len(packed) > 1000
    for path, digest in packed:
        octets = members.extractfile(f".{packages}/{path}")
        assert octets is not None
        found = urlsafe_b64encode(sha256(octets.read()).digest()).rstrip(b"=").decode()
        assert f"sha256={found}" == digest, path


def test_the_units_are_those_of_the_daemons(members: tarfile.TarFile) -> None:
    """All of them, octet for octet."""
    units = [
        path
        for folder in ("milter", "keyservice")
        for path in (ROOT / folder).glob("letterlock*.*")
        if path.suffix in (".service", ".socket", ".timer")
    ]
    shipped = {name for name in members.getnames() if name.startswith("./lib/systemd/system/l")}

    assert {f"./lib/systemd/system/{path.name}" for path in units} == shipped
    for path in units:
        assert path.read_text() == content(members, f"/lib/systemd/system/{path.name}")


def test_the_configuration_is_the_annotated_one(deb: Path, members: tarfile.TarFile) -> None:
    """What an administrator changes in it dpkg does not touch; both files say the defaults."""
    line = ["dpkg-deb", "--info", str(deb), "conffiles"]
    conffiles = subprocess.run(line, capture_output=True, text=True, check=True).stdout.split()

    assert {"/etc/letterlock/letterlock.toml", "/etc/letterlock/keyservice.toml"} == set(conffiles)
    for folder in ("milter/letterlock.toml", "keyservice/keyservice.toml"):
        path = ROOT / folder
        assert path.read_text() == content(members, f"/etc/letterlock/{path.name}")


def test_the_accounts_are_those_of_the_units(members: tarfile.TarFile) -> None:
    """With the directories that the daemons keep their state in."""
    said = content(members, "/usr/lib/sysusers.d/letterlock.conf")
    homes = dict(re.findall(r'(?m)^u (\S+) +- "[^"]+" +(\S+)$', said))

    assert {
        "letterlock": str(Path(Config().spill.directory).parent),
        "letterlock-keyservice": str(Path(KeyServiceConfig().database).parent),
    } == homes


def test_manual_pages_and_completion_are_in_it(members: tarfile.TarFile) -> None:
    """Where man, bash, zsh and fish look."""
    names = set(members.getnames())

    assert "./usr/share/man/man1/letterlock-doctor.1.gz" in names
    completions = {
        "bash-completion/completions/letterlock": "letterlock",
        "zsh/vendor-completions/_letterlock": "#compdef letterlock",
        "fish/vendor_completions.d/letterlock.fish": "complete ",
    }
    for path, words in completions.items():
        assert words in content(members, f"/usr/share/{path}")


def test_the_documents_that_it_names_are_in_it(members: tarfile.TarFile) -> None:
    """Postfix' lines are where the page has its reader type."""
    names = set(members.getnames())
    here = "./usr/share/doc/letterlock"

    assert f"{here}/docs/deb.md" in names
    assert "docs/deb.md" == members.getmember(f"{here}/README.Debian").linkname
    for path in (ROOT / "postfix-conf").glob("*.in"):
        assert f"{here}/postfix-conf/{path.name}" in names


def test_maintainer_scripts_are_shell() -> None:
    """As dash reads them."""
    for name in ("preinst", "postinst", "prerm", "postrm"):
        path = ROOT / "ansible/deb/debian" / name
        assert 0 == subprocess.run(["dash", "-n", str(path)], check=False).returncode, name
