"""The private stack itself: it comes up, runs beside others, and goes without a trace."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import pytest
import redis

from stack import NotReady, Owner, Stack, wait_until
from stack.processes import greets

MESSAGE = b"From: <a@outside.test>\r\nSubject: hello\r\n\r\nhello\r\n"


def stack(action: str, directory: Path) -> subprocess.CompletedProcess[bytes]:
    """Run what `./dev up` and `./dev down` run."""
    command = [sys.executable, "-m", "stack", action, str(directory)]
    support = str(Path(__file__).parents[1] / "support")
    environment = {**os.environ, "PYTHONPATH": support}
    return subprocess.run(command, capture_output=True, env=environment, timeout=120, check=False)


def processes_of(*directories: Path) -> list[str]:
    """Return command lines of processes that name one of `directories` or work in it."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            text = f"{words} {(entry / 'cwd').readlink()}"
            if entry.name.isdecimal() and any(str(d) in text for d in directories):
                found.append(text)
    return found


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that other accounts can reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="stack-test-") as name:
        yield Path(name)
        stack("down", Path(name))


def test_up_tells_where_everything_is_and_runs_until_down(directory: Path) -> None:
    """Every address in stack.json answers after `up` has returned; nothing is left by `down`."""
    up = stack("up", directory)
    assert 0 == up.returncode, up.stderr
    told = json.loads((directory / "stack.json").read_text())
    host, _, port = told["smtp"].partition(":")
    run = (directory / "run").resolve()

    assert greets((host, int(port)), b"220 ")
    assert greets(told["keyservice"])
    assert redis.Redis.from_url(told["redis"]).ping()
    for url in told["metrics"].values():
        with urlopen(url, timeout=10) as reply:
            assert 200 == reply.status
    assert Path(told["queue_directory"], "deferred").is_dir()
    assert {True} == {Path(path).exists() for path in told["config"].values()}
    assert {True} == {Path(f"/proc/{pid}").exists() for pid in told["pids"].values()}

    down = stack("down", directory)
    assert 0 == down.returncode, down.stderr
    assert [] == processes_of(directory, run)
    assert not run.exists()


def test_two_stacks_run_side_by_side(tmp_path: Path) -> None:
    """Mail sent to one does not arrive in the other, and ending one leaves the other alone."""
    with Owner("alice@example.test") as alice, Stack(tmp_path / "a") as one:
        with Stack(tmp_path / "b") as other:
            for each in (one, other):
                each.enrol(alice.address, alice.certificate)
            one.send(MESSAGE, alice.address)
            one.wait_for_mail(alice.address)
            assert [] == other.maildir(alice.address)
        one.send(MESSAGE, alice.address)

        assert 2 == len(one.wait_for_mail(alice.address, 2))


def test_a_directory_that_other_accounts_cannot_reach_will_do(tmp_path: Path) -> None:
    """Postfix and Dovecot give up root; pytest's directory is root's alone."""
    assert not tmp_path.parent.parent.stat().st_mode & 0o001

    with Owner("alice@example.test") as alice, Stack(tmp_path / ("long-" * 20)) as running:
        running.enrol(alice.address, alice.certificate)
        running.send(MESSAGE, alice.address)
        (stored,) = running.wait_for_mail(alice.address)

        assert b"Subject: hello" in alice.read(stored)


def test_a_second_up_in_the_same_directory_is_refused(directory: Path) -> None:
    """It would lose the account of what the first has started."""
    with Stack(directory), pytest.raises(NotReady, match="already"):
        Stack(directory)


def test_down_ends_what_an_interrupted_up_has_started(directory: Path) -> None:
    """`up` killed in the middle leaves an account of what it had started by then."""
    command = [sys.executable, "-m", "stack", "up", str(directory)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "support")}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as up:
        account = directory / "started.jsonl"
        wait_until(
            lambda: account.exists() and "dovecot" in account.read_text(),
            "something has been started",
        )
        up.send_signal(signal.SIGKILL)
    run = (directory / "run").resolve()
    assert [] != processes_of(directory, run)

    stack("down", directory)

    assert [] == processes_of(directory, run)


def test_a_daemon_that_does_not_start_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    """And whatever had started before it is gone again."""
    broken = Stack(tmp_path)
    (broken.layout.config / "letterlock.toml").write_text("no = such key")
    run = broken.layout.run

    with pytest.raises(NotReady, match=r"milter.*\n[^$]*letterlock.toml"):
        broken.start()

    assert [] == processes_of(tmp_path, run)


def test_down_where_nothing_runs_is_no_error(directory: Path) -> None:
    """Cleaning up can always be tried."""
    assert 0 == stack("down", directory).returncode
