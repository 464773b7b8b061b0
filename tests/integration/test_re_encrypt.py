"""Mail that Dovecot has stored before there was Letterlock: encrypted where it lies."""

import json
import os
import random
import signal
import smtplib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest

import canary
from click.testing import CliRunner
from delivered import Delivered
from letterlock.cli import main
from mail_store import FIRST_DAY, MailStore, Seen
from stack import Owner, Stack, dovecot, wait_until

MANY = 10_000
KINDS = ("maildir", "sdbox", "mdbox")


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MailStore]:
    """An empty one of each kind."""
    with MailStore(tmp_path / "store", request.param) as store:
        yield store


@pytest.fixture
def maildir(tmp_path: Path) -> Iterator[MailStore]:
    with MailStore(tmp_path / "store") as store:
        yield store


def fill(store: MailStore, count: int) -> None:
    """Put `count` messages into the inbox and half as many into a folder."""
    if store.kind == "maildir":
        store.deliver(range(count))
        store.deliver(range(count, count * 3 // 2), ".Archive")
    else:
        store.append(range(count))
        store.append(range(count, count * 3 // 2), "Archive")


def by_number(store: MailStore, seen: list[Seen]) -> dict[int, Seen]:
    found = {store.number(message.octets): message for message in seen}
    assert len(found) == len(seen)
    return found


def require_all_encrypted(store: MailStore, seen: list[Seen]) -> None:
    for message in seen:
        assert store.is_encrypted(message.octets)
        assert len(message.octets) == message.size


def test_ten_thousand_messages(maildir: MailStore) -> None:
    """UIDs, flags, keywords and dates stay; no word of them is in any file, caches included.

    Somebody is logged in all the time, and reads on afterwards.
    """
    maildir.deliver(range(MANY))
    before = maildir.seen()
    assert [] != canary.found(maildir.files(), maildir.canaries.words)
    with maildir.client("INBOX") as reader:
        reader.fetch("1:*", "(FLAGS RFC822.SIZE ENVELOPE)")
        outcome = maildir.run("--json")
        kind, _ = reader.fetch(f"{MANY - 50}:*", "(BODY.PEEK[])")
        assert "OK" == kind

    assert (0, "") == (outcome.status, outcome.errors)
    assert MANY == json.loads(outcome.output)["encrypted"]
    assert [] == canary.found(maildir.files(), maildir.canaries.words)
    after = maildir.seen()
    assert [(m.uid, m.flags, m.date) for m in before] == [(m.uid, m.flags, m.date) for m in after]
    require_all_encrypted(maildir, after)
    assert [maildir.number(m.octets) for m in before] == [maildir.number(m.octets) for m in after]
    log = (maildir.layout.logs / "dovecot.log").read_text()
    assert [] == [line for line in log.splitlines() if "wrong" in line or "orrupt" in line]


def test_flags_and_dates_stay_in_every_store(store: MailStore) -> None:
    """In a folder as well; and no word is left, after what Dovecot keeps of expunged mail."""
    fill(store, 60)
    folders = ("INBOX", "Archive")
    before = {folder: by_number(store, store.seen(folder)) for folder in folders}

    outcome = store.run()

    assert 0 == outcome.status, outcome.errors
    assert [] == canary.found(store.files(), store.canaries.words)
    for folder in folders:
        after = by_number(store, store.seen(folder))
        assert before[folder].keys() == after.keys()
        require_all_encrypted(store, list(after.values()))
        for number, message in after.items():
            was = before[folder][number]
            assert (was.flags, was.date) == (message.flags, message.date)
            if store.kind == "maildir":
                assert was.uid == message.uid


def test_a_second_run_finds_nothing_to_do(store: MailStore) -> None:
    """What is encrypted stays octet for octet."""
    fill(store, 10)
    store.run()
    before = store.seen()
    outcome = store.run("--json")

    counts = json.loads(outcome.output)
    assert (0, 15) == (counts["encrypted"], counts["ours"])
    assert before == store.seen()


def test_a_dry_run_changes_nothing(store: MailStore) -> None:
    """It counts messages and octets."""
    fill(store, 10)
    store.seen()
    before = store.seen()
    files = store.snapshot()
    outcome = store.run("--dry-run", "--json")

    counts = json.loads(outcome.output)
    assert 15 == counts["encrypted"]
    assert 0 < counts["octets_before"] < counts["octets_after"]
    assert before == store.seen()
    if store.kind == "maildir":
        assert files == store.snapshot()


@pytest.mark.parametrize("kind", KINDS)
def test_killed_again_and_again_nothing_is_lost(kind: str, tmp_path: Path) -> None:
    """SIGKILL at any moment, with Dovecot looking on: each message is there, at last once."""
    chance = random.Random(kind)
    with MailStore(tmp_path / "store", kind) as store:
        fill(store, 300 if kind == "maildir" else 120)
        expected = set(by_number(store, store.seen())), set(by_number(store, store.seen("Archive")))
        kills = 0
        for _ in range(12):
            with store.started() as process:
                # Python alone takes a while to start.
                time.sleep(chance.uniform(0.3, 0.9))
                process.send_signal(signal.SIGKILL)
            kills += process.returncode == -signal.SIGKILL
            found = store.numbers(store.seen()), store.numbers(store.seen("Archive"))
            assert expected == (set(found[0]), set(found[1]))
        outcome = store.run()

        assert 0 == outcome.status, outcome.errors
        assert kills >= 3
        assert expected == tuple(
            set(by_number(store, store.seen(folder))) for folder in ("INBOX", "Archive")
        )
        for folder in ("INBOX", "Archive"):
            require_all_encrypted(store, store.seen(folder))
        assert [] == canary.found(store.files(), store.canaries.words)


def test_a_mailbox_in_use(store: MailStore) -> None:
    """Read, flagged, moved and removed, with mail arriving, while it runs: each wish counts."""
    fill(store, 300)
    clients = Clients(store)
    with store.started("--rate", "400") as process:
        clients.work(lambda: process.poll() is not None)
        process.communicate()
    assert 0 == process.returncode
    # What arrived last may have come too late for it.
    assert 0 == store.run().status

    everything = {folder: by_number(store, store.seen(folder)) for folder in ("INBOX", "Archive")}
    numbers = [number for found in everything.values() for number in found]
    assert len(numbers) == len(set(numbers))
    assert set(range(450)) | set(clients.arrived) == set(numbers) | clients.removed
    assert not clients.removed & set(numbers)
    assert clients.moved <= set(everything["Archive"])
    flagged = {n for found in everything.values() for n in found if "\\Answered" in found[n].flags}
    assert clients.flagged - clients.removed <= flagged
    for found in everything.values():
        require_all_encrypted(store, list(found.values()))
    assert clients.moved
    assert clients.flagged
    assert clients.removed
    assert clients.arrived


class Clients:
    """What mail programs and deliveries do to a store meanwhile."""

    def __init__(self, store: MailStore) -> None:
        self.store = store
        self.flagged: set[int] = set()
        self.moved: set[int] = set()
        self.removed: set[int] = set()
        self.arrived: list[int] = []
        self._chance = random.Random(7)

    def work(self, is_over: Callable[[], bool]) -> None:
        """Go on until the run is over."""
        delivery = Thread(target=self._deliver, args=(is_over,))
        delivery.start()
        with self.store.client("INBOX") as client:
            while not is_over():
                self._act(client)
        delivery.join()

    def _act(self, client) -> None:  # noqa: ANN001 (imaplib's)
        client.noop()
        _, data = client.uid("SEARCH", "ALL")
        uid = self._chance.choice(data[0].split()).decode()
        _, found = client.uid("FETCH", uid, "(BODY.PEEK[])")
        if not found or not isinstance(found[0], tuple):
            return
        number = self.store.number(found[0][1])
        match self._chance.choice(["read", "flag", "move", "remove"]):
            case "flag":
                kind, data = client.uid("STORE", uid, "+FLAGS", r"(\Answered)")
                # It may have got another UID by now: then nothing was said of this one.
                if kind == "OK" and data != [None]:
                    self.flagged.add(number)
            case "move":
                kind, _ = client.uid("MOVE", uid, "Archive")
                _, copied = client.response("COPYUID")
                if kind == "OK" and copied != [None]:
                    self.moved.add(number)
            case "remove":
                kind, data = client.uid("STORE", uid, "+FLAGS", r"(\Deleted)")
                if kind == "OK" and data != [None]:
                    _, gone = client.uid("EXPUNGE", uid)
                    if client.response("EXPUNGE")[1] != [None]:
                        self.removed.add(number)

    def _deliver(self, is_over: Callable[[], bool]) -> None:
        number = 10_000
        while not is_over():
            with smtplib.LMTP(str(dovecot.lmtp_socket(self.store.layout))) as server:
                server.sendmail(
                    "sender@outside.test",
                    [self.store.owner.address],
                    self.store.original(number),
                )
            self.arrived.append(number)
            number += 1
            time.sleep(0.1)
