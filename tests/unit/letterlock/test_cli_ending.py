"""Whatever goes wrong with the operator's command is one line and a status of sysexits.h."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from letterlock.cli import main
from letterlock.cli.ending import Program

PROGRAM = str(Path(sys.executable).parent / "letterlock")
ADDRESS = "alice@example.org"
NOWHERE = ("--service", "unix:/nonexistent/keyservice.sock")


def letterlock(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def only_line(result: Result) -> str:
    """Return the one line that it ended with."""
    assert "" == result.stdout
    [line] = result.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("no-such",), "letterlock: No such command 'no-such' (letterlock --help)"),
        (("--no-such",), "letterlock: No such option '--no-such' (letterlock --help)"),
        (
            ("explain",),
            "letterlock explain: Missing argument 'ADDRESS' (letterlock explain --help)",
        ),
        (("explain", "alice"), "not a mailbox: no local part and domain"),
        (("explain", "a\udcff@example.org"), "not a mailbox: forbidden character"),
        (("explain", f"{'a' * 65}@example.org"), "not a mailbox: local part too long"),
        (("explain", ADDRESS, "--service", "x"), "--service: expected unix:/PATH or http://"),
        (("explain", ADDRESS, "--service", "http://h:99999"), "--service: expected http://HOST"),
        (("enrol", ADDRESS, "/nonexistent"), "'/nonexistent': No such file or directory"),
        (("policy", "set", ADDRESS, "outgoing=x"), "outgoing: expected one of never, when-known"),
        (("policy", "set", ADDRESS, "outgoing_level=9"), "outgoing_level: expected one of 1, 2"),
        (("policy", "set", ADDRESS, "no-such=x"), "expected KEY=VALUE, KEY one of"),
        (("trace", "a b"), "not a queue ID"),
        (("status", "--interval", "x"), "'x' is not a valid float range"),
        (("dkim-key", "list", "--directory", "/nonexistent", "x y"), "not a domain"),
    ],
)
def test_a_wrong_word_is_named(words: tuple[str, ...], said: str) -> None:
    """With the command that explains the right ones, or the form that is expected."""
    result = letterlock(*words)

    assert said in only_line(result)
    assert os.EX_USAGE == result.exit_code


def test_without_a_command_all_are_listed() -> None:
    """Not on standard output: nothing was asked for."""
    result = letterlock()

    assert (os.EX_USAGE, "") == (result.exit_code, result.stdout)
    assert "  doctor " in result.stderr


@pytest.mark.parametrize("words", [("list",), ("explain", ADDRESS), ("withdraw", ADDRESS)])
def test_a_key_service_that_is_not_there_is_named(words: tuple[str, ...]) -> None:
    """By its address, and why."""
    result = letterlock(*words, *NOWHERE)

    expected = "letterlock: key service at unix:/nonexistent/keyservice.sock: "
    assert only_line(result) == expected + os.strerror(2)
    assert os.EX_UNAVAILABLE == result.exit_code


def test_a_path_that_is_too_long_is_said_to_be() -> None:
    """The system has no number for it."""
    result = letterlock("list", "--service", f"unix:/{'a' * 120}")

    assert only_line(result).endswith("path too long")


@pytest.mark.parametrize("words", [("doctor",), ("status", "--once")])
@pytest.mark.parametrize("octets", [b"\xff\xfe\x00", b"x = [", b"metrics = 1"])
@pytest.mark.parametrize("option", ["--config", "--keyservice-config"])
def test_a_configuration_that_is_none_is_named(
    words: tuple[str, ...], octets: bytes, option: str, tmp_path: Path
) -> None:
    """Its file, whatever is in it."""
    files = {"--config": tmp_path / "a.toml", "--keyservice-config": tmp_path / "b.toml"}
    for file in files.values():
        file.write_text("")
    files[option].write_bytes(octets)
    result = letterlock(*words, *(word for o, file in files.items() for word in (o, str(file))))

    assert str(files[option]) in only_line(result)
    assert result.exit_code == (2 if words == ("doctor",) else os.EX_CONFIG)


def test_a_decrypting_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Which is the owner's choice."""
    (tmp_path / "mail").write_bytes(b"x")
    result = letterlock("decrypt", "--gpg", "/nonexistent/gpg", str(tmp_path / "mail"))

    assert f"letterlock: /nonexistent/gpg: {os.strerror(2)}" == only_line(result)
    assert 1 == result.exit_code


@pytest.mark.parametrize("words", [("--help",), ("doctor", "--help"), ("--version",)])
def test_a_full_disk_under_the_output_is_said(words: tuple[str, ...]) -> None:
    """Without a traceback, and not as success."""
    # What is in a buffer then is tried again when Python ends.
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [PROGRAM, *words],
            stdout=full, stderr=subprocess.PIPE, env=buffered, text=True, check=False,
        )  # fmt: skip

    assert (os.EX_IOERR, "letterlock: output: No space left on device\n") == (
        done.returncode,
        done.stderr,
    )


def test_who_stops_reading_is_told_nothing() -> None:
    """As with other programs in a pipe."""
    done = subprocess.run(
        ["sh", "-c", f"{PROGRAM} --help | true"], capture_output=True, text=True, check=True
    )

    assert "" == done.stderr


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (PermissionError(13, "denied", "/f"), os.EX_NOPERM, "letterlock: /f: denied"),
        (OSError(5, "broken"), os.EX_IOERR, "letterlock: output: broken"),
        (click.Abort(), 1, "letterlock: stopped"),
        (KeyError("a secret"), os.EX_SOFTWARE, "a defect, please report it: KeyError at "),
        ("\udcff".encode, os.EX_DATAERR, "letterlock: a text is no utf-8"),
    ],
)
def test_what_a_command_has_no_words_for(error: object, status: int, said: str) -> None:
    """Named by its kind and place, never by its text, which may quote a message."""
    program = Program(name="letterlock", places={})

    @program.command()
    def fail() -> None:
        if isinstance(error, BaseException):
            raise error
        assert callable(error)
        error()

    result = CliRunner().invoke(program, ["fail"])

    assert said in only_line(result)
    assert status == result.exit_code
    assert "secret" not in result.stderr


@given(st.lists(st.text(max_size=12), max_size=4), st.sampled_from(sorted(main.commands)))  # type: ignore[attr-defined]  # a group
def test_words_at_random_end_in_words(words: list[str], command: str) -> None:
    """Of any command that changes nothing by itself."""
    if command in ("man-pages", "status", "doctor", "sweep-queue", "decrypt", "dkim-key"):
        command = "explain"
    result = letterlock(command, *words, *NOWHERE)

    assert result.exit_code != os.EX_SOFTWARE
    assert result.exit_code == 0 or result.stderr
