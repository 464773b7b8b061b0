"""The units of systemd: correct, hardened, and of one mind with the daemons' defaults."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyservice.config import Config as KeyServiceConfig
from letterlock.config import Config
from letterlock.roles import Role

ROOT = Path(__file__).parents[2]
UNITS = sorted(
    path
    for folder in ("milter", "keyservice")
    for kind in ("service", "socket", "timer")
    for path in (ROOT / folder).glob(f"*.{kind}")
)
SERVICES = [path for path in UNITS if path.suffix == ".service"]
DAEMONS = [path for path in SERVICES if "Type=notify" in path.read_text()]
SOCKETS = [path for path in UNITS if path.suffix == ".socket"]

EXPOSURE_MAX = 15
"""Tenths. Debian's own daemons are between 12 and 96."""

INSPECTORS = {"letterlock-doctor.service": 30}
"""Looks at what is root's alone, for a moment, and is reached by nobody; its exposure."""


def named(path: Path) -> str:
    return path.name


def settings(path: Path) -> Iterator[tuple[str, str]]:
    """All settings of a unit, in their order."""
    for line in path.read_text().splitlines():
        name, sign, value = line.partition("=")
        if sign and not line.startswith("#"):
            yield name, value


def setting(path: Path, name: str) -> str:
    """The one value of a setting."""
    [value] = [value for each, value in settings(path) if each == name]
    return value


def words(path: Path, name: str) -> list[str]:
    """The values of a setting that is a list."""
    return [word for each, value in settings(path) if each == name for word in value.split()]


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A file system with the units, and the programs that they start."""
    shutil.copytree("/lib/systemd/system", tmp_path / "lib/systemd/system", symlinks=True)
    directory = tmp_path / "etc/systemd/system"
    directory.mkdir(parents=True)
    for path in UNITS:
        (directory / path.name).write_text(path.read_text())
        for name, value in settings(path):
            if name.startswith("Exec"):
                program = tmp_path / value.split()[0].removeprefix("/")
                program.parent.mkdir(parents=True, exist_ok=True)
                program.write_bytes(Path("/bin/true").read_bytes())
                program.chmod(0o755)
    return tmp_path


def verified(host: Path) -> tuple[int, str]:
    """What systemd says about the units; its status alone would pass over unknown settings."""
    command = ["systemd-analyze", "verify", "--man=no", f"--root={host}"]
    done = subprocess.run(
        [*command, *(path.name for path in UNITS)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_systemd_has_nothing_to_say_about_the_units(host: Path) -> None:
    """No unknown setting, no program that is not there, no unit that is named and missing."""
    assert (0, "") == verified(host)


@pytest.mark.parametrize(
    "mistake", ["ProtectSytem=strict", "MemoryMax=much", "ExecStartPre=/none"], ids=str
)
def test_a_mistake_in_a_unit_would_show(host: Path, mistake: str) -> None:
    """The test above can fail."""
    unit = host / "etc/systemd/system" / SERVICES[0].name
    unit.write_text(unit.read_text().replace("[Service]\n", f"[Service]\n{mistake}\n"))

    assert (0, "") != verified(host)


@pytest.mark.parametrize("unit", SERVICES, ids=named)
def test_each_service_is_hardened(unit: Path) -> None:
    """As `systemd-analyze security` has it."""
    threshold = INSPECTORS.get(unit.name, EXPOSURE_MAX)
    command = ["systemd-analyze", "security", "--offline=yes", f"--threshold={threshold}"]
    done = subprocess.run([*command, str(unit)], capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "unit", [path for path in SERVICES if path.name not in INSPECTORS], ids=named
)
def test_no_service_has_a_privilege_or_leaves_memory_behind(unit: Path) -> None:
    """No capability, no core dump, nothing in swap, and an end to what it may use."""
    assert ("", "") == (
        setting(unit, "CapabilityBoundingSet"),
        setting(unit, "AmbientCapabilities"),
    )
    assert ("0", "0") == (setting(unit, "LimitCORE"), setting(unit, "MemorySwapMax"))
    assert setting(unit, "MemoryMax")
    assert setting(unit, "User") != "root"


@pytest.mark.parametrize("unit", DAEMONS, ids=named)
def test_daemons_come_back_and_are_watched(unit: Path) -> None:
    """However often they fail; a process that is killed for its memory does not end the others."""
    expected = {
        "OOMPolicy": "continue",
        "Restart": "on-failure",
        "StartLimitIntervalSec": "0",
        "WatchdogSec": "60",
        "ExecReload": "/bin/kill -HUP $MAINPID",
    }
    assert expected == {name: setting(unit, name) for name in expected}


@pytest.mark.parametrize("unit", SOCKETS, ids=named)
def test_sockets_are_roots_and_outlive_their_daemon(unit: Path) -> None:
    """A daemon that cannot start does not take the socket along: who asks waits until it can."""
    assert ("root", "0660") == (setting(unit, "SocketUser"), setting(unit, "SocketMode"))
    assert "0" == setting(unit, "TriggerLimitIntervalSec")


@pytest.mark.parametrize("unit", SOCKETS, ids=named)
def test_sockets_open_before_their_service_starts(unit: Path) -> None:
    """systemd opens none while the service runs: later ones are opened by its restart."""
    service = ROOT / unit.parent.name / setting(unit, "Service")
    requires = words(service, "Requires")

    expected = "sockets.target" if unit.name in requires else service.name
    assert expected == setting(unit, "WantedBy")


def test_the_accounts_are_two() -> None:
    """Who breaks into the milter must not own the database."""
    users = {path.name: setting(path, "User") for path in DAEMONS}

    assert {
        "letterlock.service": "letterlock",
        "letterlock-keyservice.service": "letterlock-keyservice",
    } == users


def test_the_sockets_are_those_of_the_configuration() -> None:
    """Under the names that the daemons know, and where the other side looks for them."""
    found = {
        setting(path, "FileDescriptorName"): (
            setting(path, "ListenStream"),
            setting(path, "Service"),
        )
        for path in SOCKETS
    }
    example = "/var/spool/postfix/letterlock/"

    assert {
        Role.INBOUND.value: (Config().socket.removeprefix("unix:"), "letterlock.service"),
        Role.SUBMISSION.value: (f"{example}submission.sock", "letterlock.service"),
        "keyservice": (KeyServiceConfig().socket, "letterlock-keyservice.service"),
        "socketmap": (f"{example}socketmap.sock", "letterlock-keyservice.service"),
        "public": ("/run/letterlock/public.sock", "letterlock-keyservice.service"),
    } == found
    assert KeyServiceConfig().socket == Config().keyservice.socket


def test_secrets_are_handed_over_under_the_names_of_their_files() -> None:
    """As `service_manager.credential` looks for them; a blank line stands in for a missing file."""
    files = {Config().redis.secret_file, KeyServiceConfig().redis.secret_file}
    assert {"/etc/letterlock/cache.key"} == files
    for unit in DAEMONS:
        loaded = dict(word.split(":") for word in words(unit, "LoadCredential"))
        assert files <= set(loaded.values())
        assert {name: f"/etc/letterlock/{name}" for name in loaded} == loaded
        assert {f"{name}:\\n" for name in loaded} == set(words(unit, "SetCredential"))


def test_directories_are_those_of_the_configuration() -> None:
    """Nothing else of the host can be written by either daemon."""
    milter, keyservice = (
        ROOT / "milter/letterlock.service",
        ROOT / "keyservice/letterlock-keyservice.service",
    )
    made = [f"/var/lib/{name}" for name in words(milter, "StateDirectory")]
    assert Config().spill.directory in made
    database = Path(KeyServiceConfig().database)
    assert [database.parent.name] == words(keyservice, "StateDirectory")
    for unit in DAEMONS:
        assert "strict" == setting(unit, "ProtectSystem")
        assert [] == words(unit, "ReadWritePaths")


def test_a_stop_waits_for_the_sessions() -> None:
    """Postfix' patience with those that come meanwhile (command_timeout) is longer."""
    unit = ROOT / "milter/letterlock.service"

    assert "mixed" == setting(unit, "KillMode")
    assert Config().drain_seconds + 5 < 30
