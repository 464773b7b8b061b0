"""Any store behind IMAP: what replaces a message is appended, read back, and the old expunged.

UIDs change. A message under way is in the journal, with a digest of what replaces it: by that
the next run finds it on the server, and then removes the original or what is doubled.
"""

import hashlib
import imaplib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from letterlock.reencryption.imap_answers import DELETED, Flags, Selected, State
from letterlock.reencryption.imap_session import Session
from letterlock.reencryption.imap_syntax import decoded_name
from letterlock.reencryption.journal import Journal
from letterlock.reencryption.store import Done, MessageFailed, Reference, Stored, StoreFailed

_CHASES_MAX = 100
_MARK = frozenset({DELETED})

Forget = Callable[[Sequence[str]], Iterator[str]]
"""Removes what a server keeps of expunged messages; is given all folders."""


class InFlight(msgspec.Struct, frozen=True):
    """A message that is being replaced."""

    folder: str
    validity: int
    uid: int
    was_deleted: bool
    """Whether its owner had marked it, before we do."""

    next_uid: int
    """What replaces it has this UID or a higher one."""

    octets: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class IMAPMessage(Stored):
    """A message as it was fetched."""

    uid: int
    state: State
    date: str


class IMAPStore:
    """A `Store`. One process at a time, which the caller sees to."""

    def __init__(self, session: Session, journal: Journal[InFlight], forget: Forget) -> None:
        """`forget`: see there."""
        self._session = session
        self._journal = journal
        self._forget = forget
        self._folder = ""
        self._selected: Selected | None = None
        self._validities: dict[str, int] = {}

    def recover(self) -> int:
        """See `Store`."""
        try:
            flight = self._journal.unfinished()
        except ValueError as error:
            raise StoreFailed(str(error)) from None
        finished = 0
        if flight is not None:
            selected = self._select(flight.folder)
            # Else the UIDs mean other messages, and both stay: better doubled than lost.
            if selected is not None and selected.validity == flight.validity:
                finished = self._finish(flight)
            self._journal.settle()
        return finished

    def folders(self) -> Sequence[str]:
        """See `Store`; names as the server encodes them."""
        return self._session.folders()

    def references(self, folder: str) -> Sequence[Reference]:
        """See `Store`."""
        selected = self._select(folder, anew=True)
        if selected is None or selected.is_empty:
            return []
        return [Reference(folder, str(uid)) for uid in sorted(self._session.sizes(1))]

    def read(self, reference: Reference) -> IMAPMessage | None:
        """See `Store`."""
        if self._select(reference.folder) is None:
            return None
        uid = int(reference.name)
        found = self._session.message(uid)
        if found is None:
            return None
        stored_at = _seconds(found.date)
        return IMAPMessage(reference, found.octets, stored_at, uid, found.state, found.date)

    def replace(self, message: IMAPMessage, octets: bytes) -> Done:
        """See `Store`."""
        folder = message.reference.folder
        selected = self._select(folder)
        if selected is None:
            return Done(gone=1)
        flight = InFlight(
            folder=folder,
            validity=selected.validity,
            uid=message.uid,
            was_deleted=DELETED in message.state.flags,
            next_uid=selected.next_uid,
            octets=len(octets),
            digest=_digest(octets),
        )
        self._journal.begin(flight)
        try:
            new = self._append(message, octets)
        except MessageFailed:
            self._journal.settle()
            raise
        is_removed = self._remove(flight, new, message.state)
        if not is_removed:
            self._session.discard(new)
        self._journal.settle()
        self._selected = selected._replace(next_uid=new + 1)
        return Done((Reference(folder, str(new)),)) if is_removed else Done(gone=1)

    def settle(self) -> Done:
        """See `Store`."""
        return Done()

    def finish(self) -> Iterator[str]:
        """See `Store`."""
        return self._forget([decoded_name(folder) for folder in self._session.folders()])

    def close(self) -> None:
        """See `Store`."""
        self._session.close()

    def _finish(self, flight: InFlight) -> int:
        new = self._appended(flight)
        if new is None:
            return 0
        # Whatever becomes of the original, the copy stays: the server may still be at it for the
        # run that was killed, and has then removed it itself.
        now = self._session.state(flight.uid)
        if now is not None:
            if not flight.was_deleted:
                # Our mark, more likely than a wish.
                now = now._replace(flags=now.flags - _MARK)
            self._session.set_flags(new, now.flags)
            self._remove(flight, new, now)
        return 1

    def _append(self, message: IMAPMessage, octets: bytes) -> int:
        """Return the UID of the copy, once it was seen to be whole."""
        folder = message.reference.folder
        new = self._session.append(folder, message.state.flags, message.date, octets)
        found = self._session.message(new)
        if found is None or _digest(found.octets) != _digest(octets):
            self._session.discard(new)
            raise MessageFailed("the server does not keep what is appended octet for octet")
        return new

    def _remove(self, flight: InFlight, new: int, state: State) -> bool:
        """Remove the original; whether it was there.

        The copy, which has the flags of `state`, gets those that the original has at the end.
        """
        for _ in range(_CHASES_MAX):
            flags, was_changed = self._session.remove(flight.uid, state.modseq)
            if flags is None:
                return False
            if DELETED in flags:
                # Its owner's mark is a wish, ours is none.
                is_wish = was_changed or DELETED in state.flags
                self._flag(new, state.flags, flags if is_wish else flags - _MARK)
                return True
            now = self._session.state(flight.uid)
            if now is None:
                return False
            self._flag(new, state.flags, now.flags)
            state = now
        raise StoreFailed(f"{flight.folder}: somebody keeps changing the flags of {flight.uid}")

    def _flag(self, uid: int, before: Flags, wanted: Flags) -> None:
        if wanted != before:
            self._session.set_flags(uid, wanted)

    def _appended(self, flight: InFlight) -> int | None:
        """Return the UID of the copy that an earlier run appended."""
        for uid, octets in self._session.sizes(flight.next_uid).items():
            if octets == flight.octets:
                found = self._session.message(uid)
                if found is not None and _digest(found.octets) == flight.digest:
                    return uid
        return None

    def _select(self, folder: str, *, anew: bool = False) -> Selected | None:
        if folder != self._folder or self._selected is None or anew:
            self._folder = folder
            self._selected = self._session.select(folder)
            if self._selected is not None:
                validity = self._selected.validity
                if validity != self._validities.setdefault(folder, validity):
                    raise StoreFailed(f"{folder}: its UIDs have changed")
        return self._selected


def _digest(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()


def _seconds(date: str) -> float:
    then = imaplib.Internaldate2tuple(f'INTERNALDATE "{date}"'.encode())
    if then is None:
        raise MessageFailed("its INTERNALDATE is none")
    return time.mktime(then)
