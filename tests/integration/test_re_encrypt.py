"""Mail that Dovecot has stored before there was Letterlock: encrypted where it lies."""

import gzip
import json
import os
import pty
import pwd
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import pytest
from click.testing import CliRunner

import canary
import messages
import terminals
from delivered import deliver_one
from letterlock.cli import main
from letterlock.reencryption import imap_server
from letterlock.reencryption.imap_server import Address, connect
from letterlock.reencryption.store import StoreFailed
from letterlock.reencryption.uidlist import UIDLIST, locked
from mail_clients import Clients
from mail_store import FIRST_DAY, MailStore, Seen
from stack import PASSWORD, Owner, Stack, daemons, wait_until

MANY = 10_000
KINDS = ("maildir", "sdbox", "mdbox")
NAMESPACES = """
namespace inbox {
  prefix = INBOX.
  separator = .
  inbox = yes
}
namespace public {
  type = public
  prefix = Public.
  separator = .
  location = maildir:%h/public
}
"""


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


@pytest.mark.timeout(900)
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
        for _ in range(7):
            with store.started("--yes", "--rate", "500") as process:
                wait_until(lambda p=process: p.poll() is not None or store.is_at_work(), "work")
                time.sleep(chance.uniform(0, 0.2))
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
    # A third of them is in the folder.
    fill(store, 300 if store.kind == "maildir" else 200)
    everything = set(by_number(store, store.seen())) | set(by_number(store, store.seen("Archive")))
    clients = Clients(store)
    with store.started("--yes", "--rate", "400") as process:
        clients.work(lambda: process.poll() is not None)
        process.communicate()
    assert 0 == process.returncode
    # What arrived last may have come too late for it.
    assert 0 == store.run().status

    found = {folder: by_number(store, store.seen(folder)) for folder in ("INBOX", "Archive")}
    inbox, archive = (set(found[folder]) for folder in ("INBOX", "Archive"))
    # A MOVE can come between our mark and our EXPUNGE. Maildir has no such moment.
    assert (inbox & archive) <= (set() if store.kind == "maildir" else clients.moved)
    assert len(inbox & archive) <= 3
    assert everything | set(clients.arrived) == inbox | archive | clients.removed
    # Who expunges what he has marked may come too late: then the copy has his mark.
    left = clients.removed & (inbox | archive)
    marked = {n for seen in found.values() for n in seen if "\\Deleted" in seen[n].flags}
    assert left <= (set() if store.kind == "maildir" else marked)
    assert len(left) <= 3
    assert clients.moved <= archive
    flagged = {n for seen in found.values() for n in seen if "\\Answered" in seen[n].flags}
    assert clients.flagged - clients.removed <= flagged
    for seen in found.values():
        require_all_encrypted(store, list(seen.values()))
    assert clients.moved
    assert clients.flagged
    assert clients.removed
    assert clients.arrived


def test_the_owner_gets_back_what_was_stored(stack: Stack, alice: Owner, tmp_path: Path) -> None:
    """With the real key service, by gpg, octet for octet; mail comes in afterwards as before.

    As root it works as the account that owns the mail, whose the files stay.
    """
    # Other tests have left mail in the inbox.
    maildir = stack.layout.mail / "pass.test" / "alice" / "Maildir" / ".Old"
    for part in ("cur", "new", "tmp"):
        (maildir / part).mkdir(parents=True)
    originals = [
        messages.PLAIN.replace(b"\r\n", b"\n"),
        messages.PLAIN,
        b"From bob Fri Nov 20\n\nold\n",
        b"Subject: " + b"x" * 3_000_000 + b"\n\n\n",
    ]
    for number, octets in enumerate(originals):
        (maildir / "cur" / f"{FIRST_DAY + number}.M{number}P1.old:2,S").write_bytes(octets)
    subprocess.run(["chown", "-R", "nobody:nogroup", str(maildir.parent.parent)], check=True)
    before = len(stack.maildir("alice@pass.test"))
    service = f"unix:{daemons.keyservice_socket(stack.layout)}"

    command = [sys.executable, "-c", "from letterlock.cli import main; main()", "re-encrypt"]
    options = ["--mailbox", "alice@pass.test", "--service", service, "--yes"]
    done = subprocess.run([*command, str(maildir), *options], capture_output=True, check=True)
    deliver_one(stack, messages.PLAIN, "alice@pass.test")

    assert b"4 encrypted" in done.stdout
    files = sorted(maildir.glob("cur/*"))
    assert ["nobody"] * 4 == [file.owner() for file in files]
    restored = []
    for file in files:
        decrypted = CliRunner().invoke(
            main, ["decrypt", "--original", str(file)], env={"GNUPGHOME": str(alice.home)}
        )
        restored.append(decrypted.stdout_bytes)
    assert originals == restored
    assert before + 1 == len(stack.maildir("alice@pass.test"))


def test_maildirlock_and_we_exclude_each_other(tmp_path: Path) -> None:
    """Dovecot's own program takes the lock: we wait until it lets go, and it waits for us."""
    (tmp_path / UIDLIST).touch()
    program = ["/usr/lib/dovecot/maildirlock", str(tmp_path)]
    # It prints the pid of a child that keeps the lock until it is told to end.
    keeper = int(subprocess.run([*program, "5"], capture_output=True, check=True).stdout)
    began = time.monotonic()
    Timer(0.5, os.kill, (keeper, signal.SIGTERM)).start()
    with locked(tmp_path):
        assert 0.4 < time.monotonic() - began < 30
        refused = subprocess.run([*program, "1"], capture_output=True, check=False)
        assert 0 != refused.returncode
    assert not (tmp_path / f"{UIDLIST}.lock").exists()


def test_root_is_given_up(maildir: MailStore) -> None:
    """While it works it is the account that owns the mail, without a way back."""
    maildir.deliver(range(30))
    with maildir.started("--yes", "--rate", "10") as process:
        wait_until(maildir.is_at_work, "it works")
        status = Path(f"/proc/{process.pid}/status").read_text()
    nobody = pwd.getpwnam("nobody")

    (uids,) = re.findall(r"^Uid:\t(.*)$", status, re.MULTILINE)
    assert {str(nobody.pw_uid)} == set(uids.split())
    (capabilities,) = re.findall(r"^CapEff:\t(.*)$", status, re.MULTILINE)
    assert 0 == int(capabilities, 16)


def test_over_the_network(tmp_path: Path) -> None:
    """With a password from a file. What has to be done on the other host is said."""
    with MailStore(tmp_path / "store", "mdbox") as store:
        store.append(range(5), "Archive/Entw&APw-rfe")
        password = tmp_path / "password"
        password.write_text(f"{PASSWORD}\n")
        address = f"imap://alice%40example.test@127.0.0.1:{store.layout.ports['imap']}"
        outcome = store.run("--password-file", str(password), store=address)
        password.write_text("wrong\n")
        refused = store.run("--password-file", str(password), store=address)

        assert (0, "") == (outcome.status, outcome.errors)
        require_all_encrypted(store, store.seen("Archive/Entw&APw-rfe"))
        assert "doveadm purge -u alice@example.test" in outcome.output
        assert "Archive/Entwürfe" in outcome.output
        assert os.EX_IOERR == refused.status
        assert "AUTHENTICATIONFAILED" in refused.errors


def test_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    """A public folder that is mounted into the mailbox; the inbox is found beside its prefix."""
    with MailStore(tmp_path / "store", "sdbox", NAMESPACES) as store:
        public = store.home / "public"
        for part in ("cur", "new", "tmp"):
            (public / ".Team" / part).mkdir(parents=True)
        (public / ".Team" / "cur" / "1.M1P1.h:2,").write_bytes(store.original(9))
        subprocess.run(["chown", "-R", "nobody:nogroup", str(store.home)], check=True)
        store.append(range(2))
        store.append(range(2, 4), "INBOX.Sent")
        assert 0 == store.run().status

        require_all_encrypted(store, store.seen("INBOX") + store.seen("INBOX.Sent"))
        assert [store.original(9)] == [message.octets for message in store.seen("Public.Team")]


def test_a_server_without_a_name_gets_no_password(
    maildir: MailStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS whose certificate nobody vouches for, or, but on loopback, no TLS at all."""

    def password() -> str:
        raise AssertionError("asked for the password")

    host, port = maildir.layout.address("imap")
    with pytest.raises(StoreFailed, match=r"SSL|TLS"):
        connect(Address("imaps", "alice", host, port), password)
    monkeypatch.setattr(imap_server, "_is_loopback", lambda _host: False)
    with pytest.raises(StoreFailed, match="TLS not supported"):
        connect(Address("imap", "alice", host, port), password)


def test_nothing_to_encrypt_to(maildir: MailStore) -> None:
    """No certificate, or nobody who could say: one line, and nothing is changed."""
    maildir.deliver(range(3))
    before = maildir.snapshot()

    unknown = maildir.run(mailbox="bob@example.test")
    maildir.keyservice.__exit__()
    unreachable = maildir.run()
    maildir.keyservice.__enter__()

    assert 1 == unknown.status
    assert "it has no certificate" in unknown.errors
    assert os.EX_UNAVAILABLE == unreachable.status
    assert 1 == len(unreachable.errors.splitlines())
    assert before == maildir.snapshot()


def test_what_cannot_be_encrypted_is_said(maildir: MailStore) -> None:
    """The others are; the exit status tells."""
    maildir.deliver(range(3))
    odd = maildir.maildir / "cur" / "7.M7P7.old:2,S"
    odd.write_bytes(gzip.compress(b"Subject: x\n\n"))
    shutil.chown(odd, "nobody", "nogroup")
    outcome = maildir.run()

    assert 1 == outcome.status
    assert "letterlock: .: 7.M7P7.old: stored by Dovecot as gzip" in outcome.errors
    assert "3 encrypted" in outcome.output
    assert b"\x1f\x8b" == odd.read_bytes()[:2]


@pytest.mark.parametrize(
    ("store", "status", "words"),
    [
        ("/nonexistent", os.EX_IOERR, "No such file"),
        ("imap://alice:secret@127.0.0.1", os.EX_USAGE, "no password belongs here"),
        ("imap://127.0.0.1", os.EX_USAGE, "expected imap://USER@HOST"),
        ("imap://alice@127.0.0.1:1", os.EX_IOERR, "Connection refused"),
        ("doveadm:nobody-there", os.EX_IOERR, "doveadm"),
    ],
)
def test_one_clear_line(maildir: MailStore, store: str, status: int, words: str) -> None:
    """For a store that is none."""
    if store.startswith("doveadm"):
        store = "doveadm:"
    password = maildir.layout.base / "password"
    password.write_text("x\n")
    outcome = maildir.run("--password-file", str(password), store=store)

    assert status == outcome.status, outcome.errors
    assert words in outcome.errors
    assert "Traceback" not in outcome.errors


def test_it_asks_first(maildir: MailStore) -> None:
    """Which certificate, whose, how many messages: nobody else could undo it."""
    maildir.deliver(range(3))
    before = maildir.snapshot()
    with maildir.started() as process:
        output, _ = process.communicate()

    assert 1 == process.returncode
    assert f"the 3 messages in {maildir.maildir}" in output
    assert maildir.owner.certificate.fingerprint in output
    assert before == maildir.snapshot()


def test_stopped_it_can_go_on(maildir: MailStore) -> None:
    """SIGTERM: what it has begun is finished, the rest is left for another time."""
    maildir.deliver(range(200))
    with maildir.started("--yes", "--rate", "10") as process:
        wait_until(maildir.is_at_work, "it works")
        process.terminate()
        output, _ = process.communicate()

    assert 130 == process.returncode
    assert "Run it again" in output
    assert not any(maildir.maildir.glob("tmp/*"))
    encrypted = [store for store in maildir.seen() if maildir.is_encrypted(store.octets)]
    assert 0 < len(encrypted) < 200
    assert 0 == maildir.run().status
    require_all_encrypted(maildir, maildir.seen())


def test_a_bar_shows_how_far_it_is(maildir: MailStore) -> None:
    """On a terminal, and nowhere else."""
    maildir.deliver(range(20))
    terminal, stderr = pty.openpty()
    with maildir.started("--yes", stderr=stderr) as process:
        os.close(stderr)
        shown = b"".join(iter(lambda: terminals.read(terminal), b""))
        process.communicate()
    os.close(terminal)

    assert b"20/20" in shown
