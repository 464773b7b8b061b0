"""The Ansible module that adds our lines to a Postfix: all of them, only them, and back again."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from letterlock import postfix
from letterlock.postfix_findings import Expected, Severity
from letterlock.postfix_rules import findings
from stack.fragments import FRAGMENTS
from stack.postfix import age

ROLE = Path(__file__).parents[2] / "ansible" / "roles" / "letterlock_postfix"
PLACEHOLDERS = {
    "MILTER": "unix:letterlock/milter.sock",
    "REENTRY": "127.0.0.1:10027",
    "SUBMISSION": "unix:letterlock/submission.sock",
    "SOCKETMAP": "unix:letterlock/socketmap.sock",
    "SENDER_LOGINS": "hash:/etc/postfix/sender_logins",
    "CLIENT_CA": "/var/lib/letterlock-keyservice/client-ca.pem",
    "SASL": "private/auth",
}
INBOUND = ("",)
BOTH = ("", "submission-")
NONE = ()

MAIN = """\
# The operator's own words stay.
compatibility_level = 3.6
myhostname = mx.example.test
smtpd_milters = inet:localhost:11332,
    unix:opendkim/opendkim.sock

# and where they are
mydestination = $myhostname
smtpd_relay_restrictions = permit_mynetworks  reject_unauth_destination
"""


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    """Return a configuration directory as an operator has it: Debian's, and a rspamd."""
    directory = tmp_path / "etc"
    directory.mkdir()
    (directory / "main.cf").write_text(MAIN)
    master = Path("/usr/share/postfix/master.cf.dist").read_text()
    (directory / "master.cf").write_text(f"{master}# the end\n")
    age(directory)
    return directory


def wire(
    instance: Path, parts: Sequence[str], *, check: bool = False, **more: object
) -> dict[str, Any]:
    """Run the module and return its answer."""
    arguments = {
        "directory": str(instance),
        "record": str(instance.parent / "record"),
        "placeholders": PLACEHOLDERS,
        "fragments": [str(FRAGMENTS / f"{p}{f}.cf.in") for p in parts for f in ("main", "master")],
        "tables": [str(FRAGMENTS / f"letterlock-{p}received.regexp.in") for p in parts],
        "_ansible_check_mode": check,
        **more,
    }
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(ROLE)],
        input=json.dumps(arguments),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("\n{"), done.stderr
    age(instance)
    return dict(json.loads(done.stdout))


_RUN = """\
import json, runpy, sys
import ansible.module_utils
from ansible.module_utils.testing import patch_module_args
ansible.module_utils.__path__.append(f"{sys.argv[1]}/module_utils")
with patch_module_args(json.load(sys.stdin)):
    runpy.run_path(f"{sys.argv[1]}/library/letterlock_postfix_lines.py", run_name="__main__")
"""
"""What Ansible does on the host, without its second and a half."""


def contents(directory: Path) -> dict[str, bytes]:
    """Return all files of a directory."""
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def postconf(instance: Path, *options: str) -> str:
    """Return what postconf(1) says, warnings included."""
    line = ["postconf", "-c", str(instance), *options]
    done = subprocess.run(line, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()


@pytest.mark.parametrize("parts", [INBOUND, BOTH])
def test_doctor_has_nothing_to_correct_afterwards(instance: Path, parts: Sequence[str]) -> None:
    """All lines are there, in a Postfix that had lines of its own."""
    assert wire(instance, parts)["changed"]

    found = findings(postfix.read(str(instance)), Expected(reentry=PLACEHOLDERS["REENTRY"]))
    assert [] == [f for f in found if f.severity is Severity.BREACH]


@pytest.mark.parametrize("parts", [INBOUND, BOTH])
def test_a_second_time_changes_nothing(instance: Path, parts: Sequence[str]) -> None:
    """What is there already is left as it is."""
    wire(instance, parts)
    before = contents(instance)

    assert not wire(instance, parts)["changed"]
    assert before == contents(instance)


@pytest.mark.parametrize("parts", [INBOUND, BOTH])
def test_taken_out_again_every_file_is_what_it_was(instance: Path, parts: Sequence[str]) -> None:
    """Octet for octet, comments and line breaks included."""
    before = contents(instance)
    wire(instance, parts)

    assert wire(instance, NONE)["changed"]
    assert before == contents(instance)
    assert not (instance.parent / "record").exists()


def test_what_the_operator_wrote_stays(instance: Path) -> None:
    """His comments, his parameters and his milters, ours behind them."""
    wire(instance, BOTH)

    text = (instance / "main.cf").read_text()
    assert "# The operator's own words stay.\n" in text
    assert "smtpd_relay_restrictions = permit_mynetworks  reject_unauth_destination\n" in text
    assert (
        "inet:localhost:11332, unix:opendkim/opendkim.sock $letterlock_milter"
        == postconf(instance, "-h", "smtpd_milters").strip()
    )
    assert "# the end\n" in (instance / "master.cf").read_text()


def test_what_he_changed_afterwards_is_not_taken_back(instance: Path) -> None:
    """A milter of his that came later stays, and so does a value that he corrected."""
    wire(instance, INBOUND)
    postconf(instance, "-e", "smtpd_milters=inet:localhost:7777 $letterlock_milter")
    postconf(instance, "-e", "smtpd_forbid_bare_newline=reject")

    answer = wire(instance, NONE)

    assert ["smtpd_forbid_bare_newline"] == answer["left"]
    assert "inet:localhost:7777" == postconf(instance, "-h", "smtpd_milters").strip()
    assert "reject" == postconf(instance, "-h", "smtpd_forbid_bare_newline").strip()
    assert "letterlock" not in postconf(instance, "-M")


def test_submission_can_be_taken_out_alone(instance: Path, tmp_path: Path) -> None:
    """What the operator had as `submission` is back; mail from outside passes the milter still."""
    postconf(instance, "-M", "submission/inet=submission inet n - y - - smtpd -o own=1")
    before = contents(instance)
    wire(instance, INBOUND)
    inbound = contents(instance)
    wire(instance, BOTH)

    wire(instance, INBOUND)

    assert postconf_of(inbound, tmp_path) == postconf(instance, "-n") + postconf(instance, "-M")
    wire(instance, NONE)
    assert before == contents(instance)


def postconf_of(files: dict[str, bytes], scratch: Path) -> str:
    """Return what postconf(1) says of `files`, under the name of the instance."""
    other = scratch / "other"
    other.mkdir()
    for name, content in files.items():
        (other / name).write_bytes(content)
    said = postconf(other, "-n") + postconf(other, "-M")
    return said.replace(str(other), str(scratch / "etc"))


def test_behind_postscreen_the_server_that_speaks_gets_our_option(instance: Path) -> None:
    """`smtp` is postscreen(8) then, and mail goes through `smtpd pass`."""
    postconf(instance, "-M", "smtp/inet=smtp inet n - y - 1 postscreen")
    postconf(instance, "-M", "smtpd/pass=smtpd pass - - y - - smtpd")

    wire(instance, INBOUND)

    assert "smtpd/pass/cleanup_service_name = letterlock-cleanup\n" in postconf(instance, "-P")
    assert "smtp/inet/" not in postconf(instance, "-P")


def test_check_mode_shows_and_changes_nothing(instance: Path) -> None:
    """`--check --diff` names the lines."""
    before = contents(instance)

    answer = wire(instance, INBOUND, check=True)

    assert answer["changed"]
    assert any("letterlock_milter" in diff["after"] for diff in answer["diff"])
    assert before == contents(instance)
    assert not (instance.parent / "record").exists()


def test_a_placeholder_without_a_value_changes_nothing(instance: Path) -> None:
    """The answer names it."""
    before = contents(instance)

    answer = wire(instance, INBOUND, placeholders={"REENTRY": "127.0.0.1:1"})

    assert "main.cf.in: nothing was given for @MILTER@" == answer["msg"]
    assert before == contents(instance)


def test_what_postfix_does_not_take_changes_nothing(instance: Path, tmp_path: Path) -> None:
    """A line that Postfix warns about is not installed."""
    before = contents(instance)
    (tmp_path / "main.cf.in").write_text("smtpd_milter = inet:localhost:1\n")
    (tmp_path / "master.cf.in").write_text("")

    fragments = [str(tmp_path / "main.cf.in"), str(tmp_path / "master.cf.in")]
    answer = wire(instance, INBOUND, fragments=fragments)

    assert "smtpd_milter" in answer["msg"]
    assert before == contents(instance)
