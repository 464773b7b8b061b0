"""Files of a Maildir replaced: at every moment one of the two is there, and in the end one."""

import errno
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import killed
from fake_keyservice import MemoryOwner
from letterlock.message import split
from letterlock.reencryption import maildir_staging, uidlist
from letterlock.reencryption.engine import Audience, Engine, Fate, Pace, Summary
from letterlock.reencryption.maildir import JOURNAL, Maildir
from letterlock.reencryption.maildir_folder import Folder
from letterlock.reencryption.maildir_name import MaildirName
from letterlock.reencryption.maildir_staging import PREFIX
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
    flags = {
        _number(p.read_bytes()): (p.parent.name, p.name.partition(":")[2]) for p in stored(root)
    }
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


def kill_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk, nor for locks of the dead: nobody pulls the plug here."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    monkeypatch.setattr(uidlist, "FRESH_SECONDS", -1.0)
    monkeypatch.setattr(uidlist, "POLL_SECONDS", 0.0)


def test_killed_at_any_moment_nothing_is_lost(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each call that changes a file: all is there, and the next run finishes it.

    UIDs stay as well, as long as Dovecot does not look at the folder before that.
    """
    kill_only(monkeypatch)
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
    kill_only(monkeypatch)
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(root, first)
    for number in killed.moments(lambda: run(first)):
        if number % 24 == 3:
            shutil.copytree(first, second, symlinks=True)
            for moment in killed.moments(lambda: run(second)):
                assert {1, 2, 3, 4} == set(numbers(second)), (number, moment)
            run(second)
            require_done(second)
            assert {10: 1, 11: 2, 20: 3} == uids(second)
            shutil.rmtree(second)
        shutil.rmtree(first)
        shutil.copytree(root, first)


def interfering(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], object]) -> None:
    """Have `act` happen once, just before a folder does `name`."""
    todo = [act]
    call = getattr(Folder, name)

    def wrapped(*arguments: object) -> object:
        if todo:
            todo.pop()()
        return call(*arguments)

    monkeypatch.setattr(Folder, name, wrapped)


MOMENTS = ("is_unchanged", "link", "_retire")


@pytest.mark.parametrize("moment", MOMENTS)
def test_flags_that_change_meanwhile_are_kept(
    root: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Another program renames the file, at the latest moment, too; then another pass is needed."""
    old = root / "cur" / "1.M1P1.h,S=60,W=65:2,S"
    interfering(monkeypatch, moment, lambda: old.rename(f"{old}T"))

    run(root)

    assert {1: 1, 2: 1, 3: 1, 4: 1} == numbers(root)
    assert all(is_encrypted(path.read_bytes()) for path in stored(root))
    assert "2,ST" == _info(root, 1)
    assert {10: 1, 11: 2, 20: 3} == uids(root)


@pytest.mark.parametrize("moment", MOMENTS)
def test_mail_that_moves_from_new_to_cur_meanwhile(
    root: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """As a mail program does at its first look."""
    archive = root / ".Archive"
    for path in root.glob("cur/*"):
        path.unlink()
    moved = archive / "cur" / "4.M1P1.h,S=60:2,S"
    interfering(monkeypatch, moment, lambda: (archive / "new" / "4.M1P1.h,S=60").rename(moved))

    run(root)

    assert {4: 1} == numbers(root)
    (path,) = stored(root)
    assert ("cur", "2,S") == (path.parent.name, path.name.partition(":")[2])


@pytest.mark.parametrize("moment", MOMENTS)
def test_mail_that_is_removed_meanwhile_stays_removed(
    root: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """What was made of it goes, too."""
    interfering(monkeypatch, moment, (root / "cur" / "1.M1P1.h,S=60,W=65:2,S").unlink)

    summary = run(root)

    assert {2: 1, 3: 1, 4: 1} == numbers(root)
    assert {Fate.ENCRYPTED: 3, Fate.GONE: 1} == summary.fates


def test_mail_that_is_replaced_meanwhile(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the same name there is another message now: that is what counts."""
    path = root / "cur" / "1.M1P1.h,S=60,W=65:2,S"

    def replace() -> None:
        put(root, 7, "7").rename(path)

    interfering(monkeypatch, "is_unchanged", replace)
    run(root)

    assert {7: 1, 2: 1, 3: 1, 4: 1} == numbers(root)
    assert all(is_encrypted(each.read_bytes()) for each in stored(root))


def test_mail_that_is_moved_meanwhile_is_found_where_it_went(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To a folder that was looked at before: there is another pass."""
    old, new = root / ".Archive" / "new" / "4.M1P1.h,S=60", root / "cur" / "6.M1P1.h:2,"
    look = Folder.look

    def watched(folder: Folder) -> None:
        look(folder)
        if folder.path.name == ".Archive" and old.exists():
            old.rename(new)

    monkeypatch.setattr(Folder, "look", watched)
    run(root)

    assert {1: 1, 2: 1, 3: 1, 4: 1} == numbers(root)
    assert new.parent == _path(root, 4).parent
    assert all(is_encrypted(path.read_bytes()) for path in stored(root))


@pytest.mark.parametrize("moment", ["open", "locked", "link", "finish"])
def test_a_folder_that_is_removed_meanwhile(
    root: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Its mail has gone; the run goes on."""
    for path in root.glob("cur/*"):
        path.unlink()
    interfering(monkeypatch, moment, lambda: shutil.rmtree(root / ".Archive"))

    assert {Fate.GONE: 1} == run(root).fates
    assert {} == numbers(root)


def test_a_message_that_a_backup_brought_back(root: Path) -> None:
    """The name of its encrypted form is taken: both stay, encrypted."""
    run(root)
    put(root, 1, "1.M1P1.h,S=60,W=65:2,S")

    assert {Fate.ENCRYPTED: 1, Fate.OURS: 4} == run(root).fates
    assert {1: 2, 2: 1, 3: 1, 4: 1} == numbers(root)
    assert all(is_encrypted(path.read_bytes()) for path in stored(root))


def test_a_full_disk_stops_the_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was done stays, the rest is as it was."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(maildir_staging, "_write", full)
    with pytest.raises(StoreFailed, match="No space left"):
        run(root)

    assert {1: 1, 2: 1, 3: 1, 4: 1} == numbers(root)
    assert not any(root.glob("**/tmp/*"))


def test_others_files_in_tmp_stay(root: Path) -> None:
    """Somebody may be delivering; ours are rests of a run that was killed."""
    theirs, ours = root / "tmp" / "1.M1P1.h", root / ".Archive" / "tmp" / f"{PREFIX}1.0"
    theirs.touch()
    ours.touch()

    run(root)

    assert theirs.exists()
    assert not ours.exists()


def test_links_are_not_followed(root: Path, tmp_path: Path) -> None:
    """Neither those of files nor those of folders: they lead to mail of others."""
    elsewhere = tmp_path / "elsewhere"
    put(elsewhere, 9, "9.M1P1.h:2,")
    (root / "cur" / "link:2,").symlink_to(elsewhere / "cur" / "9.M1P1.h:2,")
    (root / ".Shared").symlink_to(elsewhere)

    assert {Fate.ENCRYPTED: 4} == run(root).fates
    assert message(9) == (elsewhere / "cur" / "9.M1P1.h:2,").read_bytes()


def test_nested_folders_are_found(root: Path) -> None:
    """LAYOUT=fs, and folders in folders."""
    put(root / "Work" / "2025", 5, "5.M1P1.h:2,")

    assert {Fate.ENCRYPTED: 5} == run(root).fates


def test_a_maildir_without_dovecot(tmp_path: Path) -> None:
    """There is nothing to lock and no UID to keep; the operator is told what he may know better."""
    root = tmp_path / "Maildir"
    put(root, 1, "1.M1P1.h:2,S")
    store = Maildir(root)

    (note,) = store.finish()
    store.close()
    run(root)

    assert "dovecot.index.cache" in note
    assert {1: 1} == numbers(root)
    assert "2,S" == _info(root, 1)


@pytest.mark.parametrize("missing", ["dovecot-uidlist", "dovecot.index.log"])
def test_dovecots_files_must_be_here(root: Path, missing: str) -> None:
    """UIDs would change, or caches keep plaintext, where they are elsewhere."""
    for path in root.rglob(missing):
        path.unlink()

    with pytest.raises(StoreFailed, match="go by IMAP"):
        run(root)
    assert not any(is_encrypted(path.read_bytes()) for path in stored(root))


def test_one_run_at_a_time(root: Path) -> None:
    """Two would finish each other's work."""
    first = Maildir(root)
    try:
        with pytest.raises(StoreFailed, match="another run"):
            Maildir(root)
    finally:
        first.close()
    run(root)


def test_what_is_no_maildir_is_refused(tmp_path: Path) -> None:
    """Nor is a journal believed that cannot be read."""
    with pytest.raises(StoreFailed, match="no Maildir"):
        Maildir(tmp_path)
    put(tmp_path, 1, "1")
    (tmp_path / JOURNAL).write_text("{")
    with pytest.raises(StoreFailed, match=JOURNAL):
        run(tmp_path)


def test_a_search_index_is_named(root: Path) -> None:
    """It holds the words of the mail, and only its program can remove them properly."""
    (root / "fts-flatcurve").mkdir()
    store = Maildir(root)

    assert f"{root}/fts-flatcurve holds words of the mail: remove it" in list(store.finish())
    store.close()


def _path(root: Path, number: int) -> Path:
    (found,) = (path for path in stored(root) if _number(path.read_bytes()) == number)
    return found


def _info(root: Path, number: int) -> str:
    return _path(root, number).name.partition(":")[2]
