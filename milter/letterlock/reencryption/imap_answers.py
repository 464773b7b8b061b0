"""What an IMAP server's answers say of folders and messages."""

import imaplib
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from letterlock.reencryption.imap_syntax import Value, octets_of, pairs, text_of, values
from letterlock.reencryption.store import StoreFailed

DELETED = b"\\Deleted"

_RECENT = b"\\Recent"
"""No client can set it."""

_NO_FOLDERS = frozenset({b"\\noselect", b"\\nonexistent", b"\\all"})
"""The last shows messages of all others once more (RFC 6154 §2)."""

_APPENDUID = re.compile(rb"\[APPENDUID [0-9]+ ([0-9]+)\]", re.IGNORECASE)

Flags = frozenset[bytes]
Items = dict[bytes, Value]


class Selected(NamedTuple):
    """A folder that was opened."""

    validity: int
    next_uid: int
    is_empty: bool


class State(NamedTuple):
    """The flags of a message, without \\Recent."""

    flags: Flags
    modseq: int | None
    """Grows whenever they change, where the server has CONDSTORE (RFC 7162)."""


class Removal(NamedTuple):
    """What became of the attempt to remove a message."""

    flags: Flags | None
    """Immediately before; it is removed if \\Deleted is among them. None: it was gone."""

    was_changed: bool
    """Since the last look; so it was not marked by us."""


class Fetched(NamedTuple):
    """A message."""

    state: State
    date: str
    octets: bytes


def by_uid(response: Sequence[Any]) -> dict[int, Items]:
    """Return what was said of each message: what the server says unasked comes with it."""
    found: dict[int, Items] = {}
    for data in values(response):
        items = pairs(data[-1])
        if b"UID" in items:
            found.setdefault(int(octets_of(items[b"UID"])), {}).update(items)
    return found


def state_of(items: Items) -> State:
    """Return the state in a FETCH response; without any flags if it says nothing of them."""
    flags, modseq = items.get(b"FLAGS"), items.get(b"MODSEQ")
    names = {octets_of(flag) for flag in flags} if isinstance(flags, list) else set()
    number = int(octets_of(modseq[0])) if isinstance(modseq, list) else None
    return State(frozenset(names - {_RECENT}), number)


def message_of(items: Items) -> Fetched | None:
    """Return the message in a FETCH response; None if it is not all there."""
    octets, date = items.get(b"BODY[]"), items.get(b"INTERNALDATE")
    if octets is None or date is None:
        return None
    return Fetched(state_of(items), text_of(date), octets_of(octets))


def folder_names(response: Sequence[Any]) -> Iterator[str]:
    """Yield the names that LIST gives of folders that can be opened."""
    for attributes, _, name in values(response):
        marks = attributes if isinstance(attributes, list) else []
        if not _NO_FOLDERS & {octets_of(mark).lower() for mark in marks}:
            yield text_of(name)


def namespaces(response: Sequence[Any]) -> tuple[list[str], tuple[str, ...]]:
    """Return the prefixes of this user's folders, and of those that others share with him."""
    ((own, *others),) = values(response)
    return _prefixes(own), tuple(prefix for each in others for prefix in _prefixes(each))


def appended_uid(response: Sequence[Any]) -> int:
    """Return the UID of what was appended (RFC 4315 §3). Raises StoreFailed."""
    found = _APPENDUID.search(response[0] or b"")
    if found is None:
        raise StoreFailed("the server does not say which UID a new message has")
    return int(found[1])


def said(response: Sequence[Any]) -> str:
    """Return the text of a refusal."""
    return b" ".join(part for part in response if isinstance(part, bytes)).decode(errors="replace")


def broken(error: Exception) -> StoreFailed:
    """Return what to raise in place of an error of imaplib's, or of the network's."""
    # What it aborts with quotes the line that it did not understand: mail, perhaps.
    if isinstance(error, imaplib.IMAP4.abort) or not isinstance(error, imaplib.IMAP4.error):
        return StoreFailed("the connection broke")
    return StoreFailed(str(error))


def _prefixes(namespace: Value) -> list[str]:
    entries = namespace if isinstance(namespace, list) else []
    return [text_of(entry[0]) for entry in entries if isinstance(entry, list)]
