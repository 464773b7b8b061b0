"""Changes to a domain's keys: states, files, and commands that are killed half way."""

import os
import threading
from pathlib import Path

import pytest

from letterlock.dkim import domain_keys, key_files
from letterlock.dkim.domain_keys import DomainKeys, KeysRefused
from letterlock.dkim.key_files import State
from letterlock.dkim.key_record import NOT_PUBLISHED, PUBLISHED, Publication
from letterlock.dkim.signer import Signer

DOMAIN = "example.org"
NOW = 1_790_000_000
DAY = 86_400


def everything(_domain: str, _signer: Signer) -> Publication:
    """Say that a record is there."""
    return PUBLISHED


def nothing(_domain: str, _signer: Signer) -> Publication:
    """Say that a record is not there."""
    return NOT_PUBLISHED


def states(keys: DomainKeys) -> list[str]:
    """Return the states in the order of making."""
    return [key.state.value for key in keys.known()]


@pytest.fixture
def keys(tmp_path: Path) -> DomainKeys:
    """A domain with active keys since NOW."""
    keys = DomainKeys(tmp_path / "dkim", DOMAIN)
    keys.generate(2048, NOW)
    keys.activate(everything, NOW)
    return keys


def test_a_life(keys: DomainKeys) -> None:
    """Active, retired two weeks later gone; the successors beside them."""
    assert ["active"] * 2 == states(keys)
    keys.rotate(2048, NOW + DAY)
    assert ["active"] * 2 + ["new"] * 2 == states(keys)
    keys.activate(everything, NOW + 2 * DAY)
    assert ["retired"] * 2 + ["active"] * 2 == states(keys)
    assert () == keys.remove(NOW + 16 * DAY - 1)
    gone = keys.remove(NOW + 16 * DAY)
    assert ["rsa20260921", "ed20260921"] == [key.selector for key in gone]
    assert ["active"] * 2 == states(keys)


def test_repetition_changes_nothing(keys: DomainKeys) -> None:
    """A command that is typed twice does what it does once."""
    new = keys.rotate(2048, NOW)
    assert new == keys.rotate(2048, NOW + 1)
    keys.activate(everything, NOW)
    once = keys.known()
    assert ((), ()) == keys.activate(everything, NOW + 9)
    assert () == keys.remove(NOW)
    assert once == keys.known()


def test_generate_is_for_the_first_keys(keys: DomainKeys) -> None:
    """Typed for `rotate` it is refused, and the active keys stay."""
    before = keys.known()
    with pytest.raises(KeysRefused, match="rotate"):
        keys.generate(2048, NOW)
    assert before == keys.known()


def test_one_record_is_not_enough(keys: DomainKeys) -> None:
    """All new keys become active, or none."""
    new = keys.rotate(2048, NOW)
    before = keys.known()
    for missing in new:

        def look(_domain: str, signer: Signer, missing: str = missing.selector) -> Publication:
            return NOT_PUBLISHED if signer.selector == missing else PUBLISHED

        with pytest.raises(KeysRefused, match=f"{missing.selector}._domainkey") as refusal:
            keys.activate(look, NOW)
        assert "v=DKIM1; " in refusal.value.record
        assert before == keys.known()


def test_a_domain_without_keys(tmp_path: Path) -> None:
    """Only `generate` makes the first ones; a misspelled domain makes no directory."""
    with pytest.raises(KeysRefused):
        DomainKeys.existing(tmp_path, "exmaple.org")
    assert [] == list(tmp_path.iterdir())


def test_permissions(tmp_path: Path) -> None:
    """What is made belongs to the group of the directory around it, and to nobody else."""
    tmp_path.chmod(0o755)
    os.chown(tmp_path, -1, 12_345)
    DomainKeys(tmp_path / "dkim", DOMAIN).generate(2048, NOW)
    made = [tmp_path / "dkim", *sorted((tmp_path / "dkim").glob("**/*"))]
    assert 5 == len(made)
    assert {12_345} == {path.stat().st_gid for path in made}
    assert {0o750} == {path.stat().st_mode & 0o777 for path in made if path.is_dir()}
    assert {0o640} == {path.stat().st_mode & 0o777 for path in made if path.is_file()}


@pytest.mark.parametrize("call", ["write_signer", "write_keys"])
def test_killed_half_way(call: str, keys: DomainKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was active stays so, and the next call makes keys with other selectors."""

    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    before = keys.known()
    with monkeypatch.context() as patched:
        patched.setattr(domain_keys.key_files, call, killed)
        with pytest.raises(Killed):
            keys.rotate(2048, NOW)
    assert before == keys.known()
    new = keys.rotate(2048, NOW)
    assert {State.NEW} == {key.state for key in new}
    for key in keys.known():
        assert key.selector == keys.signer(key).selector


def test_a_full_disk(keys: DomainKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old files stay whole, and nothing temporary stays behind."""
    files = {path: path.read_bytes() for path in tmp_path.glob("**/*") if path.is_file()}

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(key_files.os, "fsync", full)
    for change in (keys.rotate, lambda *_: keys.remove(NOW)):
        with pytest.raises(OSError, match="No space"):
            change(2048, NOW)
    assert files == {path: path.read_bytes() for path in tmp_path.glob("**/*") if path.is_file()}


def test_two_at_once(keys: DomainKeys, tmp_path: Path) -> None:
    """Two operators who rotate at the same time get the same keys."""
    results = []
    barrier = threading.Barrier(2)

    def rotate() -> None:
        barrier.wait()
        results.append(DomainKeys(tmp_path / "dkim", DOMAIN).rotate(2048, NOW))

    threads = [threading.Thread(target=rotate) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results[0] == results[1]
    assert 4 == len(keys.known())
