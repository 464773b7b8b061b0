"""The few things that are asked of an IMAP server, in octets and numbers."""

import imaplib
from collections.abc import Callable
from typing import Any

from letterlock.reencryption.imap_answers import (
    DELETED,
    Fetched,
    Flags,
    Items,
    Selected,
    appended_uid,
    broken,
    by_uid,
    flags_of,
    folder_names,
    message_of,
    namespaces,
    said,
)
from letterlock.reencryption.imap_syntax import octets_of, quoted
from letterlock.reencryption.store import MessageFailed, StoreFailed

_REPLACED = "letterlock-replaced"
"""A folder that is there while we work: for what was replaced, until that is removed for good."""

_NEEDED = {
    b"UIDPLUS": "the server has no UIDPLUS (RFC 4315): other mail could go, too",
    b"MOVE": "the server has no MOVE (RFC 6851): what clients change meanwhile would be lost",
}


class Session:
    """A server that knows who we are. Any method may raise StoreFailed."""

    def __init__(self, server: imaplib.IMAP4, *, is_dry: bool) -> None:
        """`is_dry`: folders are opened for reading only."""
        # Its types know text only, which could not name every folder.
        self._server: Any = server
        self._is_dry = is_dry
        lines = self._ask("CAPABILITY", server.capability)
        self._capabilities = frozenset(b" ".join(lines).upper().split())
        for name, complaint in _NEEDED.items():
            if name not in self._capabilities:
                raise StoreFailed(complaint)
        self._mine, self._others = self._namespaces()
        self._replaced = f"{next(iter(self._mine), '')}{_REPLACED}"
        self._has_replaced = False

    def folders(self) -> list[str]:
        """Return the names, as the server encodes them, of what belongs to this user."""
        # A prefix may be `INBOX.`, which the inbox itself does not begin with.
        patterns = ["INBOX", *(f"{prefix}*" for prefix in self._mine)]
        names = {name for pattern in patterns for name in self._list(pattern)}
        own = (name for name in names if not name.startswith(self._others))
        return sorted(name for name in own if name != self._replaced)

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
        wanted = "(UID FLAGS INTERNALDATE BODY.PEEK[])"
        return message_of(self._fetch(str(uid), wanted).get(uid, {}))

    def flags(self, uid: int) -> Flags | None:
        """Return the flags that it has now; None if it is gone."""
        return flags_of(self._fetch(str(uid), "(UID FLAGS)").get(uid, {}))

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

    def take_away(self, uid: int) -> Flags | None:
        """Take a message out of the folder for good.

        Return the flags that it had immediately before, for what others set after the last look
        is lost otherwise; None if it was gone. Unlike a mark and EXPUNGE it is one step (RFC 6851
        §3.3), between whose halves nobody can move the message, or expunge it by our mark.
        """
        if not self._has_replaced:
            self._make_replaced()
        one = str(uid).encode()
        told = self._ask_at_once(
            # Until then a server may say what it knew before (RFC 9051 §7.5.2).
            (b"NOOP",),
            (b"UID", b"FETCH", one, b"(UID FLAGS)"),
            (b"UID", b"MOVE", one, quoted(self._replaced)),
        )
        return flags_of(by_uid(told).get(uid, {}))

    def forget_replaced(self) -> None:
        """Remove what was taken away, also by an earlier run: there is a copy of each."""
        kind, data = self._do(self._server.delete, quoted(self._replaced))
        self._has_replaced = False
        if kind != "OK" and self._list(self._replaced):
            raise StoreFailed(f"DELETE refused: {said(data)}")

    def discard(self, uid: int) -> None:
        """Remove a message that we have made, and no other (RFC 4315 §2.1)."""
        mark = _listed(frozenset({DELETED}))
        self._ask("STORE", self._server.uid, "STORE", str(uid), "+FLAGS.SILENT", mark)
        self._ask("UID EXPUNGE", self._server.uid, "EXPUNGE", str(uid))

    def close(self) -> None:
        """End it, without regard to what the server says."""
        try:
            self._server.logout()
        except (imaplib.IMAP4.error, OSError):
            self._server.shutdown()

    def _namespaces(self) -> tuple[list[str], tuple[str, ...]]:
        if b"NAMESPACE" not in self._capabilities:
            return [""], ()
        return namespaces(self._ask("NAMESPACE", self._server.namespace))

    def _number(self, name: str) -> int:
        _, data = self._server.response(name)
        if not data or not data[-1]:
            raise StoreFailed(f"the server did not say {name}")
        return int(data[-1])

    def _make_replaced(self) -> None:
        kind, data = self._do(self._server.create, quoted(self._replaced))
        # The server may still have been at it for a run that was killed.
        if kind != "OK" and not self._list(self._replaced):
            raise StoreFailed(f"CREATE refused: {said(data)}")
        self._has_replaced = True

    def _list(self, pattern: str) -> list[str]:
        return list(folder_names(self._ask("LIST", self._server.list, b'""', quoted(pattern))))

    def _fetch(self, uids: str, items: str) -> dict[int, Items]:
        return by_uid(self._ask("FETCH", self._server.uid, "FETCH", uids, items))

    def _ask_at_once(self, *commands: tuple[bytes, ...]) -> list[Any]:
        """Send all before any is answered; return what the server said of messages."""
        server = self._server
        # What is there yet may be about a message that has gone since.
        server.response("FETCH")
        # imaplib has no public way to send without waiting for each answer.
        tags = [server._new_tag() for _ in commands]
        lines = (b" ".join((tag, *words)) for tag, words in zip(tags, commands, strict=True))
        try:
            server.send(b"\r\n".join((*lines, b"")))
            answers = [server._command_complete("UID", tag) for tag in tags]
        except (imaplib.IMAP4.error, OSError) as error:
            raise broken(error) from None
        for words, (kind, data) in zip(commands, answers, strict=True):
            if kind != "OK":
                raise StoreFailed(f"{b' '.join(words[:2]).decode()} refused: {said(data)}")
        _, told = server.response("FETCH")
        return [part for part in told if part is not None]

    def _ask(
        self, what: str, ask: Callable[..., tuple[str, list[Any]]], *arguments: str | bytes
    ) -> list[Any]:
        kind, data = self._do(ask, *arguments)
        if kind != "OK":
            raise StoreFailed(f"{what} refused: {said(data)}")
        return [part for part in data if part is not None]

    @staticmethod
    def _do(
        ask: Callable[..., tuple[str, list[Any]]], *arguments: str | bytes
    ) -> tuple[str, list[Any]]:
        try:
            return ask(*arguments)
        except (imaplib.IMAP4.error, OSError) as error:
            raise broken(error) from None


def _listed(flags: Flags) -> bytes:
    return b"(%b)" % b" ".join(sorted(flags))
