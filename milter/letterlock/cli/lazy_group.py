"""A group of commands whose modules are imported when they are used.

To list all of them, for `--help` or for a shell that completes a word, their names and first
sentences are enough.
"""

from collections.abc import Mapping
from importlib import import_module

import click


class LazyGroup(click.Group):
    """Knows of its commands where they are, as `MODULE:ATTRIBUTE`, and their first sentences."""

    def __init__(self, *, places: Mapping[str, tuple[str, str]], **options: object) -> None:
        """`places`: by the command's name."""
        super().__init__(**options)  # type: ignore[arg-type]  # click's own
        for name, (place, sentence) in places.items():
            self.add_command(_Elsewhere(name, place, sentence))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is to run, imported."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and _imported(command), rest


def commands_of(command: click.Command) -> dict[str, click.Command]:
    """Return the commands of a group by their names, imported; none if it is no group."""
    if not isinstance(command, click.Group):
        return {}
    return {name: _imported(below) for name, below in command.commands.items()}


class _Elsewhere(click.Command):
    def __init__(self, name: str, place: str, sentence: str) -> None:
        super().__init__(name, help=sentence)
        self.place = place


def _imported(command: click.Command) -> click.Command:
    if not isinstance(command, _Elsewhere):
        return command
    module, _, attribute = command.place.partition(":")
    found = getattr(import_module(module), attribute)
    if not isinstance(found, click.Command):
        raise TypeError(command.place)
    return found
