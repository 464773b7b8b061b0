"""The demo keeps its promises, and says so only if that is true."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
DEADLINE_SECONDS = 200

# Tells where the stack is, and builds it with the settings on the command line.
_WITH_SETTINGS = """
import json, sys
from demo.__main__ import main
from stack import Stack

def stack_in(directory, **settings):
    print(directory.parent, file=sys.stderr, flush=True)
    return Stack(directory, **(settings | json.loads(sys.argv[1])))

sys.exit(main(stack_in))
"""


def start(settings: str = "{}") -> subprocess.Popen[str]:
    """Start the demo with further `settings` (JSON) for its stack."""
    return subprocess.Popen(
        [sys.executable, "-c", _WITH_SETTINGS, settings],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{TESTS / 'support'}:{TESTS}"},
    )


def finish(demo: subprocess.Popen[str]) -> tuple[str, Path]:
    """Return what the demo said, and where its stack was. Fails if it was not silent else."""
    said, errors = demo.communicate(timeout=DEADLINE_SECONDS)
    directory, _, unexpected = errors.partition("\n")
    assert "" == unexpected
    return said, Path(directory)


def processes_in(directory: Path) -> Sequence[str]:
    """Return the command lines of processes that work in `directory` or name it."""
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if str(directory) in f"{command} {os.readlink(process / 'cwd')}":
                found.append(command)
    return found


def test_every_promise_is_kept():
    """The demo ends with status 0, without control codes, and leaves nothing behind."""
    demo = start()
    said, directory = finish(demo)

    assert 0 == demo.returncode, said
    assert "promises were kept" in said
    assert "✗" not in said
    assert "\x1b" not in said
    assert not directory.exists()
    assert [] == processes_in(directory)


@pytest.mark.parametrize(
    ("settings", "broken"),
    [
        pytest.param(
            '{"parameters": {"smtpd_milters": ""}}',
            "Owners get back exactly what was sent",
            id="the milter is never asked",
        ),
        pytest.param(
            '{"domains": {"example.test": {"keep_outside": ["Subject"]}}}',
            "A thief who takes the disk finds no subject",
            id="the subject stays outside",
        ),
        pytest.param(
            '{"domains": {"example.test": {"without_certificate": "accept"}}}',
            "Without a certificate nothing is stored in the clear",
            id="plaintext is accepted",
        ),
        pytest.param(
            '{"domains": {"example.test": {"arrived_encrypted": "wrap"}}}',
            "What a sender encrypted stays as the sender encrypted it",
            id="encrypted mail is encrypted again",
        ),
        pytest.param(
            '{"domains": {"example.test": {"autocrypt": false}}}',
            "It was known because the mail before had brought it along",
            id="mail that leaves has no certificate with it",
        ),
    ],
)
def test_a_broken_promise_is_named_and_the_status_is_1(settings: str, broken: str):
    """With the stack set up so that a promise cannot be kept, the demo says which one."""
    demo = start(settings)
    said, directory = finish(demo)

    assert 1 == demo.returncode, said
    assert f"✗  {broken}" in said
    assert "promises were kept" not in said
    assert f"in {directory} to look at" in " ".join(said.split())
    assert [] == processes_in(directory)
    shutil.rmtree(directory)


def test_control_c_stops_the_stack():
    """Interrupted between two mails, the demo ends every daemon and removes the directory."""
    demo = start()
    assert demo.stdout is not None
    while "Mail 1 of 8" not in demo.stdout.readline():
        assert demo.poll() is None

    demo.send_signal(signal.SIGINT)
    said, directory = finish(demo)

    assert 130 == demo.returncode, said
    assert "The mail servers are stopped." in said
    assert not directory.exists()
    assert [] == processes_in(directory)
