"""What was seen of certificates for a mailbox, put together: how well each is attested. Pure.

Each sighting is stored and none is ever changed; what follows from them is worked out anew
whenever it is needed, and does not depend on their order. A source's word lasts as long as
it repeats it. The owner's and the operator's lasts until they say something else; that of the
owner's mail program until it or they do, and against theirs it counts for nothing.
"""

from collections.abc import Collection, Iterable, Mapping

import msgspec

from keyservice.levels import Level, Source
from keyservice.revocation import Revocation, Strength

SIGHTING_LASTS = 3 * 86_400
"""Seconds. Certificates are looked for daily; a day without an answer is forgiven."""

DELIBERATE = frozenset({Source.OWNER, Source.OPERATOR})

STANDING = DELIBERATE | {Source.SUBMISSION}
"""Whose word lasts. About a mailbox of ours nobody else's counts."""

Weight = tuple[int, int]
"""Level, and rank of the source inside the level."""


class Registered(msgspec.Struct, frozen=True):
    """The certificate that a mailbox has."""

    fingerprint: str
    level: Level
    source: Source
    not_after: int | None = None
    revocation: Revocation | None = None
    encrypted_to: bool = False
    possession_proved: bool = False
    """By a signature, or by something decrypted."""

    @property
    def is_used(self) -> bool:
        """LEAP's "successfully used": both directions."""
        return self.encrypted_to and self.possession_proved

    @property
    def is_disowned(self) -> bool:
        """Hard revoked: what was believed of it counts for nothing any more."""
        return self.revocation is not None and self.revocation.strength is Strength.HARD

    @property
    def weight(self) -> Weight:
        """How well attested it is."""
        return (0, 0) if self.is_disowned else (self.level, self.source.rank)

    def has_expired(self, now: float) -> bool:
        """Whether its end has come."""
        return self.not_after is not None and now >= self.not_after

    def has_ended(self, now: float) -> bool:
        """Whether it is expired or revoked."""
        revoked = self.revocation is not None and self.revocation.has_effect(now)
        return revoked or self.has_expired(now)


class Candidate(msgspec.Struct, frozen=True):
    """A certificate that was seen for a mailbox; `candidates` makes them."""

    fingerprint: str
    level: Level
    source: Source
    """The highest in rank of those that give it its level."""

    corroborated: int = 1
    """How many sources give it its level. For people: agreement does not raise the level."""

    seen_since: int | None = None
    """Since when sources no weaker than the registered one's show it, and nothing else;
    None: they do not, or contradict each other."""

    is_usable: bool = True
    signed_by_registered: bool = False
    is_retired: bool = False
    """Was registered before and replaced or withdrawn; neither the owner nor the operator
    has named it since."""

    @property
    def weight(self) -> Weight:
        """How well attested it is."""
        return (self.level, self.source.rank)


class Sighting(msgspec.Struct, frozen=True):
    """A source showed a certificate for the mailbox."""

    fingerprint: str
    source: Source
    level: Level
    seen_at: int

    @property
    def weight(self) -> Weight:
        """How much it is worth."""
        return (self.level, self.source.rank)


class Background(msgspec.Struct, frozen=True):
    """What is known about a certificate besides that it was seen."""

    is_usable: bool = True
    signed_by_registered: bool = False
    retired_at: int | None = None
    """When it was last replaced or withdrawn for this mailbox."""


def candidates(
    sightings: Iterable[Sighting],
    background: Mapping[str, Background],
    registered: Registered | None,
    now: int,
) -> tuple[Candidate, ...]:
    """Return one candidate for each certificate that somebody's word now stands for."""
    seen = [s for s in set(sightings) if s.seen_at <= now]
    least = (0, 0) if registered is None else registered.weight
    standing: dict[str, list[Sighting]] = {}
    for sighting in seen:
        if _stands(sighting, seen, now):
            standing.setdefault(sighting.fingerprint, []).append(sighting)
    return tuple(
        _candidate(
            standing[fingerprint],
            background.get(fingerprint, Background()),
            seen_since(fingerprint, _audible(standing[fingerprint], seen), least, now),
        )
        for fingerprint in sorted(standing)
    )


def _audible(own: Iterable[Sighting], seen: Iterable[Sighting]) -> list[Sighting]:
    """Return the sightings that can speak for or against the certificate that `own` are of."""
    is_deliberate = any(sighting.source in DELIBERATE for sighting in own)
    # A mail program goes on sending the old certificate until somebody tells it.
    return [s for s in seen if not (is_deliberate and s.source is Source.SUBMISSION)]


def _stands(sighting: Sighting, seen: Iterable[Sighting], now: int) -> bool:
    if sighting.source not in STANDING:
        return now - sighting.seen_at <= SIGHTING_LASTS
    takes_back = STANDING if sighting.source is Source.SUBMISSION else DELIBERATE
    return not any(
        later.source in takes_back
        and later.seen_at > sighting.seen_at
        and later.fingerprint != sighting.fingerprint
        for later in seen
    )


def _candidate(
    sightings: Collection[Sighting], background: Background, since: int | None
) -> Candidate:
    best = best_of(sightings)
    return Candidate(
        best.fingerprint,
        best.level,
        best.source,
        corroborated=len({s.source for s in sightings if s.level == best.level}),
        seen_since=since,
        is_usable=background.is_usable,
        signed_by_registered=background.signed_by_registered,
        is_retired=_is_retired(sightings, background.retired_at),
    )


def best_of(sightings: Iterable[Sighting]) -> Sighting:
    """Return the one that stands for them, whatever their order; ValueError: there is none.

    Of those of one weight it is the one said deliberately.
    """
    # Level first: a high-ranking source must not lend its rank to another one's level.
    return max(
        sightings,
        key=lambda s: (s.weight, s.source in DELIBERATE, s.source.value, s.seen_at, s.fingerprint),
    )


def _is_retired(sightings: Iterable[Sighting], retired_at: int | None) -> bool:
    return retired_at is not None and not any(
        s.source in DELIBERATE and s.seen_at > retired_at for s in sightings
    )


def seen_since(
    fingerprint: str, sightings: Iterable[Sighting], least: Weight, now: int
) -> int | None:
    """Return since when sources of at least weight `least` show this certificate only.

    None if they do not. Weaker sources neither help nor hinder: anybody can speak there.
    """
    heard = [s for s in sightings if s.weight >= least and s.seen_at <= now]
    contradicted = max((s.seen_at for s in heard if s.fingerprint != fingerprint), default=-1)
    since: int | None = None
    for sighting in sorted(heard, key=lambda s: s.seen_at, reverse=True):
        if sighting.fingerprint != fingerprint or sighting.seen_at <= contradicted:
            continue
        silent = (now if since is None else since) - sighting.seen_at > SIGHTING_LASTS
        if not silent or sighting.source in STANDING:
            since = sighting.seen_at
    return since
