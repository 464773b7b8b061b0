"""Every command explains itself: --help, manual page, completion."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from letterlock.cli import main
from letterlock.cli.lazy_group import commands_of
from letterlock.cli.man_pages import pages, roff_text

ROOT = Path(__file__).parents[3]
BESIDE_PYTHON = Path(sys.executable).parent


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield every command by the words that call it."""
    yield path
    for name, below in commands_of(command).items():
        yield from commands(below, (*path, name))


ALL = list(commands(main))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_has_help(path: tuple[str, ...]) -> None:
    """A sentence of its own, and one for each option."""
    result = CliRunner().invoke(main, [*path, "--help"], catch_exceptions=False)
    command: click.Command = main
    for name in path:
        command = commands_of(command)[name]

    assert 0 == result.exit_code
    assert command.help
    assert [] == [p.name for p in command.params if isinstance(p, click.Option) and not p.help]


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_has_a_manual_page(path: tuple[str, ...]) -> None:
    """With all sections, and no request to roff that we did not write."""
    name = "-".join(("letterlock", *path))
    text = dict(pages(main))[name]

    assert re.search(r"\.SH NAME\n\S+ \\- \S", text)
    assert ".SH SYNOPSIS" in text
    assert ".SH DESCRIPTION" in text
    requests = set(re.findall(r"(?m)^[.'](\S*)", text))
    assert requests <= {"TH", "SH", "B", "BR", "PP", "TP", "nf", "fi"}


@given(st.text(st.sampled_from(".'\\-\n ab")))
def test_nothing_of_a_text_is_taken_for_a_request(text: str) -> None:
    """A line of a help text may begin with a dot."""
    lines = roff_text(text).split("\n")

    assert [] == [line for line in lines if line.startswith((".", "'"))]
    assert text == re.sub(
        r"\\(.)", lambda m: {"e": "\\", "&": ""}.get(m[1], m[1]), "\n".join(lines)
    )


def test_the_pages_are_written(tmp_path: Path) -> None:
    """One for each command."""
    directory = tmp_path / "man1"
    result = CliRunner().invoke(main, ["man-pages", str(directory)], catch_exceptions=False)

    assert 0 == result.exit_code
    assert len(ALL) == len(list(directory.glob("letterlock*.1")))


@pytest.mark.parametrize(
    ("words", "begun", "expected"),
    [
        ([], "doc", "doctor"),
        (["client-certificate"], "iss", "issue"),
        (["doctor"], "--te", "--textfile"),
    ],
)
def test_the_shell_completes(words: list[str], begun: str, expected: str) -> None:
    """Commands, their commands, and options."""
    found = ShellComplete(main, {}, "letterlock", "_LETTERLOCK_COMPLETE").get_completions(
        words, begun
    )

    assert [expected] == [item.value for item in found]


def in_bash(*lines: str) -> list[str]:
    """Return what a bash without any settings of its own prints."""
    done = subprocess.run(
        ["bash", "--norc", "--noprofile", "-c", "\n".join(lines)],
        env={**os.environ, "PATH": f"{BESIDE_PYTHON}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "" == done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("letterlock", "ex"), ["explain"]),
        (("letterlock", "doctor", "--te"), ["--textfile"]),
        (("letterlock", "policy", ""), ["set", "show", "unset"]),
    ],
)
def test_a_real_bash_completes(words: tuple[str, ...], expected: list[str]) -> None:
    """With the lines of docs/operating.md."""
    assert (
        "_LETTERLOCK_COMPLETE=bash_source letterlock >" in (ROOT / "docs/operating.md").read_text()
    )

    found = in_bash(
        "source <(_LETTERLOCK_COMPLETE=bash_source letterlock)",
        f"COMP_WORDS=({' '.join(word or repr('') for word in words)})",
        f"COMP_CWORD={len(words) - 1}",
        # As bash calls what `complete` has named for a command.
        'eval "$(complete -p letterlock | sed "s/.*-F \\([^ ]*\\) .*/\\1/") letterlock"',
        r'printf "%s\n" "${COMPREPLY[@]}"',
    )

    assert expected == sorted(filter(None, found))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(shell: str) -> None:
    """Each asks the program itself, so what there is to complete is always that of the release."""
    done = subprocess.run(
        [BESIDE_PYTHON / "letterlock"],
        env={**os.environ, "_LETTERLOCK_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert f"_LETTERLOCK_COMPLETE={shell}_complete" in done.stdout


@pytest.mark.parametrize("name", sorted(dict(pages(main))))
def test_groff_has_nothing_to_say_about_a_page(name: str) -> None:
    """All its warnings are on; and what a reader sees begins and ends as a manual page does."""
    shown = subprocess.run(
        ["groff", "-man", "-ww", "-z", "-Tutf8"],
        input=dict(pages(main))[name],
        capture_output=True,
        text=True,
        check=True,
    )

    assert ("", "") == (shown.stdout, shown.stderr)


def test_the_first_sentences_are_those_of_the_commands() -> None:
    """They are written down twice, so that `--help` need not import what it lists."""
    listed = {name: c.get_short_help_str(200) for name, c in main.commands.items()}  # type: ignore[attr-defined]  # a group

    assert listed == {name: c.get_short_help_str(200) for name, c in commands_of(main).items()}


def test_what_lists_commands_imports_none() -> None:
    """Nothing that takes time: help and completion come at once."""
    program = (
        "import sys; from letterlock.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    imported = {module.partition(".")[0] for module in done.stderr.split()}

    assert set() == imported & {"redis", "rich", "cryptography", "dns", "msgspec", "keyservice"}


def test_the_readme_names_every_command() -> None:
    """Whoever reads it first knows what there is."""
    row = next(
        line for line in (ROOT / "README.md").read_text().splitlines() if "| `letterlock` |" in line
    )

    assert [] == [name for name in commands_of(main) if f"`{name}`" not in row]
