"""The thief: has a copy of every file of the server, and searches it for words."""

import base64
import os
import quopri
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stack import Layout

SPELLINGS = ("as it is", "base64", "quoted-printable", "UTF-16", "hexadecimal")
"""For the reader; see `spellings`."""


@dataclass(frozen=True, slots=True)
class Searched:
    """One kind of place on the disk and what was found there."""

    place: str
    files: int
    octets: int
    found: tuple[str, ...]
    """Each with the file in which it stood."""


def search(layout: Layout, words: Iterable[str]) -> list[Searched]:
    """Search every file of the stack for every spelling of `words`."""
    words = tuple(words)
    places = {
        "mailboxes (Dovecot)": layout.mail,
        "mail queue (Postfix)": layout.queue,
        "log files": layout.logs,
        "dump of Redis": layout.redis,
        "database of the key service": layout.state,
        "everything else": layout.directory,
    }
    contents: dict[str, list[tuple[Path, bytes]]] = {place: [] for place in places}
    for path in files(layout):
        # The first that fits: the last one holds all the others.
        place = next((p for p, root in places.items() if path.is_relative_to(root)), "")
        contents[place or "everything else"].append((path, path.read_bytes()))
    return [_searched(place, found, words) for place, found in contents.items()]


def files(layout: Layout) -> Iterator[Path]:
    """Yield every regular file of the stack, once."""
    for root in {layout.directory, layout.base, layout.run}:
        for folder, _, names in os.walk(root):
            for path in (Path(folder, name) for name in names):
                if stat.S_ISREG(path.lstat().st_mode):
                    yield path


def occurs(word: str, octets: bytes) -> bool:
    """Say whether `word` stands in `octets`, in any case and any spelling."""
    lowered = octets.lower()
    return word.lower().encode() in lowered or any(s in octets for s in spellings(word))


def spellings(word: str) -> set[bytes]:
    """Return what `word` looks like after the encodings that mail and databases use."""
    plain = word.encode()
    return {
        *_base64(plain),
        quopri.encodestring(plain).strip(),
        quopri.encodestring(plain, header=True).strip(),
        word.encode("utf-16-le"),
        plain.hex().encode(),
        plain.hex().upper().encode(),
    }


def _base64(plain: bytes) -> Iterator[bytes]:
    # Three spellings, by where the word begins; at the edges neighbours mix in.
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + plain)
        first = -(-before * 8 // 6)
        yield encoded[first : (before + len(plain)) * 8 // 6]


def _searched(place: str, contents: list[tuple[Path, bytes]], words: tuple[str, ...]) -> Searched:
    found = [
        f"{word!r} in {path}" for path, octets in contents for word in words if occurs(word, octets)
    ]
    size = sum(len(octets) for _, octets in contents)
    return Searched(place, len(contents), size, tuple(found))
