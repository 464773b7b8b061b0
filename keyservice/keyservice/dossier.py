"""What is stored about a mailbox, as the decision wants it. Reads only."""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, or_, select

from keyservice import certification, packets, schema
from keyservice.certificate import (
    Certificate,
    RefusalReason,
    RejectedCertificate,
    require_usable,
    usable_until,
)
from keyservice.evidence import SIGHTING_LASTS, STANDING, Background, Registered, Sighting
from keyservice.levels import Level, Source
from keyservice.mailbox import Mailbox
from keyservice.openpgp_field import Hint
from keyservice.replacement import Rules
from keyservice.revocation import Revocation, Strength, revocation_of
from keyservice.schema import BindingState
from keyservice.transition import Predecessor

SIGHTINGS_MAX = 500
"""Rows read for one decision. A mailbox with more is being flooded; the latest decide."""

_facts_decoder = msgspec.json.Decoder(Certificate)


class InUse(msgspec.Struct, frozen=True):
    """The certificate that a mailbox has, with what is needed to see whether it still may."""

    registered: Registered
    facts: Certificate
    octets: bytes
    since: int

    @property
    def predecessor(self) -> Predecessor:
        """As what it may have certified its successor."""
        primary = packets.split(self.octets)[0]
        return Predecessor(primary, self.facts.not_after, self.registered.revocation)


class Waiting(msgspec.Struct, frozen=True):
    """A certificate that takes over at `until`."""

    fingerprint: str
    until: int


class Dossier(msgspec.Struct, frozen=True):
    """All that decides which certificate a mailbox gets."""

    in_use: InUse | None = None
    waiting: Waiting | None = None
    sightings: tuple[Sighting, ...] = ()
    background: Mapping[str, Background] = {}
    hint: Hint = Hint()

    @property
    def registered(self) -> Registered | None:
        """The certificate that the mailbox has."""
        return self.in_use.registered if self.in_use else None


def read(connection: Connection, mailbox: Mailbox, rules: Rules, now: float) -> Dossier:
    """Return what is stored about `mailbox` and can still count at `now`."""
    m = schema.mailbox
    row = connection.execute(
        select(m.c.id, m.c.hint, m.c.first_certificate_at).where(m.c.address == mailbox.key)
    ).one_or_none()
    if row is None:
        return Dossier()
    seen = _sightings(connection, row.id, rules, now)
    # A domain became ours: what others said of its mailboxes counts for nothing now.
    counts = not rules.is_ours or row.first_certificate_at is not None
    in_use = _in_use(connection, row.id) if counts else None
    return Dossier(
        in_use,
        _waiting(connection, row.id),
        tuple(_sighting(one) for one in seen),
        _background(connection, row.id, mailbox, seen, in_use, now),
        Hint(row.hint),
    )


def in_use(connection: Connection, mailbox: Mailbox) -> InUse | None:
    """Return the certificate that `mailbox` has, whether or not it still may."""
    m = schema.mailbox
    mailbox_id = connection.scalar(select(m.c.id).where(m.c.address == mailbox.key))
    return None if mailbox_id is None else _in_use(connection, mailbox_id)


def _in_use(connection: Connection, mailbox_id: int) -> InUse | None:
    b, c = schema.binding, schema.certificate
    row = connection.execute(
        select(b, c.c.facts, c.c.octets, c.c.vetted_at)
        .join(c, c.c.fingerprint == b.c.fingerprint)
        .where(b.c.mailbox_id == mailbox_id, b.c.state == BindingState.ACTIVE.value)
    ).one_or_none()
    if row is None:
        return None
    facts = _facts_decoder.decode(row.facts)
    return InUse(_registered(row, facts), facts, row.octets, row.since)


def _registered(row: Row[*tuple[Any, ...]], facts: Certificate) -> Registered:
    revocation = _revocation(facts, row.octets)
    not_after = usable_until(facts)
    if facts.refusal is not None and revocation is None:
        # Refused by a later vetting: as good as ended, or nothing could ever replace it.
        not_after = min(row.vetted_at, not_after or row.vetted_at)
    return Registered(
        row.fingerprint,
        Level(row.level),
        Source(row.source),
        not_after,
        revocation,
        row.encrypted_to_at is not None,
        row.possession_proved_at is not None,
    )


def _revocation(facts: Certificate, octets: bytes) -> Revocation | None:
    if facts.refusal is None or facts.refusal.reason is not RefusalReason.REVOKED:
        return None
    primary = packets.components(packets.split(octets))[0]
    found = revocation_of(
        primary, lambda packet: certification.revocation_holds(primary.packet, packet)
    )
    # The engine knows of one that we cannot read: then the worst is believed.
    return found or Revocation(Strength.HARD, 0)


def _waiting(connection: Connection, mailbox_id: int) -> Waiting | None:
    b = schema.binding
    row = connection.execute(
        select(b.c.fingerprint, b.c.until).where(
            b.c.mailbox_id == mailbox_id, b.c.state == BindingState.WAITING.value
        )
    ).one_or_none()
    return None if row is None else Waiting(row.fingerprint, row.until)


def _sightings(
    connection: Connection, mailbox_id: int, rules: Rules, now: float
) -> list[Row[*tuple[Any, ...]]]:
    e = schema.evidence
    standing = e.c.source.in_([source.value for source in STANDING])
    recent = e.c.seen_at >= now - rules.hold_down - 2 * SIGHTING_LASTS
    # About a mailbox of ours nobody else's word counts.
    counts = standing if rules.is_ours else or_(standing, recent)
    return list(
        connection.execute(
            select(e)
            .where(e.c.mailbox_id == mailbox_id, counts)
            .order_by(e.c.id.desc())
            .limit(SIGHTINGS_MAX)
        )
    )


def _sighting(row: Row[*tuple[Any, ...]]) -> Sighting:
    return Sighting(row.fingerprint, Source(row.source), Level(row.level), row.seen_at)


def _background(
    connection: Connection,
    mailbox_id: int,
    mailbox: Mailbox,
    seen: list[Row[*tuple[Any, ...]]],
    in_use: InUse | None,
    now: float,
) -> dict[str, Background]:
    b, c = schema.binding, schema.certificate
    fingerprints = {row.fingerprint for row in seen}
    registered = in_use.registered.fingerprint if in_use else None
    certified = {row.fingerprint for row in seen if row.certified_by == registered}
    rows = connection.execute(
        select(c.c.fingerprint, c.c.facts, b.c.retired_at)
        .outerjoin(b, (b.c.fingerprint == c.c.fingerprint) & (b.c.mailbox_id == mailbox_id))
        .where(c.c.fingerprint.in_(fingerprints))
    )
    return {
        row.fingerprint: Background(
            _is_usable(_facts_decoder.decode(row.facts), mailbox, now),
            registered is not None and row.fingerprint in certified,
            row.retired_at,
        )
        for row in rows
    }


def _is_usable(facts: Certificate, mailbox: Mailbox, now: float) -> bool:
    try:
        require_usable(facts, mailbox, now)
    except RejectedCertificate:
        return False
    return True
