"""Dovecot's list of UIDs: which lines change, and who may change it."""

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from letterlock.reencryption import uidlist
from letterlock.reencryption.store import StoreFailed
from letterlock.reencryption.uidlist import UIDLIST, locked, rename


def renamed(folder: Path, text: str, **names: str) -> str:
    (folder / UIDLIST).write_text(text)
    rename(folder, names)
    return (folder / UIDLIST).read_text()


def test_only_the_name_changes(tmp_path: Path) -> None:
    """Header, other records and their extensions stay as they are."""
    text = "3 V1 N9 Gaa Xb\n1 :one\n2 G5 O7 :two\n4 :four\n"

    assert "3 V1 N9 Gaa Xb\n1 Gone :new\n2 G5 O7 :two\n4 :four\n" == renamed(
        tmp_path, text, one="new"
    )
    assert "3 V1 N9 Gaa Xb\n1 :one\n2 G5 O7 :new\n4 :four\n" == renamed(tmp_path, text, two="new")


def test_sizes_are_not_kept(tmp_path: Path) -> None:
    """They are in the new name. A UIDL that is the file name is written out."""
    text = "3 V1 N9\n1 S5 W6 P Zz :one\n"

    assert "3 V1 N9\n1 Pone Zz Gone :new\n" == renamed(tmp_path, text, one="new")


def test_a_uid_that_dovecot_gave_the_new_file_goes(tmp_path: Path) -> None:
    """After a crash it may have met both; the older UID is the message's."""
    text = "3 V1 N9\n1 :one\n7 :new\n"

    assert "3 V1 N9\n1 Gone :new\n" == renamed(tmp_path, text, one="new")


def test_without_the_old_name_nothing_changes(tmp_path: Path) -> None:
    """The UID that the new file has stays."""
    text = "3 V1 N9\n7 :new\n"

    assert text == renamed(tmp_path, text, one="new")


def test_flags_in_the_list_do_not_matter(tmp_path: Path) -> None:
    """Base file names are compared, and written."""
    assert "3 V1 N9\n1 Gone :new\n" == renamed(tmp_path, "3 V1 N9\n1 :one:2,S\n", one="new")


@pytest.mark.parametrize("text", ["1 1 2\n1 one\n", "", "rubbish", "4 V1 N9\n1 :one\n"])
def test_other_forms_are_left_alone(tmp_path: Path, text: str) -> None:
    """Of Courier, or of a Dovecot to come: the files get new UIDs."""
    assert text == renamed(tmp_path, text, one="new")


def test_no_list_is_no_trouble(tmp_path: Path) -> None:
    """Nor is one made."""
    rename(tmp_path, {"one": "new"})

    assert [] == list(tmp_path.iterdir())


def test_names_may_be_any_octets(tmp_path: Path) -> None:
    """File names are no text."""
    old, new = (os.fsdecode(name) for name in (b"\xff1", b"\xfe2"))
    (tmp_path / UIDLIST).write_bytes(b"3 V1 N9\n1 :\xff1\n")
    rename(tmp_path, {old: new})

    assert b"3 V1 N9\n1 G\xff1 :\xfe2\n" == (tmp_path / UIDLIST).read_bytes()


def test_permissions_stay(tmp_path: Path) -> None:
    """Of a list that a group shares."""
    (tmp_path / UIDLIST).write_text("3 V1 N9\n1 :one\n")
    (tmp_path / UIDLIST).chmod(0o660)
    rename(tmp_path, {"one": "new"})

    assert 0o660 == (tmp_path / UIDLIST).stat().st_mode & 0o777


def test_the_lock_of_a_dead_process_is_broken(tmp_path: Path) -> None:
    """As Dovecot does it, after two seconds."""
    child = subprocess.Popen(["true"])
    child.wait()
    lock = hold(tmp_path, f"{child.pid}:{socket.gethostname()}", seconds_ago=3)
    with locked(tmp_path):
        assert f"{os.getpid()}:{socket.gethostname()}" == lock.read_text()


@pytest.mark.parametrize("host", ["here", "elsewhere"])
def test_the_lock_of_a_living_process_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """However old, if it lives here; on another host until it is stale."""
    monkeypatch.setattr(uidlist, "WAIT_SECONDS", 0.3)
    name = socket.gethostname() if host == "here" else "elsewhere.test"
    lock = hold(tmp_path, f"{os.getppid()}:{name}", 10_000 if host == "here" else 60)
    with pytest.raises(StoreFailed, match="somebody holds it"), locked(tmp_path):
        pass
    assert lock.exists()


def test_a_stale_lock_of_another_host_is_broken(tmp_path: Path) -> None:
    """After two minutes, as Dovecot does it."""
    hold(tmp_path, "1:elsewhere.test", 130)
    with locked(tmp_path):
        pass


def hold(folder: Path, holder: str, seconds_ago: float) -> Path:
    lock = folder / f"{UIDLIST}.lock"
    lock.write_text(holder)
    then = time.time() - seconds_ago
    os.utime(lock, (then, then))
    return lock
