"""Every command explains itself: --help, manual page, completion."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from letterlock.cli import main
from letterlock.cli.man_pages import pages, roff_text

ROOT = Path(__file__).parents[3]


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield every command by the words that call it."""
    yield path
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from commands(below, (*path, name))


ALL = list(commands(main))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_has_help(path: tuple[str, ...]) -> None:
    """A sentence of its own, and one for each option."""
    result = CliRunner().invoke(main, [*path, "--help"], catch_exceptions=False)
    command: click.Command = main
    for name in path:
        assert isinstance(command, click.Group)
        command = command.commands[name]

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


def test_the_readme_names_every_command() -> None:
    """Whoever reads it first knows what there is."""
    row = next(
        line for line in (ROOT / "README.md").read_text().splitlines() if "| `letterlock` |" in line
    )

    assert [] == [name for name in main.commands if f"`{name}`" not in row]
