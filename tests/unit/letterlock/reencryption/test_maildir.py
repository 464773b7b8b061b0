"""Files of a Maildir replaced: at every moment one of the two is there, and in the end one."""

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

import killed
from fake_keyservice import MemoryOwner
from letterlock.message import split
from letterlock.reencryption import uidlist
from letterlock.reencryption.engine import Audience, Engine, Fate, Pace, Summary
from letterlock.reencryption.maildir import JOURNAL, STAGED, Maildir
from letterlock.reencryption.maildir_name import MaildirName
from letterlock.reencryption.store import StoreFailed
from stored_mail import encryption, is_encrypted, original

OWNER = MemoryOwner("alice@example.test")
ENCRYPTION = encryption(OWNER)


def message(number: int) -> bytes:
    return b"From: a@outside.test\nMessage-ID: <%d>\nSubject: x\n\nbody %d\n" % (number, number)


def put(folder: Path, number: int, name: str, part: str = "cur") -> Path:
    for each in ("cur", "new", "tmp"):
        (folder / each).mkdir(parents=True, exist_ok=True)
    path = folder / part / name
    path.write_bytes(message(number))
    os.utime(path, (1_600_000_000 + number, 1_600_000_000 + number))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A Maildir of Dovecot's with four messages in two folders."""
    root = tmp_path / "Maildir"
    put(root, 1, "1.M1P1.h,S=60,W=65:2,S")
    put(root, 2, "2.M1P1.h:2,")
    put(root, 3, "3.M1P1.h,S=60:2,Ta")
    put(root / ".Archive", 4, "4.M1P1.h,S=60", part="new")
    (root / "dovecot-uidlist").write_text(
        "3 V1 N30 Gaa\n10 W65 :1.M1P1.h,S=60,W=65\n11 Pold :2.M1P1.h\n12 :gone\n20 :3.M1P1.h,S=60\n"
    )
    (root / ".Archive" / "dovecot-uidlist").write_text("3 V2 N9 Gbb\n8 :4.M1P1.h,S=60\n")
    for folder in (root, root / ".Archive"):
        (folder / "dovecot.index.log").touch()
        (folder / "dovecot.index.cache").touch()
    return root


def run(root: Path, is_dry: bool = False) -> Summary:
    store = Maildir(root)
    try:
        audience = Audience(lambda _fate, _messages: None, lambda _where, _why: None)
        summary = Engine(store, ENCRYPTION, audience, Pace(), is_dry=is_dry).run()
        if not is_dry:
            list(store.finish())
    finally:
        store.close()
    return summary


def stored(root: Path) -> list[Path]:
    return sorted(path for part in ("cur", "new") for path in root.glob(f"**/{part}/*"))


def numbers(root: Path) -> Counter[int]:
    """Return how often each message is there, in whichever form; none wrapped twice."""
    return Counter(_number(path.read_bytes()) for path in stored(root))


def _number(octets: bytes) -> int:
    plain = original(OWNER, octets) if is_encrypted(octets) else octets
    number = int(split(plain)[0].named(b"message-id")[0].unfolded.strip(b"<>"))
    assert message(number) == plain
    return number


def uids(folder: Path) -> dict[int, int]:
    """Return the number of the message that each UID stands for, as Dovecot would look it up."""
    files = {path.name.partition(":")[0]: path for path in stored(folder)}
    rows = (folder / "dovecot-uidlist").read_text().splitlines()[1:]
    bases = {int(row.split()[0]): row.partition(" :")[2] for row in rows}
    return {uid: _number(files[b].read_bytes()) for uid, b in bases.items() if b in files}


def require_done(root: Path) -> None:
    """All is encrypted, and once; what it says of itself is true; nothing lies around."""
    assert {1: 1, 2: 1, 3: 1, 4: 1} == numbers(root)
    for path in stored(root):
        octets, status = path.read_bytes(), path.stat()
        name = MaildirName.parse(path.name)
        assert is_encrypted(octets)
        assert 1_600_000_000 + _number(octets) == status.st_mtime
        assert f"S={len(octets)}" in name.extras
        assert f"W={len(octets) + octets.count(bytes([10]))}" in name.extras
        assert 2 == len(name.extras)
        assert 1 == status.st_nlink
    flags = {_number(p.read_bytes()): (p.parent.name, p.name.partition(":")[2]) for p in stored(root)}
    assert {1: ("cur", "2,S"), 2: ("cur", "2,"), 3: ("cur", "2,Ta"), 4: ("new", "")} == flags
    left = {path.name for path in root.rglob("*") if path.is_file()} - {
        path.name for path in stored(root)
    }
    assert {"dovecot-uidlist", "dovecot.index.log"} == left


def test_everything_is_replaced(root: Path) -> None:
    """Flags, dates, UIDs, `new` and `cur` stay; sizes in names are true; caches go."""
    summary = run(root)

    assert {Fate.ENCRYPTED: 4} == summary.fates
    require_done(root)
    assert {10: 1, 11: 2, 20: 3} == uids(root)
    assert {8: 4} == uids(root / ".Archive")


def test_guid_and_uidl_stay(root: Path) -> None:
    """Both default to the file name, so its old form is written down; sizes are not kept."""
    run(root)
    records = (root / "dovecot-uidlist").read_text().splitlines()

    assert "3 V1 N30 Gaa" == records[0]
    assert records[1].startswith("10 G1.M1P1.h,S=60,W=65 :1.M1P1.h,S=")
    assert records[2].startswith("11 Pold G2.M1P1.h :2.M1P1.h,S=")
    assert "12 :gone" == records[3]


def test_a_second_run_changes_nothing(root: Path) -> None:
    """It finds all of it encrypted."""
    run(root)
    before = [(path, path.stat().st_mtime_ns, path.stat().st_ino) for path in stored(root)]

    assert {Fate.OURS: 4} == run(root).fates
    assert before == [(path, path.stat().st_mtime_ns, path.stat().st_ino) for path in stored(root)]


def test_a_dry_run_changes_nothing(root: Path) -> None:
    """It counts."""
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}

    summary = run(root, is_dry=True)

    assert {Fate.ENCRYPTED: 4} == summary.fates
    assert 0 < summary.octets_before < summary.octets_after
    assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_killed_at_any_moment_nothing_is_lost(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each call that changes a file: all is there, and the next run finishes it.

    UIDs stay as well, as long as Dovecot does not look at the folder before that.
    """
    monkeypatch.setattr(uidlist, "FRESH_SECONDS", -1.0)
    copy = tmp_path / "copy"
    count = 0

    def act() -> None:
        run(copy)

    shutil.copytree(root, copy)
    for moment in killed.moments(act):
        assert {1, 2, 3, 4} == set(numbers(copy)), moment
        run(copy)
        require_done(copy)
        assert {10: 1, 11: 2, 20: 3} == uids(copy), moment
        assert {8: 4} == uids(copy / ".Archive"), moment
        shutil.rmtree(copy)
        shutil.copytree(root, copy)
        count += 1
    assert count > 50


def test_killed_twice(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that finishes what another has left can be killed as well."""
    monkeypatch.setattr(uidlist, "FRESH_SECONDS", -1.0)
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(root, first)
    for number in killed.moments(lambda: run(first)):
        if number % 7 == 3:
            shutil.copytree(first, second, symlinks=True)
            for moment in killed.moments(lambda: run(second)):
                assert {1, 2, 3, 4} == set(numbers(second)), (number, moment)
            run(second)
            require_done(second)
            assert {10: 1, 11: 2, 20: 3} == uids(second)
            shutil.rmtree(second)
        shutil.rmtree(first)
        shutil.copytree(root, first)
