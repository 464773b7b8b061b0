"""What an operator gets wrong is one line that says what to look at, from either daemon."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fake_keyservice import MemoryOwner
from keyservice.client import Mailbox
from keyservice_process import KeyServiceProcess, RedisProcess
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


def test_a_disk_that_takes_no_more_is_named(tmp_path: Path) -> None:
    """When it begins, and when something is to be written."""
    service = KeyServiceProcess(tmp_path)

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    detail = str(only_line(service.command(), preexec_fn=no_room)["detail"])

    assert f"database: {service.database}: the disk does not read or write" == detail


def test_a_spill_directory_that_is_missing_is_named(milter: MilterProcess) -> None:
    """By a worker; its parent says that there is no more to it."""
    milter.spill.rmdir()
    done = subprocess.run(command(milter), capture_output=True, timeout=60, check=False)
    lines = [json.loads(line) for line in done.stderr.splitlines()]

    assert 78 == done.returncode
    assert [
        f"spill.directory: {milter.spill} is not a writable directory",
        "a worker did not start; its own line says why",
    ] == [line["detail"] for line in lines]


def test_redis_without_the_permissions_is_one_line_of_each_process(tmp_path: Path) -> None:
    """Mail goes on, and so does everything else: Redis is a cache."""
    with RedisProcess(tmp_path / "redis") as redis:
        with redis.client() as client:
            client.acl_setuser("default", enabled=True, nopass=True, commands=["-getrange", "-set"])
        service = KeyServiceProcess(tmp_path / "ks", redis_url=redis.url)
        alice = MemoryOwner(ALICE)
        with service, MilterProcess(alice, redis_url=redis.url) as process:
            for number in range(3):
                service.client().lookup(Mailbox.parse(f"m{number}@example.org"))
                with process.client() as mta:
                    assert 250 == mta.transact([f"<{ALICE}>"], [(b"Subject", b" x")], b"x\r\n").code
            wait_until(lambda: bool(process.events("redis_failed")), "said")
            texts = (process.log, service.log.read_text())

        for text in texts:
            said = [json.loads(line) for line in text.splitlines() if "redis_failed" in line]
            words = "its ACL denies a command or a name that is needed"
            assert [words] == [line["detail"] for line in said]
