"""Rules about who can read secrets, change settings and reach sockets. Pure over `Host`."""

import re
import stat
from collections.abc import Iterable, Iterator

from letterlock.doctor.host import Host
from letterlock.postfix_findings import Finding, Severity

MAY_ENROL = "can enrol a certificate of his for anybody"
"""What whoever connects to the key service's socket can do."""

_PASSWORD = re.compile(r"(?m)^\s*url\s*=\s*[\"'][a-z+]+://([^\"'/]*:[^\"'/]+@|[^\"']*password=)")


def secrets(host: Host, paths: Iterable[str]) -> Iterator[Finding]:
    """Each is there, and hidden from other accounts."""
    for path in filter(None, paths):
        found = host.status(path)
        if found is None:
            yield Finding(
                path,
                f"umask 027; openssl rand -hex 32 >{path}; chgrp letterlock {path};"
                " if your other hosts or the database have one already, that",
                "without it the daemon that is configured with it does not start",
                Severity.FAULT,
                "a secret is not there",
            )
        elif found.st_mode & stat.S_IRWXO:
            yield Finding(
                path,
                f"chmod o= {path}, and make a new one: this one may be known",
                "whoever has it can write certificates of his into the cache or the database,"
                " or issue them",
                what="every account can read or write a secret",
            )


def settings(host: Host, paths: Iterable[str]) -> Iterator[Finding]:
    """Nobody but root, or its group, changes them, nor replaces them in their directory."""
    for path in filter(None, paths):
        for each in (path, path.rpartition("/")[0] or "/"):
            found = host.status(each)
            if found is not None and _others_write(found.st_mode):
                reason = "whoever changes the settings can have mail stored in plaintext"
                yield Finding(
                    each, f"chmod o-w {each}", reason, what="every account can write to it"
                )


def passwords(host: Host, paths: Iterable[str]) -> Iterator[Finding]:
    """Settings with a password of Redis in them are not for every account to read."""
    for path in filter(None, paths):
        found = host.status(path)
        if (
            found is not None
            and found.st_mode & stat.S_IROTH
            and _PASSWORD.search(host.read(path) or "")
        ):
            yield Finding(
                path,
                f"chmod o= {path}",
                "whoever can read it can do in Redis what the daemon can",
                Severity.FAULT,
                "every account can read the password of Redis",
            )


def sockets(host: Host, paths: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    """Each (path, what whoever connects can do) is for an account or a group alone."""
    for path, power in paths:
        found = host.status(path) if path else None
        if found is not None and found.st_mode & stat.S_IWOTH:
            yield Finding(
                path,
                f"chmod o= {path}, and its mode in the configuration or the .socket unit",
                f"whoever connects {power}",
                Severity.BREACH if power == MAY_ENROL else Severity.FAULT,
                "every account can connect",
            )


def _others_write(mode: int) -> bool:
    # In a directory like /tmp files are safe from others.
    return bool(mode & stat.S_IWOTH and not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX))
