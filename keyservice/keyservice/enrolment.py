"""Certificates come into use, go out of use, and are vetted again."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec

from keyservice import bindings, dossier, ledger, packets, report, store
from keyservice.answers import Answers
from keyservice.certificate import (
    TRANSIENT,
    Certificate,
    Refusal,
    RejectedCertificate,
    require_usable,
)
from keyservice.database import Database
from keyservice.errors import NotEnrolled, OtherCertificate, Outweighed
from keyservice.evidence import Sighting
from keyservice.foreign import Question
from keyservice.judge import Judge
from keyservice.levels import Level, Source
from keyservice.mailbox import Mailbox
from keyservice.operator_wire import Enrolment, Withdrawal
from keyservice.replacement import Outcome
from keyservice.schema import EventKind
from keyservice.settling import Settled, settle
from keyservice.store import StoredChanged
from keyservice.transition import Verdict
from keyservice.vetting_dates import vet_at

_RETRY_INTERVAL = 3_600
"""Seconds until a vetting that failed for want of time or memory is tried again."""

_ATTEMPTS = 3
"""Of enrolling, when another service stores more of the same certificate at the same time."""

_TAKEN = frozenset({Outcome.ACCEPT_FIRST, Outcome.UPDATE, Outcome.REPLACE, Outcome.WAIT})

_OUTWEIGHED = (
    "the fingerprint of the certificate in use was confirmed: confirm this one's, too, or withdraw"
    " that one first"
)

log = logging.getLogger(__name__)


class Enrolments:
    """Any thread may call it."""

    def __init__(
        self,
        database: Database,
        answers: Answers,
        judge: Judge,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Tell `answers` about each change."""
        self._database = database
        self._answers = answers
        self._judge = judge
        self._clock = clock
        # From reading what is stored of a certificate to storing what vetting made of it:
        # two at once would lose what one of them learned, a revocation for example.
        self._one_at_a_time = threading.Lock()

    def enrol(self, mailbox: Mailbox, octets: bytes, confirmed: str | None = None) -> Enrolment:
        """Vet the certificate in `octets` and use it for `mailbox`: a first one from now on.

        One that replaces another waits, unless that one certified it, has ended, or
        `confirmed` is its fingerprint, as its owner says. Raises RejectedCertificate, after
        writing down the refusal; OutsideDomain; OtherCertificate; Outweighed.
        """
        self._answers.require_ours(mailbox)
        with self._one_at_a_time:
            for _ in range(_ATTEMPTS - 1):
                with suppress(StoredChanged):
                    return self._enrol(mailbox, octets, confirmed)
            return self._enrol(mailbox, octets, confirmed)

    def _enrol(self, mailbox: Mailbox, octets: bytes, confirmed: str | None) -> Enrolment:
        try:
            certificate, minimised, stored = self._vet_with_history(octets)
            _require_confirmed(certificate, confirmed)
            require_usable(certificate, mailbox, self._clock())
        except RejectedCertificate as rejected:
            self._note_refusal(mailbox, rejected.refusal)
            raise
        level = Level.KNOWN_KEY if confirmed is None else Level.FINGERPRINT
        certified_by = self._certified_by(mailbox, certificate, octets)
        now = int(self._clock())
        with self._database.writing() as connection:
            due = vet_at(certificate, now)
            store.require_unchanged(connection, certificate.fingerprint, stored)
            store.save_certificate(connection, certificate, minimised, now, due)
            sighting = Sighting(certificate.fingerprint, Source.OPERATOR, level, now)
            at = ledger.sighted(connection, mailbox, sighting, certified_by)
            settled = settle(connection, mailbox, self._answers.rules(mailbox), at)
            decision = settled.about(certificate.fingerprint)
            if decision is None or decision.outcome not in _TAKEN:
                # The transaction is undone: half a word of the operator's is none.
                raise Outweighed(_OUTWEIGHED)
            if decision.outcome is Outcome.UPDATE:
                ledger.note(connection, mailbox, EventKind.UPDATED, now, decision.fingerprint)
            affected = store.bound_mailboxes(connection, certificate.fingerprint)
        self._answers.count(mailbox, settled.conflicts)
        return self._enrolment(mailbox, certificate, settled, affected)

    def _enrolment(
        self,
        mailbox: Mailbox,
        certificate: Certificate,
        settled: Settled,
        affected: Sequence[Mailbox],
    ) -> Enrolment:
        decision = settled.about(certificate.fingerprint)
        until = decision.until if decision else None
        log.info(
            "enrolled" if until is None else "waits",
            extra={"mailbox": mailbox.key, "fingerprint": certificate.fingerprint},
        )
        return Enrolment(
            mailbox=mailbox.key,
            fingerprint=certificate.fingerprint,
            version=certificate.version,
            user_ids=certificate.user_ids,
            subkeys=report.subkeys(certificate),
            not_after=certificate.not_after,
            replaced=settled.replaced,
            waits_until=until,
            waits_for=decision.replaces if decision and until is not None else None,
            effective_within=self._answers.changed(mailbox, *affected),
        )

    def withdraw(self, mailbox: Mailbox) -> Withdrawal:
        """Stop using the certificate of `mailbox`. Raises NotEnrolled."""
        with self._database.writing() as connection:
            fingerprint = bindings.unbind(connection, mailbox, int(self._clock()))
        if fingerprint is None:
            raise NotEnrolled("no certificate is in use for this mailbox")
        log.info("withdrawn", extra={"mailbox": mailbox.key, "fingerprint": fingerprint})
        return Withdrawal(
            mailbox=mailbox.key,
            fingerprint=fingerprint,
            effective_within=self._answers.changed(mailbox),
        )

    def apply_due_holds(self, limit: int) -> int:
        """Decide again where a certificate has waited long enough; return how often."""
        with self._database.reading() as connection:
            waiting = store.due_holds(connection, int(self._clock()), limit)
        for mailbox in waiting:
            self._answers.settle(mailbox)
        return len(waiting)

    def vet_again(self, limit: int) -> int:
        """Vet up to `limit` certificates that are due; return how many were."""
        with self._database.reading() as connection:
            waiting = store.due(connection, int(self._clock()), limit)
        for fingerprint in waiting:
            # Whoever stored more of it meanwhile has vetted that.
            with self._one_at_a_time, suppress(StoredChanged):
                self._vet_one_again(fingerprint)
        return len(waiting)

    def _vet_one_again(self, fingerprint: str) -> None:
        with self._database.reading() as connection:
            old, stored = store.certificate(connection, fingerprint)
        try:
            certificate, octets = self._judge.vet(stored)
        except RejectedCertificate as rejected:
            if rejected.refusal.reason in TRANSIENT:
                self._put_off(fingerprint)
                return
            certificate, octets = msgspec.structs.replace(old, refusal=rejected.refusal), stored
        self._save(certificate, octets, stored, EventKind.REVETTED)

    def _put_off(self, fingerprint: str) -> None:
        # A busy host is no reason to stop a certificate that was good yesterday.
        log.warning("vetting_put_off", extra={"fingerprint": fingerprint})
        with self._database.writing() as connection:
            store.put_off(connection, fingerprint, int(self._clock()) + _RETRY_INTERVAL)

    def _certified_by(
        self, mailbox: Mailbox, certificate: Certificate, octets: bytes
    ) -> str | None:
        """Return the fingerprint of the certificate in use, if it certified the new one."""
        with self._database.reading() as connection:
            in_use = dossier.in_use(connection, mailbox)
        if in_use is None or in_use.facts.fingerprint == certificate.fingerprint:
            return None
        shown = packets.serialise(self._judge.prescan(octets))
        question = Question(shown, mailbox, registered=in_use.predecessor)
        found = self._judge.examine(question)[1].transition
        if found is None or found.verdict is not Verdict.VERIFIED:
            return None
        return in_use.facts.fingerprint

    def _vet_with_history(self, octets: bytes) -> tuple[Certificate, bytes, bytes | None]:
        """Vet `octets` together with what is stored of the same certificate; return that, too.

        A revocation that comes this way also holds for the mailboxes that use it already.
        """
        components = self._judge.prescan(octets)
        fingerprint = packets.fingerprint(components[0].packet)
        with self._database.reading() as connection:
            stored = store.octets_of(connection, fingerprint)
        if stored is not None:
            components = packets.merge(packets.components(packets.split(stored)), components)
        certificate, minimised = self._judge.vet(packets.serialise(components))
        if stored is not None and certificate.refusal is not None:
            self._save(certificate, minimised, stored, EventKind.REFUSED)
        return certificate, minimised, stored

    def _save(
        self, certificate: Certificate, octets: bytes, stored: bytes, kind: EventKind
    ) -> None:
        now = int(self._clock())
        fingerprint, refusal = certificate.fingerprint, certificate.refusal
        with self._database.writing() as connection:
            store.require_unchanged(connection, fingerprint, stored)
            store.save_certificate(connection, certificate, octets, now, vet_at(certificate, now))
            affected = store.bound_mailboxes(connection, fingerprint)
            for mailbox in affected if refusal is not None else ():
                ledger.note(connection, mailbox, kind, now, fingerprint, refusal)
                # What waited to replace it need not any more.
                settle(connection, mailbox, self._answers.rules(mailbox), now)
        if refusal is not None:
            log.info("refused", extra={"fingerprint": fingerprint, "reason": refusal.reason.value})
        self._answers.changed(*affected)

    def _note_refusal(self, mailbox: Mailbox, refusal: Refusal) -> None:
        log.info("refused", extra={"mailbox": mailbox.key, "reason": refusal.reason.value})
        now = int(self._clock())
        with self._database.writing() as connection:
            ledger.note(connection, mailbox, EventKind.REFUSED, now, refusal=refusal)


def _require_confirmed(certificate: Certificate, confirmed: str | None) -> None:
    if confirmed is not None and confirmed != certificate.fingerprint:
        raise OtherCertificate("the certificate has another fingerprint than the one confirmed")
