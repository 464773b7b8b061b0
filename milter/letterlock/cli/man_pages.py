"""`letterlock man-pages`: manual pages of all commands, from the same text as `--help`."""

import os
import re
import sys
from collections.abc import Iterator
from importlib.metadata import version
from inspect import cleandoc
from pathlib import Path

import click

from letterlock.cli.lazy_group import commands_of


@click.command("man-pages")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def man_pages(directory: Path) -> None:
    """Write a manual page for each command into DIRECTORY, /usr/local/share/man/man1 for instance.

    Pages of commands that are gone are left there.
    """
    root = click.get_current_context().find_root()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, page in pages(root.command):
            (directory / f"{name}.1").write_text(page)
    except OSError as error:
        click.echo(f"letterlock: {error.filename}: {error.strerror}", err=True)
        sys.exit(os.EX_CANTCREAT)


def pages(command: click.Command) -> Iterator[tuple[str, str]]:
    """Yield name and text (man(7)) of the page of `letterlock` and of each of its commands."""
    for context in _contexts(command, "letterlock", None):
        yield context.command_path.replace(" ", "-"), _page(context)


def _contexts(
    command: click.Command, name: str, parent: click.Context | None
) -> Iterator[click.Context]:
    context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
    yield context
    for sub_name, sub_command in _commands(command):
        yield from _contexts(sub_command, sub_name, context)


def _commands(command: click.Command) -> list[tuple[str, click.Command]]:
    return [(name, sub) for name, sub in commands_of(command).items() if not sub.hidden]


def _page(context: click.Context) -> str:
    command, path = context.command, context.command_path
    title = path.replace(" ", "-")
    short = command.get_short_help_str(limit=200).rstrip(".")
    lines = [
        f'.TH "{title.upper()}" 1 "" "Letterlock {version("letterlock")}" "Letterlock"',
        ".SH NAME",
        f"{roff_text(title)} \\- {roff_text(short)}",
        ".SH SYNOPSIS",
        f".B {roff_text(path)}",
        roff_text(" ".join(command.collect_usage_pieces(context))),
        ".SH DESCRIPTION",
        *_paragraphs(cleandoc(command.help or "").partition("\f")[0]),
        ".SH OPTIONS",
        *_options(context),
    ]
    if rows := _commands(command):
        lines += [".SH COMMANDS", *_entries((n, c.get_short_help_str(200)) for n, c in rows)]
    if related := _related(context, [name for name, _ in rows]):
        lines += [".SH SEE ALSO", ",\n".join(f".BR {roff_text(name)} (1)" for name in related)]
    return "\n".join(lines) + "\n"


def _options(context: click.Context) -> Iterator[str]:
    records = (
        parameter.get_help_record(context) for parameter in context.command.get_params(context)
    )
    yield from _entries(record for record in records if record and record[1])


def _entries(rows: Iterator[tuple[str, str]]) -> Iterator[str]:
    for name, text in rows:
        yield ".TP"
        yield f"\\fB{roff_text(name)}\\fP"
        yield roff_text(text) or "\\&"


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(text.split("\n\n")):
        # click's sign that lines are to stay as they are.
        is_verbatim = paragraph.startswith("\b")
        body = roff_text(paragraph.removeprefix("\b").strip("\n"))
        if number:
            yield ".PP"
        yield f".nf\n{body}\n.fi" if is_verbatim else body


def _related(context: click.Context, commands: list[str]) -> list[str]:
    path = context.command_path.replace(" ", "-")
    above = [context.parent.command_path.replace(" ", "-")] if context.parent else []
    return above + [f"{path}-{name}" for name in commands]


def roff_text(text: str) -> str:
    """Return `text` so that roff takes none of it for its own."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"(?m)^([.'])", r"\\&\1", escaped)
