"""A reload: the process becomes its program anew, as that is on disk now.

Where the service manager holds the sockets, whoever asks meanwhile waits.
"""

import os
import subprocess
import sys
from typing import NoReturn

import msgspec

from keyservice.errors import ConfigError

_REHEARSAL_SECONDS = 30.0


def require_heir() -> None:
    """Raise ConfigError if the program as it is on disk would not take the configuration."""
    command = [*_program(), "--check"]
    try:
        rehearsal = subprocess.run(  # noqa: S603 (ourselves)
            command,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_REHEARSAL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConfigError("the program takes too long to start") from None
    except OSError as error:
        raise ConfigError(f"{command[0]}: {error.strerror}") from None
    if rehearsal.returncode != 0:
        raise ConfigError(_last_words(rehearsal.stderr, rehearsal.returncode))


def succeed() -> NoReturn:
    """Become the program anew."""
    program = _program()
    os.execvp(program[0], program)  # noqa: S606 (ourselves)


def _program() -> list[str]:
    # A script is found anew by its path, which may lead through a link to the current
    # release; the script's first line names that release's interpreter.
    return sys.argv if os.access(sys.argv[0], os.X_OK) else sys.orig_argv


def _last_words(stderr: bytes, status: int) -> str:
    try:
        line = msgspec.json.decode(stderr.splitlines()[-1], type=dict[str, object])
        return str(line["detail"])
    except (IndexError, KeyError, msgspec.MsgspecError):
        return f"the program would end with status {status}"
