"""What strangers show of certificates becomes evidence, or a reason why it does not."""

import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from sqlalchemy import Connection

from keyservice import dossier, ledger, packets, store
from keyservice.answers import Answers
from keyservice.certificate import (
    TRANSIENT,
    Certificate,
    RefusalReason,
    RejectedCertificate,
    addr_specs,
    require_usable,
)
from keyservice.database import Database
from keyservice.dossier import InUse
from keyservice.evidence import Sighting
from keyservice.foreign import Question
from keyservice.judge import Judge
from keyservice.levels import Level, Source
from keyservice.mailbox import Mailbox
from keyservice.packets import USER_ID, Component
from keyservice.schema import EventKind
from keyservice.settling import settle
from keyservice.store import StoredChanged
from keyservice.transition import Verdict
from keyservice.vetting_dates import vet_at

_ATTEMPTS = 3
"""Of storing, when others store more of the same certificate at the same time."""


class Shown(NamedTuple):
    """Octets that claim to be certificates of a mailbox, and who shows them."""

    source: Source
    level: Level
    octets: bytes
    detail: str | None = None


class Taken(NamedTuple):
    """What became of them."""

    fingerprints: tuple[str, ...] = ()
    """Those that are evidence now."""

    refused: tuple[str, ...] = ()
    """Why the others are not, one sentence each."""

    is_to_be_tried_again: bool = False
    """Something was refused for want of time or memory only."""


class Intake:
    """Any thread may call it."""

    def __init__(
        self,
        database: Database,
        answers: Answers,
        judge: Judge,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`judge` is one for strangers: they must not keep enrolments waiting."""
        self._database = database
        self._answers = answers
        self._judge = judge
        self._clock = clock

    def take(self, mailbox: Mailbox, shown: Shown) -> Taken:
        """Vet what was shown for `mailbox` and note each usable certificate as seen.

        A revocation of a certificate that is stored takes effect, whoever shows it.
        """
        try:
            bundle = self._judge.split(shown.octets)
        except RejectedCertificate as rejected:
            return Taken(refused=(_sentence(rejected),))
        fingerprints, refusals = [], []
        for octets in bundle:
            try:
                fingerprints.append(self._take_one(mailbox, shown, octets))
            except RejectedCertificate as rejected:
                refusals.append(rejected)
        return Taken(
            tuple(fingerprints),
            tuple(map(_sentence, refusals)),
            any(rejected.refusal.reason in TRANSIENT for rejected in refusals),
        )

    def update(self, mailbox: Mailbox, octets: bytes) -> None:
        """Merge what a source shows by the fingerprint of the certificate of `mailbox`.

        It says nothing of whose certificate that is. What is refused is as good as not shown.
        """
        with suppress(RejectedCertificate):
            self.merge(mailbox, octets)

    def merge(self, mailbox: Mailbox, octets: bytes) -> None:
        """Vet one certificate and store what holds of it; nobody is noted to have shown it.

        Raises RejectedCertificate if it cannot be used for `mailbox`.
        """
        self._take_one(mailbox, None, octets)

    def _take_one(self, mailbox: Mailbox, shown: Shown | None, octets: bytes) -> str:
        components = _narrowed(self._judge.prescan(octets), mailbox)
        fingerprint = packets.fingerprint(components[0].packet)
        for attempt in range(_ATTEMPTS):
            try:
                return self._take_certificate(mailbox, shown, components, fingerprint)
            except StoredChanged:
                time.sleep(random.uniform(0, 0.02 * (attempt + 1)))  # noqa: S311 (no secret)
        raise RejectedCertificate(RefusalReason.VETTING_FAILED, "changed again and again")

    def _take_certificate(
        self,
        mailbox: Mailbox,
        shown: Shown | None,
        components: tuple[Component, ...],
        fingerprint: str,
    ) -> str:
        with self._database.reading() as connection:
            stored = store.octets_of(connection, fingerprint)
            in_use = dossier.in_use(connection, mailbox)
        if stored is None:
            _require_named(components)
        registered = in_use.predecessor if in_use else None
        octets = packets.serialise(components)
        question = Question(octets, mailbox, stored or b"", registered)
        certificate, verdict = self._judge.examine(question)
        is_certified = verdict.transition and verdict.transition.verdict is Verdict.VERIFIED
        certified_by = in_use if is_certified else None
        now = int(self._clock())
        affected: Sequence[Mailbox] = ()
        with self._database.writing() as connection:
            if verdict.octets:
                store.require_unchanged(connection, fingerprint, stored)
                affected = self._save(connection, certificate, verdict.octets, now)
            try:
                require_usable(certificate, mailbox, self._clock())
                _require_named(components)
            except RejectedCertificate as rejected:
                # The transaction is to be kept: it may hold a revocation.
                refused: RejectedCertificate | None = rejected
            else:
                refused = None
                if shown is not None:
                    self._note(connection, mailbox, shown, certificate, certified_by, now)
        self._answers.changed(*affected)
        if refused is not None:
            raise refused
        return fingerprint

    def _save(
        self, connection: Connection, certificate: Certificate, octets: bytes, now: int
    ) -> Sequence[Mailbox]:
        """Store what was learned; return the mailboxes that it changes something for."""
        if store.octets_of(connection, certificate.fingerprint) == octets:
            return ()
        due = vet_at(certificate, now)
        store.save_certificate(connection, certificate, octets, now, due)
        affected = store.bound_mailboxes(connection, certificate.fingerprint)
        for bound in affected if certificate.refusal is not None else ():
            ledger.note(
                connection,
                bound,
                EventKind.REFUSED,
                now,
                certificate.fingerprint,
                certificate.refusal,
            )
            settle(connection, bound, self._answers.rules(bound), now)
        return affected

    @staticmethod
    def _note(
        connection: Connection,
        mailbox: Mailbox,
        shown: Shown,
        certificate: Certificate,
        certified_by: InUse | None,
        now: int,
    ) -> None:
        sighting = Sighting(certificate.fingerprint, shown.source, shown.level, now)
        predecessor = certified_by.facts.fingerprint if certified_by else None
        ledger.sighted(connection, mailbox, sighting, predecessor, shown.detail)


def _narrowed(components: tuple[Component, ...], mailbox: Mailbox) -> tuple[Component, ...]:
    """Return a certificate with the user IDs that name `mailbox`, whoever else they name."""
    return tuple(
        component
        for component in components
        if component.packet.tag != USER_ID
        or mailbox.key in addr_specs(component.packet.body.decode(errors="replace"))
    )


def _require_named(components: tuple[Component, ...]) -> None:
    # As an update of a certificate that is known it would do (VKS shows such ones).
    if not any(component.packet.tag == USER_ID for component in components):
        raise RejectedCertificate(RefusalReason.FOREIGN_MAILBOX, "no user ID names this mailbox")


def _sentence(rejected: RejectedCertificate) -> str:
    return f"{rejected.refusal.reason.value}: {rejected.refusal.detail}"
