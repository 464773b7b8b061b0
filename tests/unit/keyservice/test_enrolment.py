"""Certificates come into use and go out of it; what was once true is remembered."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pysequoia
import pytest
from prometheus_client import CollectorRegistry

from certificates import ALICE as USER_ID
from certificates import gallery, sequoia
from keyservice.answers import Answers
from keyservice.certificate import RefusalReason, RejectedCertificate
from keyservice.config import DomainSection
from keyservice.database import Database
from keyservice.enrolment import Enrolments
from keyservice.errors import (
    BadSetting,
    NotEnrolled,
    OtherCertificate,
    OutsideDomain,
    Outweighed,
)
from keyservice.foreign_vet import Question, examine
from keyservice.judge import Judge
from keyservice.mailbox import Mailbox
from keyservice.metrics import CertificateStates, Metrics
from keyservice.operator_wire import PolicySource
from keyservice.overview import Overview
from keyservice.packets import fingerprint, require_one_certificate
from keyservice.settings import MailboxSettings
from keyservice.vet import vet
from keyservice.vetting_child import Verdict
from keyservice.vetting_dates import VETTING_INTERVAL
from keyservice.wire import Outcome, WithoutCertificate

WEEK = 7 * 86_400
ALICE, BOB = Mailbox.parse("alice@example.org"), Mailbox.parse("bob@example.org")


class DirectVetter:
    """The real judgement without the process around it; can be told to have no time."""

    def __init__(self) -> None:
        self.clock = time.time()
        self.is_busy = False
        self.vetted = 0

    def vet(self, octets: bytes) -> Verdict:
        """Judge at the time of the fake clock."""
        if self.is_busy:
            raise RejectedCertificate(RefusalReason.VETTING_TIMEOUT, "busy")
        self.vetted += 1
        return Verdict(*vet(octets, self.clock))

    def examine(self, question: Question) -> Verdict:
        """Likewise."""
        return examine(question, self.clock)


class Service:
    """All parts over one database, with one clock."""

    def __init__(self, path: Path) -> None:
        self.vetter = DirectVetter()
        self.database = Database(path)
        self.registry = CollectorRegistry()
        metrics = Metrics(self.registry)
        domains = {"example.org": DomainSection(without_certificate=WithoutCertificate.ACCEPT)}
        self.answers = Answers(self.database, domains, None, metrics, self.now)
        self.enrolments = Enrolments(
            self.database, self.answers, Judge(self.vetter, metrics), self.now
        )
        self.settings = MailboxSettings(self.database, self.answers, self.now)
        self.overview = Overview(self.database, self.answers, self.settings, self.now)
        self.registry.register(CertificateStates(self.overview.states))

    def now(self) -> float:
        """Return the time."""
        return self.vetter.clock

    def pass_time(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.vetter.clock += seconds

    def enrol(self, name: str, mailbox: Mailbox = ALICE, *, confirmed: bool = False) -> str:
        """Enrol a certificate of the gallery; return its fingerprint."""
        octets = gallery()[name]
        fpr = fingerprint(require_one_certificate(octets)[0].packet) if confirmed else None
        return self.enrolments.enrol(mailbox, octets, fpr).fingerprint

    def outcome(self, mailbox: Mailbox = ALICE) -> tuple[Outcome, bool]:
        """Return what is answered now, and whether there ever was a certificate."""
        answer = self.answers.answer(mailbox)
        return answer.outcome, answer.had_certificate

    def states(self) -> dict[str, float]:
        """Return the gauge."""
        names = ("in_use", "expired", "refused", "withdrawn")
        samples = {
            name: self.registry.get_sample_value("keyservice_certificates", {"state": name})
            for name in names
        }
        return {name: value for name, value in samples.items() if value}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service without a process, a socket or Redis."""
    service = Service(tmp_path / "k.sqlite")
    yield service
    service.database.close()


def test_an_enrolled_certificate_is_found(service: Service) -> None:
    """With its subkeys; before, there was nothing."""
    assert (Outcome.NOT_FOUND, False) == service.outcome()
    fingerprint = service.enrol("alice")

    answer = service.answers.answer(ALICE)

    assert (Outcome.FOUND, fingerprint) == (answer.outcome, answer.fingerprint)
    assert 1 == len(answer.subkeys)
    assert {"in_use": 1.0} == service.states()


def test_a_refused_certificate_changes_nothing_but_the_events(service: Service) -> None:
    """And was never had: the mailbox is still a newcomer."""
    with pytest.raises(RejectedCertificate):
        service.enrol("bob")

    assert (Outcome.NOT_FOUND, False) == service.outcome()
    (event,) = service.overview.explain(ALICE).events
    assert ("refused", "foreign_mailbox") == (event.kind, event.reason)
    assert () == service.overview.page("", 10).mailboxes


def test_a_withdrawn_certificate_is_remembered_for_ever(service: Service) -> None:
    """The domain accepts newcomers in the clear; this mailbox is none any more."""
    service.enrol("alice")
    service.enrolments.withdraw(ALICE)

    assert (Outcome.NOT_FOUND, True) == service.outcome()
    assert {"withdrawn": 1.0} == service.states()
    with pytest.raises(NotEnrolled):
        service.enrolments.withdraw(ALICE)
    service.enrol("alice")
    assert (Outcome.FOUND, True) == service.outcome()


def test_a_second_certificate_waits(service: Service) -> None:
    """The first one stays in use for a week; list and explanation say until when."""
    first, second = service.enrol("alice"), service.enrol("gnupg")

    explanation = service.overview.explain(ALICE)

    assert first == service.answers.answer(ALICE).fingerprint
    assert {(first, "active"), (second, "waiting")} == {
        (b.fingerprint, b.state) for b in explanation.bindings
    }
    assert [second, first] == [sighting.fingerprint for sighting in explanation.evidence]
    (line,) = service.overview.page("", 10).mailboxes
    assert WEEK - 1 <= (line.waits_until or 0) - int(service.now()) <= WEEK + 2
    assert any("waits until" in d and first in d for d in explanation.decisions)
    assert "waiting" in [event.kind for event in explanation.events]


def test_after_the_hold_down_it_takes_over(service: Service) -> None:
    """On lookup, whoever was asleep; then the first one is history."""
    first, second = service.enrol("alice"), service.enrol("gnupg")
    service.pass_time(WEEK - 10)
    answer = service.answers.answer(ALICE)
    assert first == answer.fingerprint
    assert answer.expires_at - service.now() < 20  # no copy of it outlives the change
    service.pass_time(20)

    assert second == service.answers.answer(ALICE).fingerprint
    assert {(first, "replaced"), (second, "active")} == {
        (b.fingerprint, b.state) for b in service.overview.explain(ALICE).bindings
    }


def test_the_background_task_applies_what_is_due(service: Service) -> None:
    """Nobody has to ask."""
    service.enrol("alice")
    second = service.enrol("gnupg")
    assert 0 == service.enrolments.apply_due_holds(10)
    service.pass_time(WEEK + 10)
    assert 1 == service.enrolments.apply_due_holds(10)
    assert 0 == service.enrolments.apply_due_holds(10)
    assert second == service.answers.answer(ALICE).fingerprint


def test_a_confirmed_fingerprint_need_not_wait(service: Service) -> None:
    """It is level 8; another one than the certificate's is refused, and changes nothing."""
    first = service.enrol("alice")
    octets = gallery()["gnupg"]
    with pytest.raises(OtherCertificate):
        service.enrolments.enrol(ALICE, octets, first)
    assert first == service.answers.answer(ALICE).fingerprint
    second = service.enrol("gnupg", confirmed=True)

    assert second == service.answers.answer(ALICE).fingerprint
    binding = service.overview.explain(ALICE).bindings[0]
    assert (second, "active", 8) == (binding.fingerprint, binding.state, binding.level)


def test_a_confirmed_one_gives_way_to_a_confirmed_one_only(service: Service) -> None:
    """Or to none: without a confirmation the operator hears no, and nothing is changed."""
    first = service.enrol("alice", confirmed=True)
    for _ in range(2):
        with pytest.raises(Outweighed):
            service.enrol("gnupg")
        service.pass_time(2 * WEEK)
        assert first == service.answers.answer(ALICE).fingerprint
    assert 1 == len(service.overview.explain(ALICE).evidence)
    service.enrolments.withdraw(ALICE)

    assert service.enrol("gnupg") == service.answers.answer(ALICE).fingerprint


def test_who_changes_his_mind_keeps_what_he_has(service: Service) -> None:
    """Enrolled again, the first one no longer is about to be replaced."""
    first, second = service.enrol("alice"), service.enrol("gnupg")
    service.enrol("alice")
    service.pass_time(2 * WEEK)

    assert first == service.answers.answer(ALICE).fingerprint
    assert {(first, "active"), (second, "dropped")} == {
        (b.fingerprint, b.state) for b in service.overview.explain(ALICE).bindings
    }


def test_an_expired_one_is_replaced_at_once(service: Service) -> None:
    """Also by one that waited already; mail need not wait any longer than it must."""
    service.enrol("ending")
    service.pass_time(366 * 86_400 - WEEK // 2)
    second = service.enrol("gnupg")
    assert second != service.answers.answer(ALICE).fingerprint
    service.pass_time(WEEK // 2)
    assert second == service.answers.answer(ALICE).fingerprint


def test_a_revoked_one_is_replaced_at_once(service: Service) -> None:
    """By the next that is enrolled, or by the one that waits."""
    first = service.enrol("alice")
    second = service.enrol("gnupg")
    assert first == service.answers.answer(ALICE).fingerprint
    with pytest.raises(RejectedCertificate):
        service.enrol("revoked")

    answer = service.answers.answer(ALICE)
    assert (Outcome.FOUND, second) == (answer.outcome, answer.fingerprint)


def test_withdrawal_is_at_once_and_leaves_nothing_waiting(service: Service) -> None:
    """Mail is deferred, whatever the domain does with newcomers, until another is enrolled."""
    service.enrol("alice")
    service.enrol("gnupg")
    service.enrolments.withdraw(ALICE)
    assert (Outcome.NOT_FOUND, True) == service.outcome()
    service.pass_time(2 * WEEK)
    service.enrolments.apply_due_holds(10)
    assert (Outcome.NOT_FOUND, True) == service.outcome()
    assert (Outcome.FOUND, True) == (service.enrol("gnupg"), service.outcome())[1]


def test_two_services_on_one_database_never_disagree(service: Service, tmp_path: Path) -> None:
    """Whoever enrols at the same time: one certificate is in use, and both say which."""
    other = Service(tmp_path / "k.sqlite")
    octets = [sequoia(USER_ID).certificate for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        enrolments = list(
            pool.map(
                lambda pair: (service, other)[pair[0] % 2].enrolments.enrol(ALICE, pair[1]),
                enumerate(octets),
            )
        )
    states = [b.state for b in service.overview.explain(ALICE).bindings]
    answers = [each.answers.answer(ALICE).fingerprint for each in (service, other)]
    other.database.close()

    assert answers[0] == answers[1]
    assert [answers[0]] == [e.fingerprint for e in enrolments if e.waits_until is None]
    assert ["active", "waiting"] == sorted(set(states) - {"dropped"})
    assert 1 == states.count("active") == states.count("waiting")


def test_a_certified_successor_need_not_wait(service: Service) -> None:
    """LEAP's rule (a): who has the secret key of the old one vouches for the new one."""
    old, new = sequoia(USER_ID), sequoia(USER_ID)
    service.enrolments.enrol(ALICE, old.certificate)
    certified = pysequoia.Cert.from_bytes(new.certificate).add_user_id(
        value="Alice A. <alice@example.org>",
        certifier=pysequoia.Tsk.from_bytes(old.secret).certifier(),
    )
    service.pass_time(10)
    enrolment = service.enrolments.enrol(ALICE, bytes(certified))

    assert (None, enrolment.fingerprint) == (
        enrolment.waits_until,
        service.answers.answer(ALICE).fingerprint,
    )
    assert enrolment.replaced


def test_a_revocation_of_a_certificate_in_use_takes_effect(service: Service) -> None:
    """It is refused as an enrolment, and from then on mail is deferred."""
    service.enrol("alice")
    with pytest.raises(RejectedCertificate):
        service.enrol("revoked")

    assert (Outcome.REJECTED, True) == service.outcome()
    assert {"refused": 1.0} == service.states()


def test_an_old_copy_does_not_undo_a_revocation(service: Service) -> None:
    """Copies of one certificate are merged."""
    service.enrol("alice")
    with pytest.raises(RejectedCertificate):
        service.enrol("revoked")
    with pytest.raises(RejectedCertificate) as caught:
        service.enrol("alice")

    assert RefusalReason.REVOKED is caught.value.refusal.reason
    assert (Outcome.REJECTED, True) == service.outcome()


def test_one_certificate_serves_two_mailboxes(service: Service) -> None:
    """Each with a binding of its own."""
    service.enrol("two_user_ids", ALICE)
    service.enrol("two_user_ids", BOB)
    service.enrolments.withdraw(ALICE)

    assert Outcome.NOT_FOUND is service.outcome(ALICE)[0]
    assert Outcome.FOUND is service.outcome(BOB)[0]


def test_expiry_needs_no_vetting(service: Service) -> None:
    """It is noticed by the next lookup."""
    service.enrol("ending")
    service.pass_time(366 * 86_400)

    assert (Outcome.REJECTED, True) == service.outcome()


def test_certificates_are_vetted_again_every_day(service: Service) -> None:
    """Not earlier, and not if nobody uses them any more."""
    service.enrol("alice")
    service.enrol("bob", BOB)
    service.enrolments.withdraw(BOB)
    assert 0 == service.enrolments.vet_again(10)

    service.pass_time(VETTING_INTERVAL)

    assert 1 == service.enrolments.vet_again(10)
    assert 0 == service.enrolments.vet_again(10)


def test_a_certificate_that_fails_a_later_vetting_is_rejected(service: Service) -> None:
    """Its mailbox had one, so nothing passes in the clear."""
    service.enrol("ending")
    service.pass_time(3 * 366 * 86_400)
    service.enrolments.vet_again(10)

    assert (Outcome.REJECTED, True) == service.outcome()
    assert {"expired": 1.0} == service.states()
    assert "revetted" == service.overview.explain(ALICE).events[0].kind


def test_a_busy_host_does_not_reject_what_was_good(service: Service) -> None:
    """The vetting is tried again an hour later."""
    service.enrol("alice")
    service.pass_time(VETTING_INTERVAL)
    service.vetter.is_busy = True
    service.enrolments.vet_again(10)
    service.vetter.is_busy = False

    assert (Outcome.FOUND, True) == service.outcome()
    assert 0 == service.enrolments.vet_again(10)
    service.pass_time(3600)
    assert 1 == service.enrolments.vet_again(10)


def test_nothing_is_enrolled_for_other_peoples_domains(service: Service) -> None:
    """A subdomain is another domain."""
    for address in ("alice@example.net", "alice@sub.example.org"):
        with pytest.raises(OutsideDomain):
            service.enrol("alice", Mailbox.parse(address))
        assert (Outcome.OUTSIDE, False) == service.outcome(Mailbox.parse(address))


def test_a_mailbox_can_have_settings_of_its_own(service: Service) -> None:
    """Until they are unset; a newcomer can, too."""
    service.settings.set(ALICE, {"without_certificate": "reject"})
    assert WithoutCertificate.REJECT is service.answers.answer(ALICE).policy.without_certificate
    assert WithoutCertificate.ACCEPT is service.answers.answer(BOB).policy.without_certificate

    view = service.settings.unset(ALICE, "without_certificate")

    assert PolicySource.DOMAIN is view.sources["without_certificate"]
    assert WithoutCertificate.ACCEPT is service.answers.answer(ALICE).policy.without_certificate
    for bad in ({"header_policy": "x"}, {"keep_outside": ["Content-Type"]}):
        with pytest.raises(BadSetting):
            service.settings.set(ALICE, bad)
    with pytest.raises(BadSetting):
        service.settings.unset(ALICE, "x")


def test_the_list_comes_in_pages(service: Service) -> None:
    """In the order of addresses, each mailbox once."""
    for mailbox in (BOB, ALICE):
        service.enrol("two_user_ids", mailbox)

    first = service.overview.page("", 1)
    second = service.overview.page(first.next or "", 1)

    assert [ALICE.key, BOB.key] == [p.mailboxes[0].mailbox for p in (first, second)]
    assert second.next is not None
    assert service.overview.page(second.next, 1).next is None


def test_vettings_are_counted_by_reason(service: Service) -> None:
    """Secret key material has a counter of its own."""
    for name in ("alice_secret", "sha1", "alice"):
        try:
            service.enrol(name)
        except RejectedCertificate:
            continue

    def count(result: str, reason: str) -> float | None:
        labels = {"result": result, "reason": reason}
        return service.registry.get_sample_value("keyservice_vettings_total", labels)

    assert 1 == count("refused", "secret_key")
    assert 1 == count("refused", "weak_hash")
    assert 1 == count("usable", "")
    assert 1 == service.registry.get_sample_value("keyservice_secret_key_material_total")


def test_a_secret_key_never_reaches_the_database(service: Service, tmp_path: Path) -> None:
    """Not one packet of it."""
    secret = gallery()["alice_secret"]
    with pytest.raises(RejectedCertificate):
        service.enrol("alice_secret")

    for path in tmp_path.iterdir():
        assert secret[60:100] not in path.read_bytes()
