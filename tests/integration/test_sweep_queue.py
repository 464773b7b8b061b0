"""Orphans of a killed cleanup(8): found, removed, and nothing else touched on a queue in use."""

import json
import os
import pwd
import signal
import smtplib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import canary
import messages
from canary import Canaries
from letterlock.cli import main
from letterlock.queue_orphans import queue_directories
from stack import Owner, Stack, wait_until

KEEP_SWEEPING = """
import select, sys, time
from pathlib import Path
from letterlock.queue_orphans import sweep
print(flush=True)
sweeps = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    for orphan in sweep(Path(sys.argv[1]), time.time() + 1, remove=True):
        print(orphan.path, flush=True)
    sweeps += 1
print(sweeps)
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, alice: Owner) -> Iterator[Stack]:
    """A stack whose processes may be killed."""
    # Without it master(8) waits a minute before it starts another cleanup.
    parameters = {"service_throttle_time": "1s"}
    with Stack(tmp_path_factory.mktemp("sweep"), parameters=parameters) as stack:
        stack.enrol(alice.address, alice.certificate)
        yield stack


@pytest.fixture
def orphan(own: Stack) -> Iterator[tuple[Path, Canaries]]:
    """A file that a killed cleanup has left, with these words in it."""
    canaries = Canaries()
    client = begun(own, canaries.message(body_octets=200_000))
    path = incoming(own)
    os.kill(writer(path), signal.SIGKILL)
    wait_until(lambda: holders(path) == [], "cleanup gone")
    client.close()
    yield path, canaries
    path.unlink(missing_ok=True)


def begun(stack: Stack, message: bytes) -> smtplib.SMTP:
    """Return a client that has handed in all of `message` but its end."""
    client = smtplib.SMTP(*stack.layout.address("smtp"), "client.outside.test", timeout=60)
    client.ehlo()
    client.mail("sender@outside.test")
    client.rcpt("alice@example.test")
    client.docmd("DATA")
    client.send(message)
    wait_until(lambda: bool(stack.queue_files()), "a queue file")
    return client


def incoming(stack: Stack) -> Path:
    (path,) = (stack.layout.queue / "incoming").iterdir()
    return path


def holders(path: Path) -> list[int]:
    """Return the processes that have it open."""
    found = []
    for descriptors in Path("/proc").glob("[0-9]*/fd"):
        try:
            links = [os.readlink(link) for link in descriptors.iterdir()]
        except OSError:
            continue
        if str(path) in links:
            found.append(int(descriptors.parent.name))
    return found


def writer(path: Path) -> int:
    wait_until(lambda: len(holders(path)) == 1, "cleanup has it open")
    return holders(path)[0]


def sweep(stack: Stack, *options: str) -> Result:
    config = str(stack.layout.postfix / "etc")
    return CliRunner().invoke(main, ["sweep-queue", "--config-directory", config, *options])


def grow_old(path: Path) -> None:
    then = time.time() - 3665
    os.utime(path, (then, then))


def test_what_a_killed_cleanup_leaves(own: Stack, orphan: tuple[Path, Canaries]) -> None:
    """It holds the message, no command of Postfix's lists it, and Postfix does not remove it."""
    path, canaries = orphan

    assert b"body" in path.read_bytes()
    assert canary.betrayals(path.read_bytes(), [canaries.subject, canaries.body])
    assert [] == own.queue()
    assert 0o600 == path.stat().st_mode & 0o777


def test_it_is_found_when_it_is_an_hour_old(own: Stack, orphan: tuple[Path, Canaries]) -> None:
    """Not before; reported only, unless it is to be removed."""
    path, _ = orphan
    assert (0, "") == (sweep(own, "--remove").exit_code, sweep(own).output)
    grow_old(path)

    reported = sweep(own)
    assert 1 == reported.exit_code
    assert f"orphan {path}: {path.stat().st_size} octets, 61 minutes old\n" == reported.output
    assert path.exists()

    (said,) = json.loads(sweep(own, "--json").output)
    assert (str(path), False) == (said["path"], said["is_removed"])

    removed = sweep(own, "--remove")
    assert (0, f"removed {path}") == (removed.exit_code, removed.output.partition(":")[0])
    assert not path.exists()
    assert (0, "") == (sweep(own).exit_code, sweep(own).output)


def test_the_account_of_the_unit_may(own: Stack, orphan: tuple[Path, Canaries]) -> None:
    """`postfix`, without any capability; another account may not, and is told so."""
    path, _ = orphan
    grow_old(path)
    config = ["--config-directory", str(own.layout.postfix / "etc"), "--remove"]

    refused = swept_by("nobody", config)
    assert os.EX_IOERR == refused.returncode, refused.stderr
    assert b"run as root or postfix" in refused.stderr
    assert path.exists()

    done = swept_by("postfix", config)
    assert 0 == done.returncode, done.stderr
    assert not path.exists()


def swept_by(account: str, config: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    """Run it in the name of `account`, who need not be able to read this checkout."""
    entry = pwd.getpwnam(account)
    become = f"import os; os.setgroups([]); os.setgid({entry.pw_gid}); os.setuid({entry.pw_uid})"
    # All is imported before.
    program = (
        "from letterlock.cli import main; from letterlock.cli.lazy_group import commands_of; "
        f"commands_of(main); {become}; main()"
    )
    command = [sys.executable, "-c", program, "sweep-queue", *config]
    return subprocess.run(command, capture_output=True, check=False)


def test_a_message_that_is_being_received_stays(own: Stack) -> None:
    """However long its client takes: cleanup has it open."""
    before = len(own.maildir("alice@example.test"))
    client = begun(own, messages.PLAIN)
    path = incoming(own)
    grow_old(path)

    swept = sweep(own, "--older-than", "1", "--remove")
    client.send(b".\r\n")
    code, _ = client.getreply()
    client.close()

    assert (0, "") == (swept.exit_code, swept.output)
    assert 250 == code
    own.wait_for_mail("alice@example.test", before + 1)


def test_a_queue_in_use_loses_nothing(own: Stack) -> None:
    """Swept without a pause, and without regard to age, while mail comes in."""
    before = len(own.maildir("alice@example.test"))
    command = [sys.executable, "-c", KEEP_SWEEPING, str(own.layout.queue)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as sweeper:
        assert sweeper.stdout is not None
        sweeper.stdout.readline()
        for number in range(60):
            own.send(Canaries().message(number=number), "alice@example.test")
        own.wait_for_mail("alice@example.test", before + 60)
        own.wait_until_queue_is_empty()
        output, _ = sweeper.communicate(b"")

    assert before + 60 == len(own.maildir("alice@example.test"))
    *orphans, sweeps = output.split()
    assert [] == orphans
    assert int(sweeps) > 100


def test_deferred_mail_stays(own: Stack) -> None:
    """What is complete is Postfix's, wherever it waits."""
    own.stop_daemon("dovecot")
    try:
        own.send(messages.PLAIN, "alice@example.test")
        wait_until(
            lambda: any(each["queue_name"] == "deferred" for each in own.queue()), "deferred"
        )
        for path in own.queue_files():
            grow_old(path)
        before = own.queue_files()
        swept = sweep(own, "--older-than", "1", "--remove")
        assert (0, "") == (swept.exit_code, swept.output)
        assert before == own.queue_files()
    finally:
        own.start_daemon("dovecot")
    subprocess.run(["postqueue", "-c", str(own.layout.postfix / "etc"), "-f"], check=True)
    own.wait_until_queue_is_empty()


def test_all_instances_are_swept(own: Stack, tmp_path: Path) -> None:
    """Those that the named one knows of (`multi_instance_directories`)."""
    other = tmp_path / "other"
    main_directory = tmp_path / "main"
    for directory, queue in ((other, tmp_path / "spool"), (main_directory, own.layout.queue)):
        directory.mkdir()
        text = f"queue_directory = {queue}\ncompatibility_level = 3.6\n"
        if directory == main_directory:
            text += f"multi_instance_directories = {other}\n"
        (directory / "main.cf").write_text(text)
        (directory / "master.cf").touch()

    assert [own.layout.queue, tmp_path / "spool"] == queue_directories(str(main_directory))


def test_settings_that_cannot_be_read(tmp_path: Path) -> None:
    """One clear line."""
    done = CliRunner().invoke(main, ["sweep-queue", "--config-directory", str(tmp_path)])

    assert os.EX_IOERR == done.exit_code
    assert "main.cf" in done.stderr
    assert 1 == len(done.stderr.splitlines())
