"""Memory: a large mail costs a worker its buffers and no more."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import canary
from delivered import deliver_one
from stack import Owner, Stack

_LIMIT_KILOBYTES = 8 * 1024
_HEADER = b"Subject: large\r\nContent-Type: application/octet-stream\r\n\r\n"
_LINE = b"0123456789abcdef" * 4 + b"\r\n"


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory, alice: Owner) -> Iterator[Stack]:
    """A stack with one worker, so that it is known which one does the work."""
    with Stack(tmp_path_factory.mktemp("single"), workers=1) as stack:
        stack.enrol(alice.address, alice.certificate)
        yield stack


def _worker(stack: Stack) -> int:
    command_lines = {
        pid: Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in stack.pids("milter")
    }
    (pid,) = (pid for pid, line in command_lines.items() if b"--worker" in line)
    return pid


def _kilobytes(pid: int, name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


def _forget_peak(pid: int) -> None:
    # proc_pid_clear_refs(5): 5 sets the peak resident set size to the current value.
    Path(f"/proc/{pid}/clear_refs").write_text("5")


@pytest.mark.parametrize("megabytes", [1, 25])
def test_peak_above_idle(single: Stack, alice: Owner, megabytes: int) -> None:
    """At most 8 MB more than an idle worker that has encrypted before, whatever the size."""
    mail = _HEADER + _LINE * (megabytes * 1_000_000 // len(_LINE))
    for _ in range(3):
        deliver_one(single, _HEADER + _LINE * 1_000, alice.address)
    pid = _worker(single)
    idle = _kilobytes(pid, "VmRSS")
    _forget_peak(pid)

    stored = deliver_one(single, mail, alice.address)

    assert _LIMIT_KILOBYTES >= _kilobytes(pid, "VmHWM") - idle
    assert mail == stored.original(alice)


def test_memory_is_given_back(single: Stack, alice: Owner) -> None:
    """Ten large mails leave a worker no larger than the first one did."""
    mail = _HEADER + _LINE * 80_000
    deliver_one(single, mail, alice.address)
    pid = _worker(single)
    after_one = _kilobytes(pid, "VmRSS")

    for _ in range(9):
        deliver_one(single, mail, alice.address)

    assert 2 * 1024 >= _kilobytes(pid, "VmRSS") - after_one


def test_spilled_ciphertext_has_no_name_and_is_given_back(single: Stack, alice: Owner) -> None:
    """Nothing is left in the spill directory, and no descriptor stays open."""
    deliver_one(single, _HEADER + _LINE * 80_000, alice.address)
    spill = single.layout.state / "spill"

    assert [] == list(spill.iterdir())
    assert [] == canary.open_in(_worker(single), spill)
