"""Mail behind IMAP replaced: appended, read back, expunged; nothing lost, nothing doubled."""

import copy
import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fake_keyservice import MemoryOwner
from letterlock.message import split
from letterlock.reencryption.engine import Audience, Engine, Fate, Pace, Summary
from letterlock.reencryption.imap import IMAPStore, InFlight
from letterlock.reencryption.imap_answers import DELETED, Fetched, Removal, Selected, State
from letterlock.reencryption.journal import Journal
from letterlock.reencryption.store import MessageFailed, StoreFailed
from stored_mail import encryption, is_encrypted, original

OWNER = MemoryOwner("alice@example.test")
ENCRYPTION = encryption(OWNER)
DATE = "13-Sep-2020 12:26:40 +0000"


class Killed(BaseException):
    """The run is not there any more."""


@dataclass
class Kept:
    """A message on the server."""

    octets: bytes
    flags: frozenset[bytes]
    date: str
    modseq: int


@dataclass
class Server:
    """Speaks like `Session`, keeps mail in memory, and kills whoever asks at `kill_at`."""

    folders_: dict[str, dict[int, Kept]] = field(default_factory=dict)
    kill_at: int = -1
    has_modseq: bool = True
    selected: str = ""
    calls: int = 0
    next_uid: int = 100
    modseq: int = 1
    interfere: dict[str, Callable[[], object]] = field(default_factory=dict)
    refuses: bool = False
    spoils: bool = False

    def _count(self, name: str) -> None:
        if act := self.interfere.pop(name, None):
            act()
        if self.calls == self.kill_at:
            raise Killed
        self.calls += 1

    def put(self, folder: str, number: int, *flags: bytes) -> int:
        return self.keep(folder, message(number), frozenset(flags), DATE)

    def keep(self, folder: str, octets: bytes, flags: frozenset[bytes], date: str) -> int:
        self.next_uid += 1
        self.modseq += 1
        box = self.folders_.setdefault(folder, {})
        box[self.next_uid] = Kept(octets, flags, date, self.modseq)
        return self.next_uid

    def flag(self, folder: str, uid: int, *flags: bytes) -> None:
        self.modseq += 1
        kept = self.folders_[folder][uid]
        kept.flags, kept.modseq = frozenset(flags), self.modseq

    @property
    def _box(self) -> dict[int, Kept]:
        return self.folders_[self.selected]

    def _state(self, kept: Kept) -> State:
        return State(kept.flags, kept.modseq if self.has_modseq else None)

    def folders(self) -> list[str]:
        return sorted(self.folders_)

    def select(self, folder: str) -> Selected | None:
        self._count("select")
        self.selected = folder
        if folder not in self.folders_:
            return None
        return Selected(7, self.next_uid + 1, not self.folders_[folder])

    def sizes(self, first: int) -> dict[int, int]:
        self._count("sizes")
        return {uid: len(kept.octets) for uid, kept in self._box.items() if uid >= first}

    def message(self, uid: int) -> Fetched | None:
        self._count("message")
        kept = self._box.get(uid)
        return kept and Fetched(self._state(kept), kept.date, kept.octets)

    def state(self, uid: int) -> State | None:
        self._count("state")
        kept = self._box.get(uid)
        return kept and self._state(kept)

    def append(self, folder: str, flags: frozenset[bytes], date: str, octets: bytes) -> int:
        self._count("append")
        if self.refuses:
            raise MessageFailed("APPEND refused: over quota")
        uid = self.keep(folder, octets + b"\r\n" if self.spoils else octets, flags, date)
        self._count("appended")
        return uid

    def set_flags(self, uid: int, flags: frozenset[bytes]) -> None:
        self._count("set_flags")
        if uid in self._box:
            self.flag(self.selected, uid, *flags)
        self._count("flags set")

    def remove(self, uid: int, modseq: int | None) -> Removal:
        self._count("remove")
        kept = self._box.get(uid)
        was_changed = kept is not None and modseq is not None and kept.modseq > modseq
        if kept is not None and not was_changed:
            self.flag(self.selected, uid, *kept.flags, DELETED)
        self._count("marked")
        kept = self._box.get(uid, kept)
        if kept is not None and DELETED in kept.flags:
            self._box.pop(uid, None)
        self._count("removed")
        return Removal(kept and kept.flags, was_changed=was_changed)

    def discard(self, uid: int) -> None:
        self.remove(uid, None)

    def close(self) -> None:
        """Nothing to let go of."""


def message(number: int) -> bytes:
    return b"Message-ID: <%d>\r\nSubject: x\r\n\r\nbody %d\r\n" % (number, number)


def moments(server: Server) -> list[str]:
    """Return what a run asks of such a server, in order."""
    watched = copy.deepcopy(server)
    names: list[str] = []
    watched._count = names.append  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as directory:
        run(watched, Path(directory))
    return names


def run(server: Server, directory: Path) -> Summary:
    journal = Journal(directory / "journal", InFlight)
    store = IMAPStore(server, journal, forget)
    audience = Audience(lambda _fate, _messages: None, lambda _where, _why: None)
    summary = Engine(store, ENCRYPTION, audience, Pace(), is_dry=False).run()
    list(store.finish())
    return summary


def forget(folders: list[str]) -> Iterator[str]:
    yield from folders


def filled() -> Server:
    server = Server()
    server.put("INBOX", 1, b"\\Seen", b"one")
    server.put("INBOX", 2, DELETED)
    server.put("Sent", 3)
    return server


def numbers(server: Server) -> dict[tuple[str, int], int]:
    """Return how often each message is in which folder."""
    found: dict[tuple[str, int], int] = {}
    for folder, box in server.folders_.items():
        for kept in box.values():
            key = folder, number(kept.octets)
            found[key] = found.get(key, 0) + 1
    return found


def number(octets: bytes) -> int:
    plain = original(OWNER, octets) if is_encrypted(octets) else octets
    found = int(split(plain)[0].named(b"message-id")[0].unfolded.strip(b"<>"))
    assert message(found) == plain
    return found


def require_done(server: Server) -> None:
    """All is encrypted once, with its flags and its date."""
    assert {("INBOX", 1): 1, ("INBOX", 2): 1, ("Sent", 3): 1} == numbers(server)
    everything = [kept for box in server.folders_.values() for kept in box.values()]
    flags = {number(kept.octets): kept.flags for kept in everything}
    assert {1: {b"\\Seen", b"one"}, 2: {DELETED}, 3: set()} == flags
    assert all(is_encrypted(kept.octets) and kept.date == DATE for kept in everything)


@pytest.mark.parametrize("has_modseq", [True, False])
def test_everything_is_replaced(tmp_path: Path, has_modseq: bool) -> None:
    """With flags and dates; the UIDs are new."""
    server = filled()
    server.has_modseq = has_modseq

    assert {Fate.ENCRYPTED: 3} == run(server, tmp_path).fates
    require_done(server)
    assert not (tmp_path / "journal").exists()


def test_killed_at_any_moment_nothing_is_lost(tmp_path: Path) -> None:
    """Before and after each thing that the server does: all is there, and the next run ends it."""
    moment = -1
    is_killed = True
    while is_killed:
        moment += 1
        server = filled()
        server.kill_at = moment
        try:
            run(server, tmp_path)
        except Killed:
            assert {("INBOX", 1), ("INBOX", 2), ("Sent", 3)} == set(numbers(server)), moment
        else:
            is_killed = False
        server.kill_at = -1
        run(server, tmp_path)
        require_done(server)
    assert moment > 25


def test_killed_at_any_two_moments(tmp_path: Path) -> None:
    """A run that finishes what another has left can be killed as well."""
    for first in range(0, 40, 2):
        for second in range(first % 5, 30, 5):
            server = filled()
            for moment in (first, second):
                server.kill_at, server.calls = moment, 0
                try:
                    run(server, tmp_path)
                except Killed:
                    found = set(numbers(server))
                    assert {("INBOX", 1), ("INBOX", 2), ("Sent", 3)} == found, (first, second)
            server.kill_at = -1
            run(server, tmp_path)
            require_done(server)


@pytest.mark.parametrize("moment", ["append", "appended", "remove", "state"])
@pytest.mark.parametrize("flag", [b"\\Flagged", DELETED])
def test_flags_that_change_meanwhile_are_kept(tmp_path: Path, moment: str, flag: bytes) -> None:
    """The copy gets those that the original has at the end, its owner's mark among them."""
    server = Server()
    uid = server.put("INBOX", 1)
    if moment == "state":
        # Which is asked for only if something has changed before.
        server.interfere["remove"] = lambda: server.flag("INBOX", uid, b"\\Seen")
    server.interfere[moment] = lambda: server.flag("INBOX", uid, flag)

    run(server, tmp_path)

    (kept,) = server.folders_["INBOX"].values()
    assert {flag} == kept.flags
    assert is_encrypted(kept.octets)


@pytest.mark.parametrize("has_modseq", [False, True])
@pytest.mark.parametrize("takes_our_mark", [False, True])
def test_flags_that_change_at_the_last_moment_are_kept(
    tmp_path: Path, *, has_modseq: bool, takes_our_mark: bool
) -> None:
    """When it is marked already; without our mark nothing is removed, and we begin again."""
    server = Server(has_modseq=has_modseq)
    uid = server.put("INBOX", 1)
    flags = [b"\\Flagged"] if takes_our_mark else [b"\\Flagged", DELETED]
    server.interfere["marked"] = lambda: server.flag("INBOX", uid, *flags)

    run(server, tmp_path)

    (kept,) = server.folders_["INBOX"].values()
    assert {b"\\Flagged"} == kept.flags
    assert is_encrypted(kept.octets)


@pytest.mark.parametrize("moment", ["state", "set_flags", "remove"])
def test_what_a_killed_run_has_asked_for_may_come_late(tmp_path: Path, moment: str) -> None:
    """The server removes the original while the next run looks at it: the copy stays."""
    server = Server()
    uid = server.put("INBOX", 1)
    server.kill_at = moments(server).index("remove")
    with pytest.raises(Killed):
        run(server, tmp_path)
    server.kill_at = -1
    server.interfere[moment] = lambda: server.folders_["INBOX"].pop(uid)
    run(server, tmp_path)

    assert {("INBOX", 1): 1} == numbers(server)


def test_flags_that_change_before_the_next_run_are_kept(tmp_path: Path) -> None:
    """Killed when the copy was there: the original's flags of now count, not those of then."""
    server = Server()
    uid = server.put("INBOX", 1)
    server.kill_at = moments(server).index("remove")
    with pytest.raises(Killed):
        run(server, tmp_path)
    server.kill_at = -1
    server.flag("INBOX", uid, b"\\Answered")
    run(server, tmp_path)

    (kept,) = server.folders_["INBOX"].values()
    assert ({b"\\Answered"}, True) == (kept.flags, is_encrypted(kept.octets))


@pytest.mark.parametrize("moment", ["message", "append", "appended", "remove"])
def test_mail_that_is_removed_meanwhile_stays_removed(tmp_path: Path, moment: str) -> None:
    """What was made of it goes, too."""
    server = Server()
    uid = server.put("INBOX", 1)
    server.interfere[moment] = lambda: server.folders_["INBOX"].pop(uid)

    assert {Fate.GONE: 1} == run(server, tmp_path).fates
    assert {} == server.folders_["INBOX"]


def test_mail_that_is_moved_meanwhile_is_found_where_it_went(tmp_path: Path) -> None:
    """To a folder that was looked at before: there is another pass."""
    server = Server({"Archive": {}})
    uid = server.put("INBOX", 1)

    def move() -> None:
        server.keep("Archive", server.folders_["INBOX"].pop(uid).octets, frozenset(), DATE)

    server.interfere["append"] = move
    run(server, tmp_path)

    assert {("Archive", 1): 1} == numbers(server)
    assert all(is_encrypted(kept.octets) for kept in server.folders_["Archive"].values())


def test_a_deletion_of_ours_is_no_wish_of_the_owners(tmp_path: Path) -> None:
    """Killed between mark and expunge: the copy must not be marked, or any client removes it."""
    for moment in range(40):
        server = Server()
        server.put("INBOX", 1)
        server.kill_at = moment
        try:
            run(server, tmp_path)
        except Killed:
            server.kill_at = -1
            run(server, tmp_path)
        (kept,) = server.folders_["INBOX"].values()
        assert frozenset() == kept.flags


def test_a_refused_message_stays(tmp_path: Path) -> None:
    """Over quota: it is as it was, and said to have failed."""
    server = filled()
    server.refuses = True
    before = {folder: dict(box) for folder, box in server.folders_.items()}

    assert {Fate.FAILED: 3} == run(server, tmp_path).fates
    assert before == server.folders_


def test_a_server_that_changes_mail_is_not_trusted_with_it(tmp_path: Path) -> None:
    """What was appended goes, the original stays."""
    server = filled()
    server.spoils = True

    assert {Fate.FAILED: 3} == run(server, tmp_path).fates
    assert {("INBOX", 1): 1, ("INBOX", 2): 1, ("Sent", 3): 1} == numbers(server)
    assert not any(is_encrypted(k.octets) for box in server.folders_.values() for k in box.values())


def test_uids_that_mean_others_now_are_not_touched(tmp_path: Path) -> None:
    """A journal of a folder that was made anew: better doubled than lost."""
    server = filled()
    made = ENCRYPTION.encrypt(message(1), 0)
    copy = server.keep("INBOX", made.octets, frozenset(), DATE)
    digest = hashlib.sha256(made.octets).digest()
    flight = InFlight("INBOX", 6, 101, False, 0, len(made.octets), digest)
    Journal(tmp_path / "journal", InFlight).begin(flight)

    run(server, tmp_path)

    assert copy in server.folders_["INBOX"]
    assert 2 == numbers(server)["INBOX", 1]


def test_an_unreadable_journal_stops_the_run(tmp_path: Path) -> None:
    """It may be about a message that must not be encrypted once more."""
    (tmp_path / "journal").write_text("{}")

    with pytest.raises(StoreFailed, match="journal"):
        run(filled(), tmp_path)
