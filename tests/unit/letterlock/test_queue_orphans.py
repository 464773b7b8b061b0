"""What may be taken for an orphan, and what happens to others meanwhile."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from letterlock import queue_orphans
from letterlock.queue_orphans import Orphan, QueueUnreadable, sweep


@pytest.fixture
def queue(tmp_path: Path) -> Path:
    (tmp_path / "incoming").mkdir()
    return tmp_path


def put(queue: Path, name: str, mode: int = 0o600, age: float = 7200) -> Path:
    path = queue / "incoming" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"canary")
    path.chmod(mode)
    os.utime(path, (time.time() - age,) * 2)
    return path


def found(queue: Path, *, remove: bool = False) -> list[Path]:
    return [orphan.path for orphan in sweep(queue, time.time() - 3600, remove=remove)]


def test_an_orphan_is_reported_and_stays(queue: Path) -> None:
    """Unless it is to be removed."""
    path = put(queue, "4ABC")
    (orphan,) = sweep(queue, time.time() - 3600, remove=False)

    assert Orphan(path, 6, path.stat().st_mtime, False) == orphan
    assert path.exists()


def test_an_orphan_is_removed(queue: Path) -> None:
    """In hashed queues, too."""
    put(queue, "4ABC")
    put(queue, "D/4ABD")

    assert 2 == len(found(queue, remove=True))
    assert [] == [path for path in queue.rglob("*") if path.is_file()]


@pytest.mark.parametrize("mode", [0o700, 0o777, 0o100])
def test_complete_messages_stay(queue: Path, mode: int) -> None:
    """Postfix marks them by the owner's x bit, however old they are."""
    put(queue, "4ABC", mode, age=1_000_000)

    assert [] == found(queue, remove=True)
    assert (queue / "incoming" / "4ABC").exists()


def test_young_ones_stay(queue: Path) -> None:
    """A large message may take its time."""
    path = put(queue, "4ABC", age=3000)

    assert [] == found(queue, remove=True)
    assert path.exists()


@pytest.mark.parametrize("how", ["rb", "r+b"])
def test_what_a_process_has_open_stays(queue: Path, how: str) -> None:
    """This one or any other, for reading or writing."""
    path = put(queue, "4ABC")
    with path.open(how):
        assert [] == found(queue, remove=True)
    program = "import sys; f = open(sys.argv[1], sys.argv[2]); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.utime(path, (1, 1))
        assert [] == found(queue, remove=True)
        process.kill()
    assert path.exists()
    assert [path] == found(queue, remove=True)


@pytest.mark.parametrize("change", ["completed", "written to", "removed"])
def test_what_changes_between_two_looks_stays(
    queue: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """The last moment at which it can is before nobody else has it open."""
    path = put(queue, "4ABC")
    ask = queue_orphans._is_ours_alone

    def late(descriptor: int, where: Path) -> bool:
        match change:
            case "completed":
                path.chmod(0o700)
            case "written to":
                path.write_bytes(b"more")
            case "removed":
                path.unlink()
        return ask(descriptor, where)

    monkeypatch.setattr(queue_orphans, "_is_ours_alone", late)

    assert ([path] if change == "removed" else []) == found(queue, remove=True)
    assert (change != "removed") == path.exists()


def test_whoever_opens_it_afterwards_waits(queue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is removed: then he has a file that nobody else will ever see."""
    path = put(queue, "4ABC")
    fstat = os.fstat
    opened: list[subprocess.Popen[bytes]] = []

    def slow(descriptor: int) -> os.stat_result:
        opened.append(subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE))
        time.sleep(0.5)
        assert opened[0].poll() is None
        return fstat(descriptor)

    monkeypatch.setattr(queue_orphans.os, "fstat", slow)
    assert [path] == found(queue, remove=True)
    monkeypatch.undo()

    output, _ = opened[0].communicate(timeout=30)
    assert output in (b"canary", b"")
    assert not path.exists()


def test_other_things_stay(queue: Path) -> None:
    """Links and pipes are none of Postfix's; nothing is opened that would block."""
    incoming = queue / "incoming"
    outside = queue / "outside"
    outside.write_text("x")
    os.utime(outside, (1, 1))
    (incoming / "4LINK").symlink_to(outside)
    os.mkfifo(incoming / "4FIFO", 0o600)

    assert [] == found(queue, remove=True)
    assert {"4LINK", "4FIFO"} == {path.name for path in incoming.iterdir()}


def test_no_queue_no_orphans(tmp_path: Path) -> None:
    """An instance that was never started."""
    assert [] == found(tmp_path)


def test_what_cannot_be_told_is_no_orphan(queue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without leases: said, and nothing is removed."""
    path = put(queue, "4ABC")

    def none(*_: object) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(queue_orphans.fcntl, "fcntl", none)
    with pytest.raises(QueueUnreadable, match="does not say"):
        found(queue, remove=True)
    assert path.exists()
