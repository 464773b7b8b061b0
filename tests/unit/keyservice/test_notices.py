"""Owners are told once of each change and before the end, whatever Postfix does meanwhile."""

import email
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Self

import pytest

from keyservice import bindings, ledger, store
from keyservice.certificate import Certificate, Refusal, RefusalReason
from keyservice.database import Database
from keyservice.levels import Level, Source
from keyservice.mail_door import Deferred, DoorClosed, Refused
from keyservice.mailbox import Mailbox
from keyservice.notice import Notice, NoticeKind, compose
from keyservice.notices import LOOK_BACK, Notices
from keyservice.overview import DAY
from keyservice.schema import EventKind
from keyservice.wire import EncryptionSubkey

ALICE, BOB = Mailbox.parse("alice@example.org"), Mailbox.parse("bob@example.org")
STRANGER = Mailbox.parse("alice@elsewhere.example")
OLD, NEW = "a" * 40, "b" * 40
START = 1_800_000_000


class World:
    """A database, a clock and a Postfix that is told what to say."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = Database(path)
        self.now = float(START)
        self.says: type[Exception] | None = None
        self.sessions = 0
        self.mails: list[EmailMessage] = []
        self.results: list[str] = []
        self.notices = self.instance()

    def instance(self) -> Notices:
        """Return what one instance of the service has."""
        return Notices(
            self.database,
            ("example.org",),
            lambda: self,  # type: ignore[arg-type, return-value]  # stands in for the door
            observe=lambda result: self.results.append(result.value),
            clock=lambda: self.now,
        )

    def __enter__(self) -> Self:
        self.sessions += 1
        return self

    def __exit__(self, *_: object) -> None:
        """The session is over."""

    def hand_over(self, mail: bytes, mailbox: Mailbox) -> None:
        """Take the mail, or not."""
        if self.says is not None:
            raise self.says("as told")
        parsed = email.message_from_bytes(mail, policy=default)
        assert mailbox.key == parsed["To"]
        self.mails.append(parsed)

    def certificate(self, fingerprint: str, days: int | None = None) -> None:
        """Store a certificate that can be encrypted to for `days`."""
        end = None if days is None else START + days * DAY
        subkey = EncryptionSubkey(fingerprint, b"", end)
        # The primary key lives longer: what counts is until when one can encrypt.
        facts = Certificate(
            fingerprint, 4, subkeys=(subkey,), not_after=None if end is None else end + 90 * DAY
        )
        with self.database.writing() as connection:
            store.save_certificate(connection, facts, b"", START, START)

    def enrol(self, fingerprint: str, mailbox: Mailbox = ALICE) -> None:
        """Use a stored certificate from now on."""
        now = int(self.now)
        with self.database.writing() as connection:
            replaced = bindings.bind(
                connection, mailbox, fingerprint, now, level=Level.KNOWN_KEY, source=Source.OPERATOR
            )
            kind = EventKind.REPLACED if replaced else EventKind.ENROLLED
            ledger.note(connection, mailbox, kind, now, fingerprint)

    def note(
        self, kind: EventKind, fingerprint: str | None, refusal: Refusal | None = None
    ) -> None:
        """Write an event down."""
        with self.database.writing() as connection:
            ledger.note(connection, ALICE, kind, int(self.now), fingerprint, refusal)

    def withdraw(self) -> None:
        """Stop using the certificate."""
        with self.database.writing() as connection:
            bindings.unbind(connection, ALICE, int(self.now))

    def pass_time(self, seconds: float) -> list[str]:
        """Let time pass, and the notices do their work; return the subjects that were sent."""
        self.now += seconds
        self.notices.collect()
        self.notices.send_due()
        subjects = [mail["Subject"] for mail in self.mails]
        self.mails.clear()
        return subjects


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """One with two certificates without an end."""
    world = World(tmp_path / "k.sqlite")
    world.certificate(OLD)
    world.certificate(NEW)
    yield world
    world.database.close()


def test_each_change_is_told_once(world: World) -> None:
    """Enrolled, replaced, withdrawn; then nothing more, however often it looks."""
    world.enrol(OLD)
    assert ["Your mail is encrypted to a certificate"] == world.pass_time(5)
    world.enrol(NEW)
    assert ["Your mail is encrypted to another certificate"] == world.pass_time(5)
    world.withdraw()
    assert ["Your certificate is no longer used"] == world.pass_time(5)

    assert [] == [subject for _ in range(5) for subject in world.pass_time(DAY)]


def test_a_replacement_names_both_certificates(world: World) -> None:
    """As gpg prints fingerprints."""
    world.enrol(OLD)
    world.enrol(NEW)
    world.notices.collect()
    world.notices.send_due()

    text = world.mails[-1].get_content().replace("\r\n", "\n")

    assert "BBBB " * 9 + "BBBB" in text
    assert "before to\n\n    " + "AAAA " * 9 in text


def test_a_waiting_replacement_is_announced_with_its_day(world: World) -> None:
    """So that the holder of the old key can object."""
    world.enrol(OLD)
    world.pass_time(5)
    with world.database.writing() as connection:
        bindings.hold(connection, ALICE, NEW, START + 7 * DAY, int(world.now))
    world.note(EventKind.WAITING, NEW)
    world.notices.collect()
    world.notices.send_due()

    (mail,) = world.mails

    assert "Another certificate is to replace yours" == mail["Subject"]
    assert "on 2027-01-22 08:00 UTC" in mail.get_content()
    assert "BBBB BBBB" in mail.get_content()
    assert "as before, to" in mail.get_content()


def test_the_end_is_announced_60_14_and_3_days_before(world: World) -> None:
    """Each once, by the time when nothing can be encrypted to it any more."""
    world.certificate(OLD, days=100)
    world.enrol(OLD)
    told = {day: subjects for day in range(101) if (subjects := world.pass_time(DAY if day else 0))}

    assert {0, 40, 86, 97} == set(told)
    assert ["Your certificate ends on 2027-04-25"] == told[40] == told[86] == told[97]


def test_a_certificate_that_ends_soon_gets_one_warning(world: World) -> None:
    """Not those of the days that have passed already."""
    world.certificate(OLD, days=2)
    world.enrol(OLD)

    assert 2 == len(world.pass_time(5))
    assert [] == world.pass_time(3_601)


def test_an_extended_certificate_is_warned_about_anew(world: World) -> None:
    """It has another end."""
    world.certificate(OLD, days=60)
    world.enrol(OLD)
    world.pass_time(5)
    world.certificate(OLD, days=70)

    assert [] == world.pass_time(3_600)
    assert 1 == len(world.pass_time(10 * DAY))


def test_a_warning_that_came_too_late_is_not_sent(world: World) -> None:
    """The certificate was replaced before Postfix was there."""
    world.certificate(OLD, days=3)
    world.enrol(OLD)
    world.says = DoorClosed
    world.pass_time(5)
    world.enrol(NEW)
    world.says = None

    subjects = world.pass_time(700)

    assert 2 == len(subjects)
    assert not [subject for subject in subjects if "ends on" in subject]
    assert "obsolete" in world.results


def test_a_refusal_is_told_once_though_it_is_found_every_day(world: World) -> None:
    """And one at enrolment not at all: whoever tried was told."""
    world.enrol(OLD)
    world.pass_time(5)
    refusal = Refusal(RefusalReason.REVOKED, "its owner revoked it")
    told = []
    for _ in range(3):
        world.note(EventKind.REVETTED, OLD, refusal)
        world.note(EventKind.REFUSED, None, refusal)
        told += world.pass_time(DAY)

    assert ["Your certificate cannot be used any more"] == told


def test_postfix_may_be_down(world: World) -> None:
    """One attempt, then a pause that grows; nothing is lost and nothing sent twice."""
    world.enrol(OLD)
    world.enrol(NEW, BOB)
    world.says = DoorClosed
    world.notices.collect()
    pauses = []
    for _ in range(8):
        pauses.append(world.notices.send_due())
        world.now += pauses[-1]
    world.says = None

    assert [15, 30, 60, 120, 240, 480, 600, 600] == pauses
    assert 2 == len(world.pass_time(600))
    assert ["unreachable"] * 8 + ["sent"] * 2 == world.results


def test_what_postfix_defers_is_tried_again_and_at_last_given_up(world: World) -> None:
    """A mailbox without a certificate may get one; the others do not wait for it."""
    world.enrol(OLD)
    world.pass_time(5)
    world.withdraw()
    world.says = Deferred
    world.pass_time(5)
    world.says = None
    world.enrol(NEW, BOB)

    assert 1 == len(world.pass_time(60))
    assert ["Your certificate is no longer used"] == world.pass_time(300)
    world.enrol(NEW)
    world.says = Deferred
    world.results.clear()
    for _ in range(24 * 8):
        world.pass_time(3_600)

    assert 1 == world.results.count("given_up")
    assert 42 <= world.results.count("deferred") < 50


def test_what_postfix_refuses_is_not_tried_again(world: World) -> None:
    """The mailbox does not exist there, for one."""
    world.enrol(OLD)
    world.says = Refused
    world.pass_time(5)
    world.says = None

    assert [] == world.pass_time(DAY)
    assert ["refused"] == world.results


def test_two_instances_send_it_once(world: World) -> None:
    """Whoever is first has it."""
    world.enrol(OLD)
    other = world.instance()
    for one in (world.notices, other):
        one.collect()
    for one in (world.notices, other):
        one.send_due()

    assert 1 == len(world.mails)


def test_after_a_crash_it_is_sent_with_the_same_message_id(world: World) -> None:
    """Postfix took it, and we did not come to write that down."""
    world.enrol(OLD)
    world.pass_time(5)
    with world.database.writing() as connection:
        connection.exec_driver_sql(f"UPDATE notice SET try_at = {int(world.now)}")
    world.notices.send_due()
    (first,) = world.mails
    world.mails.clear()
    with world.database.writing() as connection:
        connection.exec_driver_sql(f"UPDATE notice SET try_at = {int(world.now)}")
    world.notices.send_due()

    assert first["Message-ID"] == world.mails[0]["Message-ID"]


def test_old_news_and_other_peoples_are_not_told(world: World) -> None:
    """Addresses in the database may be of people who are not ours."""
    world.enrol(OLD, STRANGER)
    world.certificate(OLD, days=3)
    world.enrol(NEW)
    world.now += LOOK_BACK + 5
    world.notices = world.instance()

    assert [] == world.pass_time(0)


def test_a_notice_is_a_plain_mail(world: World) -> None:
    """From the domain's postmaster, marked as automatic, and short."""
    world.enrol(OLD)
    world.notices.collect()
    world.notices.send_due()

    (mail,) = world.mails

    assert "Letterlock <postmaster@example.org>" == mail["From"]
    assert "auto-generated" == mail["Auto-Submitted"]
    assert "text/plain" == mail.get_content_type()
    assert len(mail.get_content()) < 1_000
    assert max(map(len, mail.get_content().splitlines())) < 80


def test_a_client_certificate_is_told_to_the_owner(world: World) -> None:
    """Who has it can send in the owner's name; each, and its end, once."""
    for kind in (EventKind.CLIENT_ISSUED, EventKind.CLIENT_RENEWED, EventKind.CLIENT_REVOKED):
        world.note(kind, "ab" * 32)

    issued = "A client certificate for sending mail was issued for you"
    revoked = "A client certificate of yours was revoked"
    assert [issued, issued, revoked] == world.pass_time(5)
    assert [] == world.pass_time(DAY)


@pytest.mark.parametrize("kind", NoticeKind)
@pytest.mark.parametrize("address", ["alice@example.org", "ä+b=c/d'e!@xn--bcher-kva.example"])
def test_every_kind_can_be_told_to_everybody(kind: NoticeKind, address: str) -> None:
    """The octets are those of a mail, whatever the local part."""
    mailbox = Mailbox.parse(address)
    octets = compose(Notice(1, mailbox, kind, START, OLD), "operator@example.net")

    mail = email.message_from_bytes(octets, policy=default)

    assert "Letterlock <operator@example.net>" == mail["From"]
    assert f"To: {address}\r\n" in octets.decode()
    assert b"\n" not in octets.replace(b"\r\n", b"")
    assert not address.isascii() or octets.isascii()
