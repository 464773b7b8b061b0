"""What a main.cf and a master.cf say and how they are changed, all of it by postconf(1)."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, field

Entries = dict[str, str]


class PostconfFailed(Exception):
    """postconf(1) did not take something; the text is what it said."""


@dataclass
class Settings:
    """What is set in a configuration directory, by name and in Postfix' own words."""

    main: Entries = field(default_factory=dict)
    """Parameters of main.cf."""

    services: Entries = field(default_factory=dict)
    """Entries of master.cf, options included: `smtp/inet` -> `smtp inet n - y - - smtpd`."""

    options: Entries = field(default_factory=dict)
    """Single options of entries: `smtp/inet/smtpd_milters` -> `inet:localhost:8891`."""


def read(directory: str) -> Settings:
    """Return what is set there. Raises PostconfFailed."""
    main = _pairs(_postconf(directory, "-n"))
    # Not in the file, but because it was asked for with -c.
    main.pop("config_directory", None)
    lines = (line.split() for line in _postconf(directory, "-M").splitlines())
    services = {"/".join(words[:2]): " ".join(words) for words in lines}
    return Settings(main, services, _pairs(_postconf(directory, "-P")))


def warnings(directory: str) -> set[str]:
    """Return what Postfix finds strange there."""
    written = (_run(directory, option).stderr for option in ("-n", "-M", "-P"))
    return {
        line.partition("warning: ")[2] or line for text in written for line in text.splitlines()
    }


def set_all(directory: str, wanted: Settings) -> None:
    """Set what `wanted` has. Raises PostconfFailed."""
    for option, entries in (("-e", wanted.main), ("-M", wanted.services), ("-P", wanted.options)):
        if entries:
            _postconf(directory, option, *(f"{name}={value}" for name, value in entries.items()))


def remove_all(directory: str, unwanted: Settings) -> None:
    """Remove the names that `unwanted` has. Raises PostconfFailed."""
    for option, entries in (
        ("-X", unwanted.main),
        ("-PX", unwanted.options),
        ("-MX", unwanted.services),
    ):
        if entries:
            _postconf(directory, option, *entries)


def value_of(directory: str, name: str) -> str:
    """Return the value of a parameter, its default if it is not set."""
    return _postconf(directory, "-h", name).strip()


def added(value: str, item: str) -> str:
    """Return a list of milters with `item` as its last, unless it is in it."""
    return value if item in re.split(r"[\s,]+", value) else f"{value} {item}".strip()


def removed(value: str, item: str) -> str:
    """Return a list of milters without `item`."""
    return re.sub(rf"[\s,]*{re.escape(item)}(?=[\s,]|$)", "", value).strip(" ,")


def _postconf(directory: str, *arguments: str) -> str:
    done = _run(directory, *arguments)
    if done.returncode:
        raise PostconfFailed(f"postconf {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def _run(directory: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    # postconf(1) waits until nobody can be writing a file any more, by its age. This is a copy.
    for name in ("main.cf", "master.cf"):
        os.utime(f"{directory}/{name}", (0, 0))
    line = ["postconf", "-c", directory, *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False)  # noqa: S603 (fixed)


def _pairs(text: str) -> Entries:
    pairs = (line.partition(" =") for line in text.splitlines())
    return {name: " ".join(value.split()) for name, _, value in pairs}
