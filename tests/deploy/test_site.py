"""The documents as an operator reads them: a site without dead links, and commands that exist."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from letterlock.cli import main
from letterlock.cli.lazy_group import commands_of

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")])
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """Every call of `letterlock` in the page's examples."""
    text = "".join(_BLOCK.findall(page.read_text())).replace("\\\n", " ")
    calls = re.findall(r"(?m)(?:^|[;|&(])\s*(?:sudo )?letterlock ([^;|&)\n]*)", text)
    return [shlex.split(call, comments=True) for call in calls]


def resolved(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that `words` name, and what follows its name."""
    found: click.Command = main
    rest = words
    while isinstance(found, click.Group) and rest and not rest[0].startswith("-"):
        known = commands_of(found)
        assert rest[0] in known, f"no such command: {words}"
        found, rest = known[rest[0]], rest[1:]
    return found, rest


def test_the_site_has_no_dead_link(tmp_path):
    """Sphinx takes every warning for an error."""
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs", "."]
    done = subprocess.run(
        [*build, str(tmp_path / "site")], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert (tmp_path / "site" / "docs" / "install.html").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_commands_of_examples_exist(page):
    """With the options that the examples give them."""
    for words in commands(page):
        command, rest = resolved(words)
        known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        given = {word.partition("=")[0] for word in rest if word.startswith("-") and word != "-"}

        assert given <= known | {"--help", "-h"}, words


def test_the_page_of_options_is_the_configuration_files():
    """Both say the same, because one is made of the other."""
    check = [sys.executable, str(ROOT / "docs/write-options"), "--check"]

    assert 0 == subprocess.run(check, check=False).returncode
