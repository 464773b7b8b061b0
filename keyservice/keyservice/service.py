"""What the key service does, whoever asks: answer, enrol, withdraw, set policy.

The database is the truth. Redis is told about each change after it is durable.
"""

import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from keyservice import packets, policy, report, store
from keyservice.cache import AnswerCache
from keyservice.certificate import (
    TRANSIENT,
    Certificate,
    Refusal,
    RefusalReason,
    RejectedCertificate,
    require_usable,
)
from keyservice.config import DomainSection
from keyservice.database import Database
from keyservice.decide import Standing, decide
from keyservice.errors import BadSetting, NotEnrolled, OutsideDomain
from keyservice.mailbox import Mailbox
from keyservice.metrics import Metrics
from keyservice.operator_wire import Enrolment, PolicyView, Withdrawal
from keyservice.record import LIFETIME_MAX
from keyservice.schema import EventKind
from keyservice.vetting_child import Verdict
from keyservice.wire import Answer

VETTING_INTERVAL = 86_400
"""Seconds. Policies of the engine cut off weak algorithms by date."""

_RETRY_INTERVAL = 3_600
"""Seconds until a vetting that failed for want of time or memory is tried again."""

log = logging.getLogger(__name__)


class Vets(Protocol):
    """Judges certificates: `vetting.Vetter`."""

    def vet(self, octets: bytes) -> Verdict:
        """Return the verdict, or raise RejectedCertificate."""
        ...


class KeyService:
    """All but HTTP and the vetting process. Any thread may call it."""

    def __init__(
        self,
        database: Database,
        domains: Mapping[str, DomainSection],
        vetter: Vets,
        cache: AnswerCache | None,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Answer for `domains` from `database`."""
        self._database = database
        self._domains = domains
        self._vetter = vetter
        self._cache = cache
        self._metrics = metrics
        self._clock = clock
        self._changes = 0

    def answer(self, mailbox: Mailbox) -> Answer:
        """Return the answer about `mailbox`, and leave a signed copy of it in Redis."""
        changes = self._changes
        with self._metrics.lookup_seconds.time():
            answer = decide(mailbox, self.standing(mailbox), self._clock())
        self._metrics.lookups.labels(answer.outcome.value).inc()
        if self._cache is not None:
            self._cache.put(mailbox, answer)
            # Something changed between our reading and our writing: perhaps this mailbox,
            # and then the copy just written is older than the removal that should end it.
            if changes != self._changes:
                self._cache.forget(mailbox)
        return answer

    def standing(self, mailbox: Mailbox) -> Standing | None:
        """Return what is stored about `mailbox`; None if its domain is not ours."""
        domain = self._domains.get(mailbox.domain)
        if domain is None:
            return None
        with self._database.reading() as connection:
            stored = store.find(connection, mailbox)
        if stored is None:
            return Standing(policy.parse(domain.settings))
        settings, _ = policy.resolve(domain.settings, stored.settings)
        return Standing(settings, stored.had_certificate, stored.certificate)

    def enrol(self, mailbox: Mailbox, octets: bytes) -> Enrolment:
        """Vet the certificate in `octets` and use it for `mailbox` from now on.

        Raises RejectedCertificate, after writing down the refusal; OutsideDomain.
        """
        self._require_ours(mailbox)
        try:
            certificate, minimised = self._vet_with_history(octets)
            now = int(self._clock())
            require_usable(certificate, mailbox, now)
        except RejectedCertificate as rejected:
            self._note_refusal(mailbox, rejected.refusal)
            raise
        with self._database.writing() as connection:
            store.save_certificate(
                connection, certificate, minimised, now, _vet_at(certificate, now)
            )
            replaced = store.bind(connection, mailbox, certificate.fingerprint, now)
            affected = store.bound_mailboxes(connection, certificate.fingerprint)
        log.info("enrolled", extra={"mailbox": mailbox.key, "fingerprint": certificate.fingerprint})
        return _enrolment(mailbox, certificate, replaced, self._changed(*affected))

    def withdraw(self, mailbox: Mailbox) -> Withdrawal:
        """Stop using the certificate of `mailbox`. Raises NotEnrolled."""
        with self._database.writing() as connection:
            fingerprint = store.unbind(connection, mailbox, int(self._clock()))
        if fingerprint is None:
            raise NotEnrolled("no certificate is in use for this mailbox")
        log.info("withdrawn", extra={"mailbox": mailbox.key, "fingerprint": fingerprint})
        return Withdrawal(
            mailbox=mailbox.key,
            fingerprint=fingerprint,
            effective_within=self._changed(mailbox),
        )

    def policy(self, mailbox: Mailbox, effective_within: int = 0) -> PolicyView:
        """Return the policy of `mailbox` and where it comes from. Raises OutsideDomain."""
        domain = self._require_ours(mailbox)
        with self._database.reading() as connection:
            stored = store.find(connection, mailbox)
        settings, sources = policy.resolve(domain.settings, stored.settings if stored else {})
        return PolicyView(
            mailbox=mailbox.key,
            policy=settings,
            sources=sources,
            effective_within=effective_within,
        )

    def set_policy(self, mailbox: Mailbox, settings: Mapping[str, object]) -> PolicyView:
        """Override the domain's policy. Raises BadSetting, OutsideDomain."""
        domain = self._require_ours(mailbox)
        policy.parse({**domain.settings, **settings})
        now = int(self._clock())
        with self._database.writing() as connection:
            for name, value in settings.items():
                store.set_setting(connection, mailbox, name, value, now)
                store.note(connection, mailbox, EventKind.POLICY_SET, now, detail=name)
        log.info("policy_set", extra={"mailbox": mailbox.key, "settings": sorted(settings)})
        return self.policy(mailbox, self._changed(mailbox))

    def unset_policy(self, mailbox: Mailbox, name: str) -> PolicyView:
        """Let the domain decide `name` again. Raises BadSetting, OutsideDomain."""
        self._require_ours(mailbox)
        if name not in policy.SETTINGS:
            raise BadSetting("there is no such setting")
        now = int(self._clock())
        with self._database.writing() as connection:
            store.unset_setting(connection, mailbox, name)
            store.note(connection, mailbox, EventKind.POLICY_UNSET, now, detail=name)
        log.info("policy_unset", extra={"mailbox": mailbox.key, "settings": [name]})
        return self.policy(mailbox, self._changed(mailbox))

    def vet_again(self, limit: int) -> int:
        """Vet up to `limit` certificates that are due; return how many were."""
        with self._database.reading() as connection:
            waiting = store.due(connection, int(self._clock()), limit)
        for one in waiting:
            self._vet_one_again(one)
        return len(waiting)

    def _vet_one_again(self, one: store.DueCertificate) -> None:
        try:
            certificate, octets = self._vet(one.octets)
        except RejectedCertificate as rejected:
            if rejected.refusal.reason in TRANSIENT:
                self._put_off(one.fingerprint)
                return
            certificate, octets = _refused(one.certificate, rejected.refusal), one.octets
        self._save(certificate, octets, EventKind.REVETTED)

    def _put_off(self, fingerprint: str) -> None:
        # A busy host is no reason to stop a certificate that was good yesterday.
        log.warning("vetting_put_off", extra={"fingerprint": fingerprint})
        with self._database.writing() as connection:
            store.put_off(connection, fingerprint, int(self._clock()) + _RETRY_INTERVAL)

    def _save(self, certificate: Certificate, octets: bytes, kind: EventKind) -> None:
        now = int(self._clock())
        with self._database.writing() as connection:
            store.save_certificate(connection, certificate, octets, now, _vet_at(certificate, now))
            affected = store.bound_mailboxes(connection, certificate.fingerprint)
            if certificate.refusal is not None:
                for mailbox in affected:
                    store.note(
                        connection, mailbox, kind, now, certificate.fingerprint, certificate.refusal
                    )
        self._changed(*affected)

    def _vet_with_history(self, octets: bytes) -> tuple[Certificate, bytes]:
        """Vet `octets` together with what is stored of the same certificate.

        A revocation that comes this way also holds for the mailboxes that use it already.
        """
        components = self._prescan(octets)
        fingerprint = packets.fingerprint(components[0].packet)
        with self._database.reading() as connection:
            stored = store.octets_of(connection, fingerprint)
        if stored is not None:
            components = packets.merge(packets.components(packets.split(stored)), components)
        certificate, minimised = self._vet(packets.serialise(components))
        if stored is not None and certificate.refusal is not None:
            self._save(certificate, minimised, EventKind.REFUSED)
        return certificate, minimised

    def _prescan(self, octets: bytes) -> tuple[packets.Component, ...]:
        try:
            return packets.require_one_certificate(octets)
        except RejectedCertificate as rejected:
            self._metrics.vettings.labels("refused", rejected.refusal.reason.value).inc()
            if rejected.refusal.reason is RefusalReason.SECRET_KEY:
                self._metrics.secret_key_material.inc()
            raise

    def _vet(self, octets: bytes) -> tuple[Certificate, bytes]:
        try:
            verdict = self._vetter.vet(octets)
        except RejectedCertificate as rejected:
            self._metrics.vettings.labels("refused", rejected.refusal.reason.value).inc()
            raise
        refusal = verdict.certificate.refusal if verdict.certificate else verdict.refusal
        result = ("refused", refusal.reason.value) if refusal else ("usable", "")
        self._metrics.vettings.labels(*result).inc()
        if verdict.certificate is None:
            raise RejectedCertificate(
                *(
                    (refusal.reason, refusal.detail)
                    if refusal
                    else (RefusalReason.VETTING_FAILED, "no verdict")
                )
            )
        return verdict.certificate, verdict.octets

    def _note_refusal(self, mailbox: Mailbox, refusal: Refusal) -> None:
        log.info("refused", extra={"mailbox": mailbox.key, "reason": refusal.reason.value})
        with self._database.writing() as connection:
            store.note(connection, mailbox, EventKind.REFUSED, int(self._clock()), refusal=refusal)

    def _require_ours(self, mailbox: Mailbox) -> DomainSection:
        domain = self._domains.get(mailbox.domain)
        if domain is None:
            raise OutsideDomain("its domain is not in the key service's configuration")
        return domain

    def _changed(self, *mailboxes: Mailbox) -> int:
        """Make Redis forget `mailboxes`; return after how many seconds no copy is left."""
        self._changes += 1  # before the removal, see `answer`
        if self._cache is None:
            return 0
        forgotten = [self._cache.forget(mailbox) for mailbox in mailboxes]
        return 0 if all(forgotten) else LIFETIME_MAX


def _vet_at(certificate: Certificate, now: int) -> int:
    # Spread: certificates that were imported together should not be vetted together.
    daily = now + int(VETTING_INTERVAL * random.uniform(0.9, 1.0))  # noqa: S311 (not for secrets)
    ends = certificate.not_after
    return daily if ends is None or ends <= now else min(daily, ends)


def _refused(certificate: Certificate, refusal: Refusal) -> Certificate:
    return Certificate(
        certificate.fingerprint,
        certificate.version,
        certificate.user_ids,
        not_after=certificate.not_after,
        refusal=refusal,
    )


def _enrolment(
    mailbox: Mailbox, certificate: Certificate, replaced: str | None, effective_within: int
) -> Enrolment:
    return Enrolment(
        mailbox=mailbox.key,
        fingerprint=certificate.fingerprint,
        version=certificate.version,
        user_ids=certificate.user_ids,
        subkeys=report.subkeys(certificate),
        not_after=certificate.not_after,
        replaced=replaced,
        effective_within=effective_within,
    )
