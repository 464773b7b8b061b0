"""What may be published of the store. Reads only, each by an index.

Shown are certificates of published mailboxes that

1. are in use for the mailbox and can be used for it now, or
2. carry their owner's revocation, in use or not: who has a copy must be able to learn of it.

Nothing else is: no expired or refused certificate, no other user ID, and of signatures only
those that hold (`publishable`).
"""

import hashlib
import threading
import time
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

import msgspec
from sqlalchemy import ColumnElement, select

from keyservice import schema
from keyservice.certificate import (
    TRANSIENT,
    Certificate,
    RefusalReason,
    RejectedCertificate,
    require_usable,
)
from keyservice.database import Database
from keyservice.errors import KeyServiceError
from keyservice.judge import Vets
from keyservice.mailbox import Mailbox
from keyservice.public.minimise import narrowed
from keyservice.schema import BindingState

_REMEMBERED = 4_096
"""Certificates whose publishable form is kept in memory; one takes about a kilobyte."""

_BOUND_MAX = 24
"""Rows read for one question. A mailbox or certificate with more is none that people have."""

_facts_decoder = msgspec.json.Decoder(Certificate)


class PublicationBusy(KeyServiceError):
    """The child that checks signatures took too long or died; asking again may help."""

    status = 503
    error = "busy"


class PublishedCertificate(NamedTuple):
    """What anybody may see. `mailbox` is who its user ID is for, None if none is shown."""

    fingerprint: str
    mailbox: Mailbox | None
    octets: bytes
    not_after: int | None
    is_revoked: bool


class _Bound(NamedTuple):
    """A certificate as it is, or was, in use for a mailbox."""

    mailbox: Mailbox
    is_active: bool
    facts: Certificate
    octets: bytes
    vetted_at: int

    @property
    def is_revoked(self) -> bool:
        refusal = self.facts.refusal
        return refusal is not None and refusal.reason is RefusalReason.REVOKED


class Published:
    """Any thread may call it."""

    def __init__(
        self,
        database: Database,
        vetter: Vets,
        domains: Collection[str],
        is_published: Callable[[Mailbox], bool] = lambda _: True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Show mailboxes of `domains` that `is_published`.

        `vetter` is one of its own, started with `vetting_child.PUBLISHES`: strangers must not
        keep enrolments waiting.
        """
        self._database = database
        self._vetter = vetter
        self._domains = domains
        self._is_published = is_published
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[tuple[bytes, int], bytes] = {}

    def serves(self, domain: str) -> bool:
        """Whether certificates of this domain are published at all."""
        return domain in self._domains

    def by_mailbox(self, mailbox: Mailbox) -> tuple[PublishedCertificate, ...]:
        """Return the certificate in use for `mailbox`, if any, then revoked ones.

        Raises PublicationBusy, as all of these do.
        """
        return self._of_one_mailbox(schema.mailbox.c.address == mailbox.key)

    def by_wkd_name(self, name: str) -> tuple[PublishedCertificate, ...]:
        """Return the same for the mailbox with a `wkd_name`."""
        return self._of_one_mailbox(schema.mailbox.c.wkd_name == name)

    def by_fingerprint(self, fingerprint: str) -> PublishedCertificate | None:
        """Return a certificate by the fingerprint of its primary key, in lower case."""
        return self._one_certificate(schema.certificate.c.fingerprint == fingerprint)

    def by_key_id(self, key_id: str) -> PublishedCertificate | None:
        """Return a version 4 certificate by its primary key's ID; None if several have it."""
        return self._one_certificate(schema.certificate.c.key_id == key_id)

    def _of_one_mailbox(self, condition: ColumnElement[bool]) -> tuple[PublishedCertificate, ...]:
        shown = [self._narrowed(one, one.mailbox) for one in self._showable(condition)]
        return tuple(one for one in shown if one.octets)

    def _one_certificate(self, condition: ColumnElement[bool]) -> PublishedCertificate | None:
        bound = self._showable(condition)
        if len({one.facts.fingerprint for one in bound}) != 1:
            return None
        # Who asks by fingerprint knows one mailbox at most; the others that its owner gave
        # the same certificate are not for him to learn. Without user IDs it is an update.
        mailboxes = {one.mailbox for one in bound}
        shown = self._narrowed(bound[0], mailboxes.pop() if len(mailboxes) == 1 else None)
        return shown if shown.octets else None

    def _showable(self, condition: ColumnElement[bool]) -> list[_Bound]:
        now = self._clock()
        bound = [one for one in self._read(condition) if _is_showable(one, now)]
        # Asked last, so that a mailbox that is not published takes as long as one that is.
        return [
            one
            for one in bound
            if self.serves(one.mailbox.domain) and self._is_published(one.mailbox)
        ]

    def _read(self, condition: ColumnElement[bool]) -> Iterator[_Bound]:
        m, b, c = schema.mailbox, schema.binding, schema.certificate
        is_active = b.c.state == BindingState.ACTIVE.value
        statement = (
            select(m.c.address, is_active.label("active"), c.c.facts, c.c.octets, c.c.vetted_at)
            .join_from(m, b, b.c.mailbox_id == m.c.id)
            .join(c, c.c.fingerprint == b.c.fingerprint)
            .where(
                condition,
                # Enrolled, and not just seen when the domain was somebody else's.
                m.c.first_certificate_at.is_not(None),
                is_active | (c.c.refusal == RefusalReason.REVOKED.value),
            )
            .order_by(is_active.desc(), b.c.since.desc())
            .limit(_BOUND_MAX)
        )
        with self._database.reading() as connection:
            rows = connection.execute(statement).all()
        for row in rows:
            yield _Bound(
                Mailbox.parse(row.address),
                bool(row.active),
                _facts_decoder.decode(row.facts),
                row.octets,
                row.vetted_at,
            )

    def _narrowed(self, bound: _Bound, mailbox: Mailbox | None) -> PublishedCertificate:
        return PublishedCertificate(
            bound.facts.fingerprint,
            mailbox,
            narrowed(self._publishable(bound), mailbox),
            bound.facts.not_after,
            bound.is_revoked,
        )

    def _publishable(self, bound: _Bound) -> bytes:
        # `vetted_at`, because what holds depends on policies that change with the day.
        key = (hashlib.sha256(bound.octets).digest(), bound.vetted_at)
        with self._lock:
            known = self._known.pop(key, None)
        octets = self._vet(bound.octets) if known is None else known
        with self._lock:
            self._known[key] = octets  # as the latest used
            if len(self._known) > _REMEMBERED:
                del self._known[next(iter(self._known))]
        return octets

    def _vet(self, octets: bytes) -> bytes:
        try:
            return self._vetter.vet(octets).publishable
        except RejectedCertificate as rejected:
            if rejected.refusal.reason in TRANSIENT:
                raise PublicationBusy("asking again in a minute may help") from None
            return b""


def _is_showable(bound: _Bound, now: float) -> bool:
    if bound.is_revoked:
        return True
    try:
        require_usable(bound.facts, bound.mailbox, now)
    except RejectedCertificate:
        return False
    return bound.is_active
