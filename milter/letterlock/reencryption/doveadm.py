"""What Dovecot keeps of expunged messages, and how it is made to forget."""

import shlex
import subprocess
from collections.abc import Callable, Iterator, Sequence


def commands(user: str, folders: Sequence[str]) -> list[list[str]]:
    """Return what to run on the mail host, as root."""
    return [
        # mdbox keeps expunged messages in its files until this.
        ["doveadm", "purge", "-u", user],
        # Caches keep their header fields.
        ["doveadm", "mailbox", "cache", "purge", "-u", user, *folders],
    ]


def forget(user: str) -> Callable[[Sequence[str]], Iterator[str]]:
    """Return what runs them, and yields in words what did not work."""

    def run(folders: Sequence[str]) -> Iterator[str]:
        for command in commands(user, folders):
            done = subprocess.run(  # noqa: S603 (a fixed program)
                command, capture_output=True, text=True, check=False
            )
            if done.returncode:
                yield f"{shlex.join(command)}: {done.stderr.strip()}"

    return run


def instruct(user: str) -> Callable[[Sequence[str]], Iterator[str]]:
    """Return what yields them for somebody else to run."""

    def tell(folders: Sequence[str]) -> Iterator[str]:
        yield "If the server is a Dovecot, it still holds plaintext. Run there, as root:"
        yield from (shlex.join(command) for command in commands(user, folders))

    return tell
