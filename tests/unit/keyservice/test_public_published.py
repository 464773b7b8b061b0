"""What is published: certificates in use that can be used, and revocations; nothing else."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event

from certificates import ALICE, BOB, gallery, revoked, sequoia
from keyservice import bindings, store
from keyservice.certificate import RefusalReason, RejectedCertificate
from keyservice.database import Database
from keyservice.mailbox import Mailbox
from keyservice.packets import USER_ID, components, split
from keyservice.publishable import publishable
from keyservice.published import PublicationBusy, Published
from keyservice.vet import vet
from keyservice.vetting_child import Verdict, is_shown
from keyservice.wkd_name import wkd_name

MAILBOX = Mailbox.parse("alice@example.org")
BOBS = Mailbox.parse("bob@example.org")
YEAR = 365 * 86_400


class Vets:
    """The vetting child without the child."""

    calls = 0
    fails = False

    def vet(self, octets: bytes) -> Verdict:
        self.calls += 1
        if self.fails:
            raise RejectedCertificate(RefusalReason.VETTING_TIMEOUT, "too slow")
        certificate, minimised = vet(octets, time.time())
        return Verdict(certificate, b"", publishable(minimised) if is_shown(certificate) else b"")


class Store:
    """A database to enrol into without asking, and what is published of it."""

    def __init__(self, path: Path) -> None:
        self.database = Database(path)
        self.vets = Vets()
        self.hidden: set[Mailbox] = set()
        self.now = time.time()
        self.published = Published(
            self.database,
            self.vets,
            {"example.org"},
            lambda mailbox: mailbox not in self.hidden,
            lambda: self.now,
        )

    def bind(self, octets: bytes, *mailboxes: Mailbox) -> str:
        """Use a certificate for mailboxes, whatever there is against it."""
        certificate, minimised = vet(octets, time.time())
        now = int(time.time())
        with self.database.writing() as connection:
            store.save_certificate(connection, certificate, minimised, now, now)
            for mailbox in mailboxes:
                bindings.bind(connection, mailbox, certificate.fingerprint, now)
        return certificate.fingerprint

    def withdraw(self, mailbox: Mailbox) -> None:
        """Use none."""
        with self.database.writing() as connection:
            bindings.unbind(connection, mailbox, int(time.time()))


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Store]:
    """An empty one."""
    stored = Store(tmp_path / "k.sqlite")
    yield stored
    stored.database.close()


def user_ids(octets: bytes) -> list[str]:
    """Return the user IDs of a certificate."""
    return [c.packet.body.decode() for c in components(split(octets)) if c.packet.tag == USER_ID]


def test_all_ways_lead_to_the_same(stored: Store) -> None:
    """By mailbox in any case, hash, fingerprint and key ID."""
    fingerprint = stored.bind(gallery()["two_user_ids"], MAILBOX)
    published = stored.published
    (found,) = published.by_mailbox(Mailbox.parse("ALICE@example.org"))

    assert (fingerprint, MAILBOX, False) == (found.fingerprint, found.mailbox, found.is_revoked)
    assert [ALICE] == user_ids(found.octets)
    assert (found,) == published.by_wkd_name(wkd_name(MAILBOX.key))
    assert found == published.by_fingerprint(fingerprint)
    assert found == published.by_key_id(fingerprint[-16:])


def test_a_version_6_certificate_has_no_key_id(stored: Store) -> None:
    """By fingerprint it is found."""
    fingerprint = stored.bind(gallery()["alice_v6"], MAILBOX)

    assert stored.published.by_fingerprint(fingerprint) is not None
    assert stored.published.by_key_id(fingerprint[:16]) is None
    assert stored.published.by_key_id(fingerprint[-16:]) is None


@pytest.mark.parametrize("name", ["expired", "expired_subkey", "sign_only", "bob", "sha1"])
def test_what_cannot_be_used_is_not_published(stored: Store, name: str) -> None:
    """Even if it is in use: what came to be so later is refused by the daily vetting."""
    fingerprint = stored.bind(gallery()[name], MAILBOX)

    assert () == stored.published.by_mailbox(MAILBOX)
    assert stored.published.by_fingerprint(fingerprint) is None


def test_it_ends_with_the_certificate(stored: Store) -> None:
    """To the second, without anybody doing anything."""
    stored.bind(gallery()["ending"], MAILBOX)

    assert 1 == len(stored.published.by_mailbox(MAILBOX))
    stored.now += YEAR + 1
    assert () == stored.published.by_mailbox(MAILBOX)


def test_what_is_withdrawn_or_hidden_is_gone_at_once(stored: Store) -> None:
    """And so is what belongs to a domain that is not published."""
    fingerprint = stored.bind(gallery()["alice"], MAILBOX)
    foreign = sequoia("x@example.net")
    stored.bind(foreign.certificate, Mailbox.parse("x@example.net"))

    assert () == stored.published.by_mailbox(Mailbox.parse("x@example.net"))
    stored.hidden.add(MAILBOX)
    assert () == stored.published.by_mailbox(MAILBOX)
    assert stored.published.by_fingerprint(fingerprint) is None
    stored.hidden.clear()
    assert 1 == len(stored.published.by_mailbox(MAILBOX))
    stored.withdraw(MAILBOX)
    assert () == stored.published.by_mailbox(MAILBOX)
    assert stored.published.by_key_id(fingerprint[-16:]) is None


def test_a_revocation_is_published_after_its_successor(stored: Store) -> None:
    """Whoever has a copy of the old certificate must learn of it."""
    old, new = sequoia(ALICE), sequoia(ALICE)
    stored.bind(revoked(old), MAILBOX)
    (alone,) = stored.published.by_mailbox(MAILBOX)
    successor = stored.bind(new.certificate, MAILBOX)
    first, second = stored.published.by_mailbox(MAILBOX)

    assert alone.is_revoked
    assert [ALICE] == user_ids(alone.octets)
    assert (successor, False) == (first.fingerprint, first.is_revoked)
    assert alone == second
    found = stored.published.by_fingerprint(second.fingerprint)
    assert found is not None
    assert found.is_revoked


def test_by_fingerprint_nobody_learns_a_second_mailbox(stored: Store) -> None:
    """One who knows Alice's certificate must not find out that Bob is the same person."""
    fingerprint = stored.bind(gallery()["two_user_ids"], MAILBOX, BOBS)
    found = stored.published.by_fingerprint(fingerprint)
    (bobs,) = stored.published.by_mailbox(BOBS)

    assert found is not None
    assert ([], None) == (user_ids(found.octets), found.mailbox)
    assert [BOB] == user_ids(bobs.octets)
    stored.hidden.add(BOBS)
    alone = stored.published.by_fingerprint(fingerprint)
    assert alone is not None
    assert [ALICE] == user_ids(alone.octets)


def test_signatures_are_checked_once_per_state(stored: Store) -> None:
    """A change of the stored octets is seen at once, also within the same second."""
    alice = sequoia(ALICE)
    stored.bind(alice.certificate, MAILBOX)
    for _ in range(3):
        stored.published.by_mailbox(MAILBOX)
    calls = stored.vets.calls
    stored.bind(revoked(alice), MAILBOX)
    (found,) = stored.published.by_mailbox(MAILBOX)

    assert 1 == calls
    assert found.is_revoked
    assert 2 == len(components(split(found.octets))[0].signatures)


def test_a_child_that_fails_is_no_answer(stored: Store) -> None:
    """Neither a certificate that nobody checked, nor the lie that there is none."""
    stored.bind(gallery()["alice"], MAILBOX)
    stored.vets.fails = True

    with pytest.raises(PublicationBusy):
        stored.published.by_mailbox(MAILBOX)
    stored.vets.fails = False
    assert 1 == len(stored.published.by_mailbox(MAILBOX))


def test_no_question_scans_a_table(stored: Store) -> None:
    """Each is answered by an index, however many mailboxes there are."""
    plans: list[str] = []

    def explain(cursor: object, statement: str, parameters: object) -> None:
        cursor.execute("EXPLAIN QUERY PLAN " + statement, parameters)  # type: ignore[attr-defined]
        plans.extend(row[3] for row in cursor.fetchall())  # type: ignore[attr-defined]

    @event.listens_for(stored.database._engine, "before_cursor_execute")
    def before(_c: object, cursor: object, statement: str, parameters: object, *_: object) -> None:
        if statement.startswith("SELECT"):
            explain(cursor, statement, parameters)

    stored.published.by_mailbox(MAILBOX)
    stored.published.by_wkd_name("x@example.org")
    stored.published.by_fingerprint("ab" * 20)
    stored.published.by_key_id("ab" * 8)

    assert len(plans) >= 12
    assert [] == [step for step in plans if "SCAN" in step]


def test_replaced_certificates_do_not_crowd_out_the_one_in_use(stored: Store) -> None:
    """However often a mailbox changed its certificate."""
    for _ in range(30):
        newest = stored.bind(sequoia(ALICE).certificate, MAILBOX)

    assert [newest] == [found.fingerprint for found in stored.published.by_mailbox(MAILBOX)]


def test_to_say_no_takes_the_same_work_whatever_the_reason(stored: Store) -> None:
    """Unknown, hidden, or without a certificate: the same reads, nothing verified."""
    counted: list[str] = []
    stored.bind(gallery()["alice"], MAILBOX)
    stored.bind(gallery()["bob"], BOBS)
    stored.hidden.add(MAILBOX)
    stored.withdraw(BOBS)

    @event.listens_for(stored.database._engine, "before_cursor_execute")
    def before(_c: object, _cursor: object, statement: str, *_: object) -> None:
        counted.append(statement)

    works = []
    for mailbox in (MAILBOX, BOBS, Mailbox.parse("nobody@example.org")):
        counted.clear()
        assert () == stored.published.by_mailbox(mailbox)
        works.append(list(counted))

    assert works[0] == works[1] == works[2]
    assert 0 == stored.vets.calls
