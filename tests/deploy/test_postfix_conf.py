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
PLACEHOLDERS = {
    "MILTER": "unix:letterlock/milter.sock",
    "REENTRY": REENTRY,
    "CHROOT": "y",
    "MYHOSTNAME": r"mx\.example\.test",
    "SUBMISSION": "unix:letterlock/submission.sock",
    "SOCKETMAP": "unix:letterlock/socketmap.sock",
    "SENDER_LOGINS": "hash:/etc/postfix/sender_logins",
    "CLIENT_CA": "/var/lib/letterlock-keyservice/client-ca.pem",
    "SASL": "private/auth",
}
OF_OURS = {"letterlock_milter", "letterlock_submission_milter", "letterlock_client_restrictions"}


PARTS = {"inbound": ("",), "both": ("", "submission-")}
"""What operators take of it."""


@pytest.fixture(params=PARTS)
def instance(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A configuration directory: Debian's master.cf and an empty main.cf, with our lines added."""
    parts = PARTS[request.param]
    main = "".join(fragment(f"{part}main.cf", PLACEHOLDERS) for part in parts)
    ours = "\n".join(fragment(f"{part}master.cf", PLACEHOLDERS) for part in parts)
    debian = Path("/usr/share/postfix/master.cf.dist").read_text()
    (tmp_path / "main.cf").write_text(
        f"compatibility_level = 3.6\nmyhostname = mx.example.test\n{main}"
    )
    (tmp_path / "master.cf").write_text(merged(debian, ours))
    for name in ("letterlock-received.regexp", "letterlock-submission-received.regexp"):
        (tmp_path / name).write_text(fragment(name, PLACEHOLDERS))
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


def _parameters() -> set[str]:
    main = [p.read_text() for p in FRAGMENTS.glob("*main.cf.in")]
    master = [p.read_text() for p in FRAGMENTS.glob("*master.cf.in")]
    set_in_main = re.findall(r"(?m)^([A-Za-z_]+) =", "\n".join(main))
    set_in_master = re.findall(r"(?m)^  -o ([A-Za-z_]+)=", "\n".join(master))
    assert set_in_main
    assert set_in_master
    return {*set_in_main, *set_in_master}


def test_every_line_is_explained_in_the_readme() -> None:
    """Each parameter of the fragments has its reason in README.md."""
    readme = (FRAGMENTS / "README.md").read_text()

    assert set() == {name for name in _parameters() if name not in readme}


def test_every_placeholder_and_file_is_explained_in_the_readme() -> None:
    """What the operator has to fill in, and what to do with each file."""
    readme = (FRAGMENTS / "README.md").read_text()
    names = {path.name for path in FRAGMENTS.glob("*.in")} | {f"@{name}@" for name in PLACEHOLDERS}

    assert set() == {name for name in names if f"`{name}`" not in readme}


def test_every_parameter_is_in_the_manual() -> None:
    """The manual page that README.md refers to knows each parameter."""
    known = subprocess.run(["postconf", "-d"], capture_output=True, check=True, text=True).stdout
    names = set(re.findall(r"(?m)^([A-Za-z0-9_]+) =", known))

    assert OF_OURS == _parameters() - names


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
    assert removed == ("IGNORE" in _checked(instance, "letterlock-received.regexp", field))


def _checked(instance: Path, table: str, field: str) -> str:
    """Return what header_checks does with a field; nothing: it stays."""
    done = subprocess.run(
        ["postmap", "-c", instance, "-h", "-q", "-", f"regexp:{instance}/{table}"],
        input=f"{field}\n\n",
        capture_output=True,
        text=True,
        check=False,
    )
    # postmap(1) repeats the key before it says what it found.
    return done.stdout.removeprefix(field).strip("\t\n")


TRACED = """\
Received: from laptop.home.test (client.provider.test [192.0.2.7])
\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))
\t(Client CN "alice@example.test", Issuer "Client CA" (verified OK))
\t(Authenticated sender: alice@example.test)
\tby mx.example.test (Postfix) with ESMTPSA id 39AEB21A9E5
\tfor <bob@example.test>; Fri, 20 Nov 2026 08:26:02 +0000 (UTC)"""
UNTRACED = """\
REPLACE Received: by mx.example.test (Postfix) with ESMTPSA id 39AEB21A9E5;
\tFri, 20 Nov 2026 08:26:02 +0000 (UTC)"""


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (TRACED, UNTRACED),
        # To several recipients, Postfix names none.
        (TRACED.replace("\n\tfor <bob@example.test>; ", ";\n\t"), UNTRACED),
        # Whatever the client calls itself, or the recipient, is before or behind what stays.
        (TRACED.replace("laptop", "x by mx.example.test (Postfix) with ESMTP id 1; Mon"), UNTRACED),
        (TRACED.replace("for <bob", 'for <"a;b"'), UNTRACED),
        # Written as we do not know it.
        (TRACED.replace(" id ", " identified by "), "IGNORE"),
        ("Received: by mx.example.test (Postfix, from userid 0)\n\tid 1; Fri, 20 Nov", "IGNORE"),
        (TRACED.replace("by mx.example.test", "by mx.other.test"), ""),
        (TRACED.replace("Received:", "Subject:"), ""),
    ],
)
def test_the_trace_of_a_submission_names_nobody(instance: Path, field: str, expected: str) -> None:
    """letterlock-submission-cleanup leaves the host, the queue ID and the time."""
    assert expected == _checked(instance, "letterlock-submission-received.regexp", field)
