"""The few things that are asked of an IMAP server, in octets and numbers."""

import imaplib
from collections.abc import Callable
from typing import Any

from letterlock.reencryption.imap_answers import (
    DELETED,
    Fetched,
    Flags,
    Items,
    Removal,
    Selected,
    State,
    appended_uid,
    broken,
    by_uid,
    folder_names,
    message_of,
    namespaces,
    said,
    state_of,
)
from letterlock.reencryption.imap_syntax import octets_of, quoted
from letterlock.reencryption.store import MessageFailed, StoreFailed


class Session:
    """A server that knows who we are. Any method may raise StoreFailed."""

    def __init__(self, server: imaplib.IMAP4, *, is_dry: bool) -> None:
        """`is_dry`: folders are opened for reading only."""
        # Its types know text only, which could not name every folder.
        self._server: Any = server
        self._is_dry = is_dry
        lines = self._ask("CAPABILITY", server.capability)
        self._capabilities = frozenset(b" ".join(lines).upper().split())
        if b"UIDPLUS" not in self._capabilities:
            raise StoreFailed("the server has no UIDPLUS (RFC 4315): other mail could go, too")

    def folders(self) -> list[str]:
        """Return the names, as the server encodes them, of what belongs to this user."""
        mine, others = self._namespaces()
        # A prefix may be `INBOX.`, which the inbox itself does not begin with.
        patterns = ["INBOX", *(f"{prefix}*" for prefix in mine)]
        answers = (self._ask("LIST", self._server.list, b'""', quoted(p)) for p in patterns)
        names = {name for answer in answers for name in folder_names(answer)}
        return sorted(name for name in names if not name.startswith(others))

    def select(self, folder: str) -> Selected | None:
        """Open a folder; None if it is gone."""
        try:
            kind, data = self._server.select(quoted(folder), readonly=self._is_dry)
        except imaplib.IMAP4.readonly:
            raise StoreFailed(f"{folder} can only be read") from None
        except (imaplib.IMAP4.error, OSError) as error:
            raise broken(error) from None
        if kind != "OK":
            return None
        validity, next_uid = (self._number(name) for name in ("UIDVALIDITY", "UIDNEXT"))
        return Selected(validity, next_uid, data[-1] in (b"0", None))

    def sizes(self, first: int) -> dict[int, int]:
        """Return UID and size of each message from UID `first` on."""
        # `*` is the last message, whatever comes before it (RFC 3501 §6.4.8).
        return {
            uid: int(octets_of(items[b"RFC822.SIZE"]))
            for uid, items in self._fetch(f"{first}:*", "(UID RFC822.SIZE)").items()
            if uid >= first and b"RFC822.SIZE" in items
        }

    def message(self, uid: int) -> Fetched | None:
        """Return the message; None if it is gone."""
        wanted = f"(UID FLAGS INTERNALDATE{self._modseq} BODY.PEEK[])"
        return message_of(self._fetch(str(uid), wanted).get(uid, {}))

    def state(self, uid: int) -> State | None:
        """Return the flags that it has now; None if it is gone."""
        items = self._fetch(str(uid), f"(UID FLAGS{self._modseq})").get(uid, {})
        return state_of(items) if b"FLAGS" in items else None

    def append(self, folder: str, flags: Flags, date: str, octets: bytes) -> int:
        """Return the UID of a new message. Raises MessageFailed if the server refuses."""
        self._server.literal = octets
        try:
            # imaplib's own append() would normalise line ends.
            kind, data = self._server.xatom("APPEND", quoted(folder), _listed(flags), quoted(date))
        except (imaplib.IMAP4.error, OSError) as error:
            raise broken(error) from None
        if kind != "OK":
            raise MessageFailed(f"APPEND refused: {said(data)}")
        return appended_uid(data)

    def set_flags(self, uid: int, flags: Flags) -> None:
        """Let the message have these flags and no others."""
        self._ask("STORE", self._server.uid, "STORE", str(uid), "FLAGS.SILENT", _listed(flags))

    def remove(self, uid: int, modseq: int | None) -> Removal:
        """Mark a message deleted if it has not changed since `modseq`, and expunge what is marked.

        All in one go: between commands that a client sends one by one others could move the
        message, expunge it by our mark, or set flags, which would be lost.
        """
        condition = [] if modseq is None else [f"(UNCHANGEDSINCE {modseq})"]
        one, mark = str(uid), _listed(frozenset({DELETED})).decode()
        self._server.response("MODIFIED")
        told = self._ask_at_once(
            # RFC 7162 §3.1.3.
            ("UID", "STORE", one, *condition, "+FLAGS", mark),
            # Until then a server may say what it knew before (RFC 9051 §7.5.2).
            ("NOOP",),
            ("UID", "FETCH", one, "(UID FLAGS)"),
            # This one, and no other (RFC 4315 §2.1).
            ("UID", "EXPUNGE", one),
        )
        _, modified = self._server.response("MODIFIED")
        items = by_uid(told).get(uid, {})
        return Removal(
            state_of(items).flags if b"FLAGS" in items else None, was_changed=modified != [None]
        )

    def discard(self, uid: int) -> None:
        """Remove a message that we have made."""
        self.remove(uid, None)

    def close(self) -> None:
        """End it, without regard to what the server says."""
        try:
            self._server.logout()
        except (imaplib.IMAP4.error, OSError):
            self._server.shutdown()

    @property
    def _modseq(self) -> str:
        return " MODSEQ" if b"CONDSTORE" in self._capabilities else ""

    def _namespaces(self) -> tuple[list[str], tuple[str, ...]]:
        if b"NAMESPACE" not in self._capabilities:
            return [""], ()
        return namespaces(self._ask("NAMESPACE", self._server.namespace))

    def _number(self, name: str) -> int:
        _, data = self._server.response(name)
        if not data or not data[-1]:
            raise StoreFailed(f"the server did not say {name}")
        return int(data[-1])

    def _fetch(self, uids: str, items: str) -> dict[int, Items]:
        return by_uid(self._ask("FETCH", self._server.uid, "FETCH", uids, items))

    def _ask_at_once(self, *commands: tuple[str, ...]) -> list[Any]:
        """Send all before any is answered; return what the server said of messages."""
        server = self._server
        # What is there yet may be about a message that has gone since.
        server.response("FETCH")
        # imaplib has no public way to send without waiting for each answer.
        asked = {server._new_tag(): command for command in commands}
        lines = (tag + b" " + " ".join(asked[tag]).encode() + b"\r\n" for tag in asked)
        try:
            server.send(b"".join(lines))
            answers = [server._command_complete(asked[tag][0], tag) for tag in asked]
        except (imaplib.IMAP4.error, OSError) as error:
            raise broken(error) from None
        for command, (kind, data) in zip(commands, answers, strict=True):
            # Some say NO, some OK, when a condition is not met (RFC 7162 §3.1.3).
            if kind != "OK" and not said(data).startswith("[MODIFIED "):
                raise StoreFailed(f"{' '.join(command[:2])} refused: {said(data)}")
        _, told = server.response("FETCH")
        return [part for part in told if part is not None]

    def _ask(
        self, what: str, ask: Callable[..., tuple[str, list[Any]]], *arguments: str | bytes
    ) -> list[Any]:
        try:
            kind, data = ask(*arguments)
        except (imaplib.IMAP4.error, OSError) as error:
            raise broken(error) from None
        if kind != "OK":
            raise StoreFailed(f"{what} refused: {said(data)}")
        return [part for part in data if part is not None]


def _listed(flags: Flags) -> bytes:
    return b"(%b)" % b" ".join(sorted(flags))
