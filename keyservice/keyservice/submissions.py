"""What the mail programs of owners send along of their certificates, and what becomes of it."""

import hashlib
import logging
import time
from collections.abc import Callable

import msgspec

from keyservice import autocrypt, bindings, dossier, ledger, mail_program, packets, store
from keyservice.answers import Answers
from keyservice.autocrypt import Fault
from keyservice.certificate import TRANSIENT, Certificate, Refusal, RejectedCertificate
from keyservice.database import Database
from keyservice.dossier import Dossier
from keyservice.evidence import SIGHTING_LASTS
from keyservice.explanation import conflict
from keyservice.intake import Intake
from keyservice.levels import Source
from keyservice.mail_program import CERTIFICATES_MAX, LEVEL, Lately, Outweighed, Shown
from keyservice.mailbox import Mailbox
from keyservice.metrics import Metrics
from keyservice.recent import Recent
from keyservice.replacement import DAY, Decision, Outcome
from keyservice.schema import EventKind
from keyservice.sender_wire import Submitted, Taken, Taking
from keyservice.settings import MailboxSettings
from keyservice.settling import settle

_VETTED_MAX = 10_000
_VETTED_FOR = DAY
"""Seconds. What is in use is vetted again every day anyway."""

_REFUSED_FOR = 3_600
"""Seconds. The clock of a mail program may be a little fast."""

log = logging.getLogger(__name__)


class Submissions:
    """Any thread may call it."""

    def __init__(
        self,
        database: Database,
        answers: Answers,
        settings: MailboxSettings,
        intake: Intake,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Follow the policy in `settings`; have `intake` vet."""
        self._database = database
        self._answers = answers
        self._settings = settings
        self._intake = intake
        self._metrics = metrics
        self._clock = clock
        self._vetted: Recent[tuple[Refusal | None]] = Recent(_VETTED_MAX)

    def take(self, mailbox: Mailbox, submitted: Submitted) -> Taken:
        """Note what a message says of the certificate of `mailbox`. Raises OutsideDomain."""
        taken = self._take(mailbox, submitted)
        self._metrics.submissions.labels(taken.taking.value).inc()
        if taken.taking in (Taking.UPDATED, Taking.ENROLLED, Taking.WAITS):
            result, fingerprint = taken.taking.value, taken.fingerprint
            log.info(
                "submitted",
                extra={"mailbox": mailbox.key, "fingerprint": fingerprint, "result": result},
            )
        return taken

    def _take(self, mailbox: Mailbox, submitted: Submitted) -> Taken:
        if not self._settings.show(mailbox).sender_policy.autocrypt_enrols:
            return Taken(taking=Taking.DISABLED)
        reading = mail_program.read(mailbox, submitted)
        if Fault.SECRET_KEY in reading.faults:
            self._metrics.secret_key_material.inc()
        if reading.header is None:
            return Taken(taking=Taking.INVALID, faults=reading.faults)
        written_at = autocrypt.effective_date(submitted.date, submitted.received_at)
        octets = reading.header.keydata
        try:
            fingerprint = packets.fingerprint(packets.split(octets)[0])
            taken = self._take_certificate(mailbox, Shown(fingerprint, octets, written_at))
        except RejectedCertificate as rejected:
            reason = f"{rejected.refusal.reason.value}: {rejected.refusal.detail}"
            taken = Taken(taking=Taking.REFUSED, reason=reason)
        return msgspec.structs.replace(taken, faults=reading.faults)

    def _take_certificate(self, mailbox: Mailbox, shown: Shown) -> Taken:
        known, lately = self._known(mailbox, shown)
        is_said = mail_program.is_said(known, shown)
        try:
            if not is_said:
                rules, now = self._answers.rules(mailbox), int(self._clock())
                mail_program.require_welcome(known, shown, lately, rules, now)
            is_new = self._merge(mailbox, shown)
            if not is_said:
                return self._settle(mailbox, shown, is_new=is_new)
        except Outweighed as outweighed:
            self._note_conflict(mailbox, outweighed.decision)
            return _taken(Taking.OUTWEIGHED, shown, reason=str(outweighed))
        return self._repeated(mailbox, shown, known, is_new=is_new)

    def _known(self, mailbox: Mailbox, shown: Shown) -> tuple[Dossier, Lately]:
        rules, now = self._answers.rules(mailbox), self._clock()
        since = now - SIGHTING_LASTS
        with self._database.reading() as connection:
            return dossier.read(connection, mailbox, rules, now), Lately(
                ledger.shown_since(
                    connection, mailbox, Source.SUBMISSION, LEVEL, since, CERTIFICATES_MAX
                ),
                bindings.dropped_at(connection, mailbox, shown.fingerprint),
            )

    def _merge(self, mailbox: Mailbox, shown: Shown) -> bool:
        """Store what holds of a certificate; return whether anything about it is new."""
        key = (mailbox.key, hashlib.sha256(shown.octets).digest())
        now = self._clock()
        if (vetted := self._vetted.get(key, now)) is not None:
            (refusal,) = vetted
            if refusal is not None:
                raise RejectedCertificate(refusal.reason, refusal.detail)
            return False
        before = self._facts(shown)
        try:
            self._intake.merge(mailbox, shown.octets)
        except RejectedCertificate as rejected:
            if rejected.refusal.reason not in TRANSIENT:
                self._vetted.put(key, (rejected.refusal,), now + _REFUSED_FOR)
            raise
        self._vetted.put(key, (None,), now + _VETTED_FOR)
        return before != self._facts(shown)

    def _facts(self, shown: Shown) -> Certificate | None:
        with self._database.reading() as connection:
            return store.facts_of(connection, shown.fingerprint)

    def _repeated(self, mailbox: Mailbox, shown: Shown, known: Dossier, *, is_new: bool) -> Taken:
        if is_new:
            with self._database.writing() as connection:
                now = int(self._clock())
                ledger.note(connection, mailbox, EventKind.UPDATED, now, shown.fingerprint)
            self._answers.settle(mailbox)
        waiting = known.waiting
        is_waiting = waiting is not None and waiting.fingerprint == shown.fingerprint
        until = waiting.until if waiting is not None and is_waiting else None
        return _taken(Taking.UPDATED if is_new else Taking.UNCHANGED, shown, until)

    def _settle(self, mailbox: Mailbox, shown: Shown, *, is_new: bool) -> Taken:
        now, rules = int(self._clock()), self._answers.rules(mailbox)
        with self._database.writing() as connection:
            at = ledger.sighted(connection, mailbox, shown.said(now))
            settled = settle(connection, mailbox, rules, at)
            # If it raises, the transaction is undone: what changes nothing is not kept.
            decision = mail_program.effect(settled.resolution, shown)
            if decision.outcome is Outcome.UPDATE and is_new:
                ledger.note(connection, mailbox, EventKind.UPDATED, now, shown.fingerprint)
        self._answers.count(mailbox, settled.conflicts)
        if settled.has_changed:
            self._answers.changed(mailbox)
        match decision.outcome:
            case Outcome.ACCEPT_FIRST | Outcome.REPLACE:
                return _taken(Taking.ENROLLED, shown)
            case Outcome.WAIT:
                return _taken(Taking.WAITS, shown, decision.until)
            case _:
                return _taken(Taking.UPDATED if is_new else Taking.UNCHANGED, shown)

    def _note_conflict(self, mailbox: Mailbox, decision: Decision | None) -> None:
        if decision is None:
            return
        with self._database.writing() as connection:
            in_use = dossier.in_use(connection, mailbox)
            since = in_use.since if in_use else 0
            now = int(self._clock())
            is_news = ledger.conflicted(connection, mailbox, decision, now, since)
        if is_news:
            self._answers.count(mailbox, [conflict(decision)])


def _taken(
    taking: Taking, shown: Shown, waits_until: int | None = None, reason: str | None = None
) -> Taken:
    return Taken(
        taking=taking, fingerprint=shown.fingerprint, waits_until=waits_until, reason=reason
    )
