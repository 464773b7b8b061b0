"""The few things that are asked of an IMAP server, in octets and numbers."""

import imaplib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from letterlock.reencryption.imap_syntax import (
    Incomprehensible,
    Value,
    octets_of,
    pairs,
    quoted,
    text_of,
    values,
)
from letterlock.reencryption.store import MessageFailed, StoreFailed

DELETED = b"\\Deleted"

_RECENT = b"\\Recent"
"""No client can set it."""

_NO_FOLDERS = frozenset({b"\\noselect", b"\\nonexistent", b"\\all"})
"""The last shows messages of all others once more (RFC 6154 §2)."""

_APPENDUID = re.compile(rb"\[APPENDUID [0-9]+ ([0-9]+)\]", re.IGNORECASE)

Flags = frozenset[bytes]


class Selected(NamedTuple):
    """A folder that was opened."""

    validity: int
    next_uid: int
    is_empty: bool


class State(NamedTuple):
    """The flags of a message, without \\Recent."""

    flags: Flags
    modseq: int | None


class Fetched(NamedTuple):
    """A message."""

    state: State
    date: str
    octets: bytes


class Session:
    """A server that knows who we are. Any method may raise StoreFailed."""

    def __init__(self, server: imaplib.IMAP4, *, is_dry: bool) -> None:
        """`is_dry`: folders are opened for reading only."""
        # Its types know text only, which could not name every folder.
        self._server: Any = server
        self._is_dry = is_dry
        (line,) = self._ask("CAPABILITY", server.capability)
        self._capabilities = frozenset(line.upper().split())
        if b"UIDPLUS" not in self._capabilities:
            raise StoreFailed("the server has no UIDPLUS (RFC 4315): mail of others could go")

    def folders(self) -> list[str]:
        """Return the names, as the server encodes them, of what belongs to this user."""
        mine, others = self._namespaces()
        found = []
        for prefix in mine:
            for data in _parsed(self._ask("LIST", self._server.list, b'""', quoted(prefix + "*"))):
                attributes, _, name = data
                text = text_of(name)
                if _is_folder(attributes) and not text.startswith(tuple(others)):
                    found.append(text)
        return sorted(set(found))

    def select(self, folder: str) -> Selected | None:
        """Open a folder; None if it is gone."""
        try:
            kind, data = self._server.select(quoted(folder), readonly=self._is_dry)
        except imaplib.IMAP4.readonly:
            raise StoreFailed(f"{folder} can only be read") from None
        except (imaplib.IMAP4.error, OSError) as error:
            raise _broken(error) from None
        if kind != "OK":
            return None
        validity, next_uid = (self._number(name) for name in ("UIDVALIDITY", "UIDNEXT"))
        return Selected(validity, next_uid, data[-1] in (b"0", None))

    def sizes(self, first: int) -> dict[int, int]:
        """Return UID and size of each message from UID `first` on."""
        found = self._fetch(f"{first}:*", "(UID RFC822.SIZE)")
        # `*` is the last message, whatever comes before it (RFC 3501 §6.4.8).
        return {
            uid: int(octets_of(items[b"RFC822.SIZE"]))
            for uid, items in found.items()
            if uid >= first and b"RFC822.SIZE" in items
        }

    def message(self, uid: int) -> Fetched | None:
        """Return the message; None if it is gone."""
        wanted = f"(UID FLAGS INTERNALDATE{self._modseq} BODY.PEEK[])"
        items = self._fetch(str(uid), wanted).get(uid, {})
        octets, date = items.get(b"BODY[]"), items.get(b"INTERNALDATE")
        if octets is None or date is None:
            return None
        return Fetched(_state(items), text_of(date), octets_of(octets))

    def state(self, uid: int) -> State | None:
        """Return the flags that it has now; None if it is gone."""
        items = self._fetch(str(uid), f"(UID FLAGS{self._modseq})").get(uid, {})
        return _state(items) if b"FLAGS" in items else None

    def append(self, folder: str, flags: Flags, date: str, octets: bytes) -> int:
        """Return the UID of a new message. Raises MessageFailed if the server refuses."""
        self._server.literal = octets
        arguments = quoted(folder), _listed(flags), quoted(date)
        try:
            # imaplib's own append() would normalise line ends.
            kind, data = self._server.xatom("APPEND", *arguments)
        except (imaplib.IMAP4.error, OSError) as error:
            raise _broken(error) from None
        if kind != "OK":
            raise MessageFailed(f"APPEND refused: {_said(data)}")
        found = _APPENDUID.search(data[0] or b"")
        if found is None:
            raise StoreFailed("the server does not say which UID a new message has")
        return int(found[1])

    def set_flags(self, uid: int, flags: Flags) -> None:
        """Let the message have these flags and no others."""
        self._ask("STORE", self._server.uid, "STORE", str(uid), "FLAGS.SILENT", _listed(flags))

    def mark_deleted(self, uid: int, modseq: int | None) -> bool:
        """Whether it is marked now, not having changed since `modseq`, where servers know that."""
        condition = [] if modseq is None else [f"(UNCHANGEDSINCE {modseq})"]
        flags = _listed(frozenset({DELETED}))
        # Forget what an earlier one has left.
        self._server.response("MODIFIED")
        found = self._by_uid(
            self._ask("STORE", self._server.uid, "STORE", str(uid), *condition, "+FLAGS", flags)
        )
        _, modified = self._server.response("MODIFIED")
        is_marked = DELETED in _state(found.get(uid, {})).flags
        return is_marked and modified == [None]

    def expunge(self, uid: int) -> None:
        """Remove a message that is marked deleted."""
        self._ask("UID EXPUNGE", self._server.uid, "EXPUNGE", str(uid))

    def close(self) -> None:
        """End it, without regard to what the server says."""
        try:
            self._server.logout()
        except (imaplib.IMAP4.error, OSError):
            self._server.shutdown()

    @property
    def _modseq(self) -> str:
        return " MODSEQ" if b"CONDSTORE" in self._capabilities else ""

    def _namespaces(self) -> tuple[list[str], list[str]]:
        """Return the prefixes of this user's mailboxes, and of those that others share."""
        if b"NAMESPACE" not in self._capabilities:
            return [""], []
        ((own, *others),) = _parsed(self._ask("NAMESPACE", self._server.namespace))
        return _prefixes(own), [prefix for each in others for prefix in _prefixes(each)]

    def _number(self, name: str) -> int:
        _, data = self._server.response(name)
        if not data or not data[-1]:
            raise StoreFailed(f"the server did not say {name}")
        return int(data[-1])

    def _fetch(self, uids: str, items: str) -> dict[int, dict[bytes, Value]]:
        return self._by_uid(self._ask("FETCH", self._server.uid, "FETCH", uids, items))

    def _by_uid(self, response: Sequence[Any]) -> dict[int, dict[bytes, Value]]:
        """Return what was said of each message: what the server says unasked comes with it."""
        found: dict[int, dict[bytes, Value]] = {}
        for data in _parsed(response):
            items = pairs(data[-1])
            if b"UID" in items:
                found.setdefault(int(octets_of(items[b"UID"])), {}).update(items)
        return found

    def _ask(
        self, what: str, ask: Callable[..., tuple[str, list[Any]]], *arguments: str | bytes
    ) -> list[Any]:
        try:
            kind, data = ask(*arguments)
        except (imaplib.IMAP4.error, OSError) as error:
            raise _broken(error) from None
        if kind != "OK":
            raise StoreFailed(f"{what} refused: {_said(data)}")
        return [part for part in data if part is not None]


def _parsed(response: Sequence[Any]) -> Iterator[list[Value]]:
    try:
        yield from values(response)
    except Incomprehensible as error:
        raise StoreFailed(f"the server's answer: {error}") from None


def _is_folder(attributes: Value) -> bool:
    names = attributes if isinstance(attributes, list) else []
    return not _NO_FOLDERS & {octets_of(name).lower() for name in names}


def _state(items: dict[bytes, Value]) -> State:
    flags, modseq = items.get(b"FLAGS"), items.get(b"MODSEQ")
    names = {octets_of(flag) for flag in flags} if isinstance(flags, list) else set()
    number = int(octets_of(modseq[0])) if isinstance(modseq, list) else None
    return State(frozenset(names - {_RECENT}), number)


def _prefixes(namespace: Value) -> list[str]:
    entries = namespace if isinstance(namespace, list) else []
    return [text_of(entry[0]) for entry in entries if isinstance(entry, list)]


def _listed(flags: Flags) -> bytes:
    return b"(%b)" % b" ".join(sorted(flags))


def _said(data: Sequence[Any]) -> str:
    return b" ".join(part for part in data if isinstance(part, bytes)).decode(errors="replace")


def _broken(error: Exception) -> StoreFailed:
    # What imaplib aborts with quotes the line that it did not understand: mail, perhaps.
    if isinstance(error, imaplib.IMAP4.abort) or not isinstance(error, imaplib.IMAP4.error):
        return StoreFailed("the connection broke")
    return StoreFailed(str(error))
