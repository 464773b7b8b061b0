"""How the operator's command ends: in one line and a status of sysexits.h, whatever goes wrong."""

import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import click

from letterlock.cli.lazy_group import LazyGroup

EXIT_ABORTED = 1


class Program(LazyGroup):
    """All commands. What a command itself has no words for is put into words here."""

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """Run the command that the words on the command line name, and exit."""
        try:
            # Else click would end the process with its own statuses, and three lines more.
            status = super().main(*args, **(extra | {"standalone_mode": False}))
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(os.EX_USAGE)
        except click.UsageError as error:
            path = error.ctx.command_path if error.ctx else "letterlock"
            _end(f"{path}: {_one_line(error)} ({path} --help)", os.EX_USAGE)
        except click.ClickException as error:
            _end(f"letterlock: {_one_line(error)}", error.exit_code)
        except click.Abort:
            _end("letterlock: stopped", EXIT_ABORTED)
        except OSError as error:
            _discard_what_is_left()
            status = os.EX_NOPERM if isinstance(error, PermissionError) else os.EX_IOERR
            _end(f"letterlock: {error.filename or 'output'}: {error.strerror or error}", status)
        except UnicodeError as error:
            _end(f"letterlock: a text is no {getattr(error, 'encoding', 'UTF-8')}", os.EX_DATAERR)
        except Exception as error:  # noqa: BLE001 (a traceback is no answer to an operator)
            frames = traceback.extract_tb(error.__traceback__)[-3:]
            at = " ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
            line = f"a defect, please report it: {type(error).__name__} at {at}"
            _end(f"letterlock: {line}", os.EX_SOFTWARE)
        sys.exit(status if isinstance(status, int) else 0)


def _discard_what_is_left() -> None:
    """Have Python not try again, at its end, to write what could not be written."""
    with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _one_line(error: click.ClickException) -> str:
    return " ".join(error.format_message().split()).removesuffix(".")


def _end(line: str, status: int) -> NoReturn:
    click.echo(line, err=True)
    sys.exit(status)
