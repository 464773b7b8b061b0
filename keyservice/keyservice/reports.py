"""What milters report of messages that came in becomes evidence about their senders."""

import time
from collections.abc import Callable, Collection

from sqlalchemy import update

from keyservice import autocrypt_store, ledger, schema
from keyservice.answers import Answers
from keyservice.autocrypt import Fault
from keyservice.database import Database
from keyservice.evidence import SIGHTING_LASTS
from keyservice.intake import Intake, Shown
from keyservice.mailbox import Mailbox
from keyservice.metrics import Metrics
from keyservice.report_wire import Noted, Report, Reported
from keyservice.sightings import Evidence, RefusedReport, Sighting, evidence

STRANGERS_MAX = 8
"""Certificates by mail for one mailbox in three days. Anybody can send mail in its name."""


class Reports:
    """Any thread may call it."""

    def __init__(
        self,
        database: Database,
        answers: Answers,
        intake: Intake,
        domains: Collection[str],
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`domains` are ours: about their mailboxes nobody else's word counts."""
        self._database = database
        self._answers = answers
        self._intake = intake
        self._domains = domains
        self._metrics = metrics
        self._clock = clock

    def take(self, report: Report) -> Reported:
        """Note what one message is evidence of. Refuses nothing loudly: it is mail."""
        try:
            found = evidence(report, self._domains)
        except RefusedReport as refused:
            self._metrics.reports.labels(refused.reason.value).inc()
            return Reported(refused=refused.reason)
        if Fault.SECRET_KEY in found.faults:
            self._metrics.secret_key_material.inc()
        noted = tuple(
            Noted(source=sighting.source, level=sighting.level)
            for sighting in found.sightings
            if self._take(found.mailbox, sighting)
        )
        self._remember(found)
        if noted:
            self._answers.settle(found.mailbox)
        self._metrics.reports.labels("noted").inc()
        return Reported(noted=noted, faults=found.faults)

    def _take(self, mailbox: Mailbox, sighting: Sighting) -> bool:
        if self._is_flood(mailbox, sighting):
            return False
        shown = Shown(sighting.source, sighting.level, sighting.octets)
        return bool(self._intake.take(mailbox, shown).fingerprints)

    def _is_flood(self, mailbox: Mailbox, sighting: Sighting) -> bool:
        since = self._clock() - SIGHTING_LASTS
        with self._database.reading() as connection:
            known = ledger.shown_since(
                connection, mailbox, sighting.source, sighting.level, since, STRANGERS_MAX
            )
        is_known = autocrypt_store.fingerprint_of(sighting.octets) in known
        return len(known) >= STRANGERS_MAX and not is_known

    def _remember(self, found: Evidence) -> None:
        m = schema.mailbox
        with self._database.writing() as connection:
            autocrypt_store.heard(connection, found.mailbox, found.effective_date, found.header)
            if found.hint.identity is not None:
                mailbox_id = ledger.mailbox_id_of(connection, found.mailbox)
                connection.execute(
                    update(m).where(m.c.id == mailbox_id).values(hint=found.hint.identity)
                )
