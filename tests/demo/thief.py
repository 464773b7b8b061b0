"""The thief: has a copy of every file of the server, and searches it for words."""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from canary import betrayals, stored_files
from stack import Layout, Stack

ELSEWHERE = "everything else"


@dataclass(frozen=True, slots=True)
class Searched:
    """One kind of place and what was found there."""

    place: str
    files: int
    octets: int
    found: tuple[str, ...]
    """Each word with the file in which it stood."""


def search(stacks: Sequence[Stack], words: Iterable[str]) -> list[Searched]:
    """Search every file of the stacks, those without a name too, for `words`."""
    words = tuple(words)
    found: dict[str, list[Path]] = {}
    for stack in stacks:
        roots = _roots(stack.layout)
        # Asks Redis for its dump, so that comes first.
        files = sorted({*stored_files(stack), *_files(stack.layout)})
        for place, root in roots.items():
            inside = [path for path in files if path.is_relative_to(root)]
            found.setdefault(place, []).extend(inside)
        outside = [path for path in files if not any(map(path.is_relative_to, roots.values()))]
        found.setdefault(ELSEWHERE, []).extend(outside)
    base = stacks[0].layout.directory.parent
    return [_searched(place, paths, words, base) for place, paths in found.items()]


def _roots(layout: Layout) -> dict[str, Path]:
    return {
        "mailboxes (Dovecot)": layout.mail,
        "mail queue (Postfix)": layout.queue,
        "log files": layout.logs,
        "dump of Redis": layout.redis,
        "database, spill files, secrets": layout.state,
        "files that the daemons have open": Path("/proc"),
    }


def occurs(word: str, octets: bytes) -> bool:
    """Say whether the search finds `word` in `octets`."""
    return bool(betrayals(octets, [word]))


def _files(layout: Layout) -> Iterator[Path]:
    for root in (layout.directory, layout.base, layout.run):
        for folder, _, names in os.walk(root):
            for path in (Path(folder, name) for name in names):
                if stat.S_ISREG(path.lstat().st_mode):
                    yield path


def _searched(place: str, paths: list[Path], words: tuple[str, ...], base: Path) -> Searched:
    contents = {str(path).removeprefix(f"{base}/"): path.read_bytes() for path in paths}
    found = [
        f"{b} in {path}" for path, octets in contents.items() for b in betrayals(octets, words)
    ]
    return Searched(place, len(contents), sum(map(len, contents.values())), tuple(found))
