"""postfix-conf/ as a whole: Postfix takes every line, and doctor has nothing to correct."""

import re
import subprocess
from pathlib import Path

import pytest

from letterlock import postfix
from letterlock.postfix_findings import Expected, Severity
from letterlock.postfix_rules import findings
from stack.fragments import FRAGMENTS, fragment, merged
from stack.postfix import age

REENTRY = "127.0.0.1:10027"


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    """A configuration directory: Debian's master.cf and an empty main.cf, with our lines added."""
    main = fragment("main.cf", {"MILTER": "unix:letterlock/milter.sock"})
    ours = fragment("master.cf", {"CHROOT": "y", "REENTRY": REENTRY})
    debian = Path("/usr/share/postfix/master.cf.dist").read_text()
    received = fragment("letterlock-received.regexp", {"MYHOSTNAME": r"mx\.example\.test"})
    (tmp_path / "main.cf").write_text(
        f"compatibility_level = 3.6\nmyhostname = mx.example.test\n{main}"
    )
    (tmp_path / "master.cf").write_text(merged(debian, ours))
    (tmp_path / "letterlock-received.regexp").write_text(received)
    age(tmp_path)
    return tmp_path


@pytest.mark.parametrize("option", ["-n", "-M", "-P", "-x"])
def test_postconf_takes_every_line_without_a_warning(instance: Path, option: str) -> None:
    """Unknown parameters, unused names and malformed lines would be warned about."""
    done = subprocess.run(["postconf", "-c", instance, option], capture_output=True, check=True)

    assert b"" == done.stderr


def test_a_misspelt_parameter_would_be_noticed(instance: Path) -> None:
    """The test above can fail: postconf warns about what it does not know."""
    with (instance / "main.cf").open("a") as main:
        main.write("smtpd_milter = $letterlock_milter\n")

    assert postfix.read(str(instance)).warnings != []


def test_doctor_has_nothing_to_correct_in_the_fragments(instance: Path) -> None:
    """What we tell the operator to write is what we ask him for."""
    found = findings(postfix.read(str(instance)), Expected(reentry=REENTRY))

    assert [] == [f for f in found if f.severity is Severity.BREACH]


def test_every_line_is_explained_in_the_readme() -> None:
    """Each parameter of the fragments has its reason in README.md."""
    readme = (FRAGMENTS / "README.md").read_text()
    main = re.findall(r"(?m)^([a-z_]+) =", (FRAGMENTS / "main.cf.in").read_text())
    options = re.findall(r"(?m)^  -o ([a-z_]+)=", (FRAGMENTS / "master.cf.in").read_text())

    assert set() == {name for name in [*main, *options] if name not in readme}


def test_every_parameter_is_in_the_manual() -> None:
    """The manual page that README.md refers to knows each parameter."""
    known = subprocess.run(["postconf", "-d"], capture_output=True, check=True, text=True).stdout
    names = set(re.findall(r"(?m)^([a-z0-9_]+) =", known))
    main = re.findall(r"(?m)^([a-z_]+) =", (FRAGMENTS / "main.cf.in").read_text())
    options = re.findall(r"(?m)^  -o ([a-z_]+)=", (FRAGMENTS / "master.cf.in").read_text())

    assert {"letterlock_milter"} == {*main, *options} - names


@pytest.mark.parametrize(
    ("field", "removed"),
    [
        (
            "Received: from client.test (unknown [192.0.2.7])\n"
            "\tby mx.example.test (Postfix) with ESMTPS id 39AEB21A9E5\n"
            "\tfor <alice@example.test>; Fri, 20 Nov 2026 08:26:02 +0000 (UTC)",
            True,
        ),
        (
            "Received: from client.test (unknown [192.0.2.7])\n"
            "\tby mx.example.test (Postfix) with ESMTP id 39AEB21A9E5;\n"
            "\tFri, 20 Nov 2026 08:26:02 +0000 (UTC)",
            True,
        ),
        ("Received: by mx.example.test (Postfix, from userid 0)\n\tid 1; Fri, 20 Nov 2026", True),
        ("Received: from a by mx.other.test (Postfix) with ESMTP id 1; Fri, 20 Nov 2026", False),
        ("Received: from a by mx.example.test.other.test (Postfix) with ESMTP id 1", False),
        ("Subject: by mx.example.test (Postfix)", False),
    ],
)
def test_only_received_fields_of_this_host_are_removed(
    instance: Path, field: str, removed: bool
) -> None:
    """lmtp-untraced takes away what this host wrote, folded or not, and nothing else."""
    table = f"regexp:{instance}/letterlock-received.regexp"
    question = f"{field}\n\n"
    answer = subprocess.run(
        ["postmap", "-c", instance, "-h", "-q", "-", table],
        input=question,
        capture_output=True,
        text=True,
        check=False,
    )

    assert removed == ("IGNORE" in answer.stdout)
