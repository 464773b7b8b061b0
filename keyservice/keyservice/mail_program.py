"""What an owner's mail program says of his certificate, and whether that counts. Pure.

It says so in the Autocrypt field of a message whose sender was authenticated as the owner of
the mailbox in it. That is the word of a program that knows a password, not of a person who was
asked: level PROVIDER_TRUST, no more. So

1. a first certificate is used from now on;
2. one that replaces another of that level waits as every replacement does, and ends waiting if
   the program says the old one again meanwhile: two programs that disagree change nothing;
3. what the owner or the operator said is neither replaced by it nor contradicted;
4. what was replaced or withdrawn does not come back by it;
5. what changes nothing is not kept: no word of a program lies in wait for the day when the
   certificate in use ends.
"""

from collections.abc import Collection
from typing import NamedTuple

import msgspec

from keyservice import autocrypt
from keyservice.autocrypt import Reading
from keyservice.dossier import Dossier
from keyservice.evidence import Sighting
from keyservice.explanation import in_words
from keyservice.levels import Level, Source
from keyservice.mailbox import InvalidMailbox, Mailbox
from keyservice.replacement import DAY, Decision, Outcome, Rules
from keyservice.resolution import Resolution
from keyservice.sender_wire import Submitted
from keyservice.settling import weigh

LEVEL = Level.PROVIDER_TRUST

CERTIFICATES_MAX = 8
"""For one mailbox in three days. Whoever knows the password can make more."""

DROPPED_FOR = DAY
"""Seconds for which one that was contradicted does not begin to wait again."""

_TAKEN = frozenset({Outcome.ACCEPT_FIRST, Outcome.REPLACE, Outcome.WAIT, Outcome.UPDATE})


class Shown(NamedTuple):
    """A certificate in a message, and when that counts as written."""

    fingerprint: str
    octets: bytes
    written_at: int

    def said(self, at: int) -> Sighting:
        """Return this as evidence."""
        return Sighting(self.fingerprint, Source.SUBMISSION, LEVEL, at)


class Lately(NamedTuple):
    """What the same program said before."""

    fingerprints: Collection[str] = ()
    """In the last three days, CERTIFICATES_MAX at most."""

    dropped_at: int | None = None
    """When this certificate stopped waiting in vain."""


class Outweighed(Exception):
    """Something else counts for more; the text says what."""

    def __init__(self, reason: str, decision: Decision | None = None) -> None:
        """Keep the decision that says so, if one does."""
        super().__init__(reason)
        self.decision = decision


def read(mailbox: Mailbox, submitted: Submitted) -> Reading:
    """Return the one valid header, if the message is from `mailbox` and nobody else."""
    try:
        authors = [Mailbox.parse(text).key for text in submitted.from_addresses]
    except InvalidMailbox:
        authors = []
    if submitted.from_fields != 1 or authors != [mailbox.key]:
        return Reading(None)
    return autocrypt.sent_by(submitted.autocrypt_fields, mailbox)


def is_said(known: Dossier, shown: Shown) -> bool:
    """Whether it is in use, or waits, and to say so once more says nothing new."""
    in_use = known.registered.fingerprint if known.registered else None
    waiting = known.waiting.fingerprint if known.waiting else None
    said = [s for s in known.sightings if s.source is Source.SUBMISSION]
    last = max(said, key=lambda s: s.seen_at, default=None)
    is_last = last is not None and last.fingerprint == shown.fingerprint
    return shown.fingerprint in (in_use, waiting) and (is_last or _is_overtaken(known, shown))


def require_welcome(known: Dossier, shown: Shown, lately: Lately, rules: Rules, now: int) -> None:
    """Raise Outweighed if it would not be taken; then it need not even be vetted."""
    if _is_overtaken(known, shown):
        raise Outweighed("another certificate was named after the message was written")
    if lately.dropped_at is not None and now < lately.dropped_at + DROPPED_FOR:
        raise Outweighed("it was contradicted less than a day ago")
    if len(lately.fingerprints) >= CERTIFICATES_MAX and (
        shown.fingerprint not in lately.fingerprints
    ):
        raise Outweighed(f"{CERTIFICATES_MAX} other certificates were submitted in three days")
    at = max([now, *(s.seen_at + 1 for s in known.sightings)])
    told = msgspec.structs.replace(known, sightings=(*known.sightings, shown.said(at)))
    effect(weigh(told, rules, at), shown)


def effect(resolution: Resolution, shown: Shown) -> Decision:
    """Return what is decided about it. Raises Outweighed if that is not to use it."""
    waits = next((d for d in resolution.decisions if d.outcome is Outcome.WAIT), None)
    for decision in resolution.decisions:
        if decision.fingerprint != shown.fingerprint:
            continue
        if decision.outcome is Outcome.WAIT and decision is not waits:
            raise Outweighed("another certificate waits already")
        if decision.outcome not in _TAKEN:
            raise Outweighed(in_words(decision), decision)
        return decision
    raise Outweighed("something else was said at the same time")


def _is_overtaken(known: Dossier, shown: Shown) -> bool:
    """Whether another one was named after the message was written: it lay about somewhere."""
    return any(
        s.fingerprint != shown.fingerprint and s.seen_at > shown.written_at for s in known.sightings
    )
