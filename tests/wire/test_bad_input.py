"""What an operator gets wrong is one line that says what to look at, from either daemon."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from certificates import gallery
from fake_keyservice import MemoryOwner
from keyservice.client import Mailbox, Outcome
from keyservice_process import KeyServiceProcess, RedisProcess
from letterlock.cli import main
from milter_process import MilterProcess
from stack import wait_until

ALICE = "alice@example.test"

Spoil = Callable[[Path], None]


def missing(file: Path) -> None:
    file.unlink()


def unreadable(file: Path) -> None:
    # Not by permissions: tests may run as root.
    file.unlink()
    file.mkdir()


def empty(file: Path) -> None:
    file.write_text("\n")


def short(file: Path) -> None:
    file.write_text("short\n")


SECRETS = [
    (missing, "No such file or directory"),
    (unreadable, "Is a directory"),
    (empty, "shorter than 32 octets"),
    (short, "shorter than 32 octets"),
]


def only_line(command: list[str], **options: object) -> dict[str, object]:
    """Return the one line of a daemon that does not start."""
    done = subprocess.run(command, capture_output=True, timeout=60, check=False, **options)  # type: ignore[call-overload]
    assert (78, b"") == (done.returncode, done.stdout)
    [line] = done.stderr.splitlines()
    decoded: dict[str, object] = json.loads(line)
    assert ("error", "not_started") == (decoded["level"], decoded["event"])
    return decoded


@pytest.fixture
def milter() -> Iterator[MilterProcess]:
    """One that was not started."""
    process = MilterProcess(MemoryOwner(ALICE))
    yield process
    shutil.rmtree(process.directory)


def command(milter: MilterProcess) -> list[str]:
    return [sys.executable, "-m", "letterlock", "--config", str(milter.config)]


@pytest.mark.parametrize(
    ("spoil", "reason"), SECRETS, ids=lambda value: value.__name__ if callable(value) else ""
)
def test_a_secret_that_cannot_be_used_is_named(
    tmp_path: Path, milter: MilterProcess, spoil: Spoil, reason: str
) -> None:
    """The option, the file and what is wrong with it, by both daemons."""
    service = KeyServiceProcess(tmp_path, redis_url="unix:///run/none.sock")
    for file, line in (
        (service.secret_file, service.command()),
        (milter.directory / "cache.key", command(milter)),
    ):
        spoil(file)
        assert f"redis.secret_file: {file}: {reason}" == only_line(line)["detail"]


def test_a_credential_that_was_not_found_is_named_as_the_file(
    tmp_path: Path, milter: MilterProcess
) -> None:
    """Our units put a blank line in its place; the operator knows the file only."""
    missing(milter.directory / "cache.key")
    (tmp_path / "cache.key").write_text("\n")

    line = only_line(command(milter), env={**os.environ, "CREDENTIALS_DIRECTORY": str(tmp_path)})

    reason = f"redis.secret_file: {milter.directory}/cache.key: No such file or directory"
    assert reason == line["detail"]


def test_a_credential_takes_the_place_of_the_file(tmp_path: Path, milter: MilterProcess) -> None:
    """Both daemons start without the file."""
    (tmp_path / "credentials").mkdir()
    secret = tmp_path / "credentials" / "cache.key"
    secret.write_text("0123456789abcdef" * 2)
    secret.chmod(0o400)
    service = KeyServiceProcess(tmp_path, redis_url="unix:///run/none.sock")
    service.secret_file.unlink()
    (milter.directory / "cache.key").unlink()
    environment = {**os.environ, "CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    for line in (service.command(), command(milter)):
        done = subprocess.run([*line, "--check"], capture_output=True, check=False, env=environment)
        assert (0, b"") == (done.returncode, done.stderr)


def test_a_database_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """Its directory is missing, or belongs to somebody else."""
    service = KeyServiceProcess(tmp_path)
    service.database = tmp_path / "none" / "keyservice.sqlite"
    service.write_config()

    detail = str(only_line(service.command())["detail"])

    assert detail.startswith(f"database: {service.database}: the file cannot be opened")


FULL = (
    "unshare",
    "--mount",
    "--propagation",
    "private",
    "sh",
    "-c",
    'mount -t tmpfs -o size="$0" tmpfs "$1" && shift && exec "$@"',
)
"""Runs a program that alone sees a small disk: `FULL SIZE DIRECTORY PROGRAM`."""


class KeyServiceOnSmallDisk(KeyServiceProcess):
    """Its database is on a disk of its own, of a size that is known."""

    size = "1m"

    @property
    def disk(self) -> Path:
        return self.directory / "disk"

    def command(self) -> list[str]:
        self.disk.mkdir(exist_ok=True)
        return [*FULL, self.size, str(self.disk), *super().command()]

    def filler(self) -> Path:
        """Return a file on that disk, as it can be reached from here."""
        assert self.process is not None
        return Path(f"/proc/{self.process.pid}/root{self.disk}/filler")


def test_a_full_disk_is_said_and_lookups_go_on(tmp_path: Path) -> None:
    """A real one. Who enrols is told why not; with room again he can, without a restart."""
    service = KeyServiceOnSmallDisk(
        tmp_path, settings={"database": str(tmp_path / "disk/keyservice.sqlite")}
    )
    alice, bob = (gallery()[name] for name in ("alice", "bob"))
    with service:
        service.operator.enrol(Mailbox.parse("alice@example.org"), alice)
        with suppress(OSError), service.filler().open("wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass
        refused = CliRunner().invoke(
            main, ["enrol", "bob@example.org", "-", "--service", service.url], input=bob
        )
        found = service.client().lookup(Mailbox.parse("alice@example.org")).outcome
        service.filler().unlink()
        service.operator.enrol(Mailbox.parse("bob@example.org"), bob)

    assert (1, "letterlock: refused (database_unavailable): the disk is full\n") == (
        refused.exit_code,
        refused.stderr,
    )
    assert Outcome.FOUND is found
    lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    assert ["the disk is full"] == [line["detail"] for line in lines if line["level"] == "error"]


@pytest.mark.parametrize("size", ["32k", "64k", "128k"])
def test_a_disk_that_is_full_at_the_start_is_named(tmp_path: Path, size: str) -> None:
    """Too small for an empty database, wherever in making it that shows."""
    service = KeyServiceOnSmallDisk(
        tmp_path, settings={"database": str(tmp_path / "disk/keyservice.sqlite")}
    )
    service.size = size

    detail = only_line(service.command())["detail"]

    assert f"database: {tmp_path}/disk/keyservice.sqlite: the disk is full" == detail


def test_a_message_that_finds_no_room_is_deferred_and_the_next_one_taken() -> None:
    """The spill directory is on a real disk that is full; small mail does not need it."""
    alice = MemoryOwner(ALICE)
    python = shlex.join([sys.executable, "-m", "letterlock"])
    script = f'mount -t tmpfs -o size=64k tmpfs "$(dirname "$1")/spill" && exec {python} "$0" "$@"'
    program = (*FULL[:6], script)
    with MilterProcess(alice, program=program) as process:
        with process.client() as mta:
            large = mta.transact(
                [f"<{ALICE}>"], [(b"Subject", b" x")], os.urandom(300_000).hex().encode()
            )
            small = mta.transact([f"<{ALICE}>"], [(b"Subject", b" x")], b"x\r\n")
        said = [line["detail"] for line in process.events("failed")]

    assert (451, 250) == (large.code, small.code)
    assert 1 == len(said)
    assert os.strerror(28) in said[0]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda file: file.write_bytes(b"no database at all" * 300), "the file is no database"),
        (lambda file: file.mkdir(), "something else is there"),
    ],
)
@pytest.mark.parametrize("check", [[], ["--check"]])
def test_a_database_that_is_none_is_named(
    tmp_path: Path, spoil: Spoil, words: str, check: list[str]
) -> None:
    """At the start, and by who asks before."""
    service = KeyServiceProcess(tmp_path)
    spoil(service.database)

    detail = str(only_line([*service.command(), *check])["detail"])

    assert detail.startswith(f"database: {service.database}: {words}")


@pytest.mark.parametrize("check", [[], ["--check"]])
def test_a_database_of_a_newer_version_is_named(tmp_path: Path, check: list[str]) -> None:
    """As after a roll-back: before a reload ends the one that runs. It is left as it is."""
    with KeyServiceProcess(tmp_path) as service:
        assert 0 == subprocess.run([*service.command(), "--check"], check=False).returncode
    with closing(sqlite3.connect(service.database)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    octets = service.database.read_bytes()

    line = only_line([*service.command(), *check])

    assert f"database: {service.database}: a newer version has written it" == line["detail"]
    assert octets == service.database.read_bytes()


def test_a_database_of_a_newer_version_refuses_a_reload(tmp_path: Path) -> None:
    """The service that runs goes on."""
    with KeyServiceProcess(tmp_path) as service:
        with closing(sqlite3.connect(service.database)) as database, database:
            database.execute("UPDATE alembic_version SET version_num = '9999'")
        assert service.process is not None
        service.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "reload_refused" in service.log.read_text(), "refused")

        assert Outcome.NOT_FOUND is service.client().lookup(Mailbox.parse("m@example.org")).outcome
    assert "a newer version has written it" in service.log.read_text()


@pytest.mark.parametrize("check", [[], ["--check"]])
@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"\xff\xfe\x00", "can't decode byte 0xff"),
        (b"socket = [", "Invalid value"),
        (b"colour = 1", "unknown field `colour`"),
        (b"metrics = 1", "`$.metrics`"),
    ],
)
def test_a_configuration_that_is_none_is_named(
    tmp_path: Path, milter: MilterProcess, octets: bytes, words: str, check: list[str]
) -> None:
    """The file, and what is wrong with it, by both daemons."""
    service = KeyServiceProcess(tmp_path)
    for file, line in ((service.config, service.command()), (milter.config, command(milter))):
        file.write_bytes(octets)
        detail = str(only_line([*line, *check])["detail"])
        assert detail.startswith(f"{file}: ")
        assert words in detail


@pytest.mark.parametrize("check", [[], ["--check"]])
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://redis.example.test", "expected redis://"),
        ("redis://letterlock:se/cret@redis.example.test:6379/0", "%2F for /"),
        ("redis+sentinel://letterlock:secret@a.test:26379", "name of the service"),
    ],
)
def test_a_url_of_redis_that_is_none_is_told_apart_from_its_password(
    tmp_path: Path, milter: MilterProcess, url: str, words: str, check: list[str]
) -> None:
    """What is expected is said; of what is there nothing."""
    service = KeyServiceProcess(tmp_path, redis_url=url)
    text = milter.config.read_text()
    milter.config.write_text(re.sub(r"(?m)^url = .*$", f'url = "{url}"', text))
    for line in (service.command(), command(milter)):
        detail = str(only_line([*line, *check])["detail"])
        assert detail.startswith("redis.url: ")
        assert words in detail
        assert "cret" not in detail


@pytest.mark.parametrize("check", [[], ["--check"]])
def test_a_socket_path_that_is_too_long_is_said_to_be(
    tmp_path: Path, milter: MilterProcess, check: list[str]
) -> None:
    """Its end would be cut, or worse."""
    service = KeyServiceProcess(tmp_path)
    for file, path, line in (
        (service.config, str(service.socket), service.command()),
        (milter.config, milter.socket, command(milter)),
    ):
        file.write_text(file.read_text().replace(path, f"/run/{'x' * 110}"))
        detail = only_line([*line, *check])["detail"]
        assert "socket: a path of more than 107 octets" == detail


def test_a_place_that_is_taken_is_named(tmp_path: Path, milter: MilterProcess) -> None:
    """By a file, or a port by somebody who listens there already."""
    service = KeyServiceProcess(tmp_path)
    service.socket.write_text("precious")
    assert (
        f"socket: {service.socket}: something else is there"
        == (only_line(service.command())["detail"])
    )
    Path(milter.socket).write_text("precious")
    assert (
        f"socket: {milter.socket}: something else is there"
        == (only_line(command(milter))["detail"])
    )
    assert "precious" == service.socket.read_text() == Path(milter.socket).read_text()
    service.socket.unlink()
    Path(milter.socket).unlink()
    found = re.search(r'(?m)^metrics = "(.*)"$', milter.config.read_text())
    assert found is not None
    for address, line in ((service.metrics, service.command()), (found[1], command(milter))):
        host, _, port = address.partition(":")
        with socket.create_server((host, int(port))):
            assert f"metrics: {address}: {os.strerror(98)}" == only_line(line)["detail"]


def test_a_passphrase_that_cannot_be_read_is_said_once(tmp_path: Path) -> None:
    """All else goes on; who wants to issue is told, too."""
    service = KeyServiceProcess(
        tmp_path, sections={"client_ca": {"passphrase_file": f"{tmp_path}/none"}}
    )
    with service:
        made = CliRunner().invoke(
            main, ["client-certificate", "ca", "create", "--service", service.url]
        )
    said = [json.loads(line) for line in service.log.read_text().splitlines() if "locked" in line]

    words = f"client_ca.passphrase_file: {tmp_path}/none: No such file or directory"
    assert [words] == [line["detail"] for line in said]
    assert (1, 1) == (made.exit_code, len(made.stderr.splitlines()))
    assert words in made.stderr


def test_a_spill_directory_that_is_missing_is_named(milter: MilterProcess) -> None:
    """Once, however many workers there are."""
    milter.spill.rmdir()
    milter.config.write_text(milter.config.read_text().replace("workers = 1", "workers = 3"))

    detail = only_line(command(milter))["detail"]

    assert f"spill.directory: {milter.spill} is not a writable directory" == detail


def test_a_directory_for_counters_that_is_none_is_named(milter: MilterProcess) -> None:
    """Before anything listens; as what the system said, and where."""
    full = milter.directory / "full"
    full.write_text("no directory")

    done = subprocess.run(
        command(milter),
        env={**os.environ, "RUNTIME_DIRECTORY": str(full)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    [line] = done.stderr.splitlines()

    assert os.EX_OSERR == done.returncode
    assert f": {os.strerror(20)}" in json.loads(line)["detail"]
    assert "__main__.py" in json.loads(line)["at"]


def test_tables_that_cannot_be_read_are_named_as_postfix_names_them(milter: MilterProcess) -> None:
    """Without it nothing is known of recipients."""
    (milter.directory / "main.cf").unlink()

    detail = only_line(command(milter))["detail"]

    assert f"postconf: fatal: open {milter.directory}/main.cf: {os.strerror(2)}" == detail


def test_workers_that_cannot_be_replaced_are_named_once() -> None:
    """However often it is tried; and when it can be, all is well again."""
    with MilterProcess(MemoryOwner(ALICE)) as process:
        process.spill.rename(process.directory / "aside")
        [worker] = process.workers
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: bool(process.events("not_started")), "said")
        tried = len(process.events("not_started"))
        time.sleep(2.5)  # two more attempts
        said = process.events("not_started")
        (process.directory / "aside").rename(process.spill)
        wait_until(lambda: bool(process.workers), "replaced")
        with process.client() as mta:
            assert 250 == mta.transact([f"<{ALICE}>"], [(b"Subject", b" x")], b"x\r\n").code

    assert 1 == tried == len(said)
    assert f"spill.directory: {process.spill} is not a writable directory" == said[0]["detail"]


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("", "its ACL denies a command or a name that is needed"),
        (":wrong@", "it refuses the user or the password"),
    ],
)
def test_what_redis_refuses_is_one_line_of_each_process(
    tmp_path: Path, password: str, words: str
) -> None:
    """Mail goes on, and so does everything else: Redis is a cache."""
    with RedisProcess(tmp_path / "redis") as redis:
        with redis.client() as client:
            client.acl_setuser(
                "default",
                enabled=True,
                nopass=not password,
                passwords=["+right"] if password else [],
                commands=["-getrange", "-set"],
            )
        url = redis.url.replace("unix://", f"unix://{password}")
        service = KeyServiceProcess(tmp_path / "ks", redis_url=url)
        alice = MemoryOwner(ALICE)
        with service, MilterProcess(alice, redis_url=url) as process:
            for number in range(3):
                service.client().lookup(Mailbox.parse(f"m{number}@example.org"))
                with process.client() as mta:
                    assert 250 == mta.transact([f"<{ALICE}>"], [(b"Subject", b" x")], b"x\r\n").code
            wait_until(lambda: bool(process.events("redis_failed")), "said")
            wait_until(lambda: "redis_failed" in service.log.read_text(), "said by the other")
            texts = (process.log, service.log.read_text())

        for text in texts:
            said = [json.loads(line) for line in text.splitlines() if "redis_failed" in line]
            assert [words] == [line["detail"] for line in said]
