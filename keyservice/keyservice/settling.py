"""What the evidence about a mailbox comes to, and making it so.

One transaction reads all of it, decides and writes the decision down: two who settle the same
mailbox at once do so one after the other, and the second one finds nothing left to do.
"""

from typing import NamedTuple, assert_never

from sqlalchemy import Connection

from keyservice import bindings, dossier, ledger
from keyservice.dossier import Dossier
from keyservice.evidence import STANDING, Sighting, best_of, candidates
from keyservice.explanation import conflict, in_words
from keyservice.mailbox import Mailbox
from keyservice.replacement import Decision, Mode, Outcome, Rules
from keyservice.resolution import Resolution, resolve
from keyservice.schema import EventKind


class Settled(NamedTuple):
    """What was decided, and what that changed."""

    resolution: Resolution
    has_changed: bool = False
    replaced: str | None = None
    conflicts: tuple[str, ...] = ()
    """Those not recorded before, in a word each."""

    def about(self, fingerprint: str) -> Decision | None:
        """Return what was decided about one certificate."""
        found = (d for d in self.resolution.decisions if d.fingerprint == fingerprint)
        return next(found, None)


def weigh(known: Dossier, rules: Rules, now: float) -> Resolution:
    """Return what the evidence comes to. Pure."""
    # What was said twice in one second was written down as of the next.
    said = (s.seen_at for s in known.sightings if s.source in STANDING)
    now = max([now, *said])
    seen = candidates(_counting(known, rules), known.background, known.registered, int(now))
    hint = known.hint.chosen([candidate.fingerprint for candidate in seen])
    return resolve(known.registered, seen, rules, now, hint)


def _counting(known: Dossier, rules: Rules) -> tuple[Sighting, ...]:
    """Return the sightings that count under the mode.

    Bitmask takes a certificate back that it has replaced, but when it is offered again: what
    was seen before must not bring it back by itself.
    """
    if rules.mode is not Mode.BITMASK:
        return known.sightings
    retired = {name: one.retired_at or 0 for name, one in known.background.items()}
    return tuple(s for s in known.sightings if s.seen_at > retired.get(s.fingerprint, 0))


def settle(connection: Connection, mailbox: Mailbox, rules: Rules, now: float) -> Settled:
    """Decide about `mailbox` and write it down. `connection` is one that writes."""
    at = int(now)
    known = dossier.read(connection, mailbox, rules, now)
    resolution = weigh(known, rules, now)
    has_changed, replaced = _apply(connection, mailbox, known, resolution, rules, at)
    waits = next((d for d in resolution.decisions if d.outcome is Outcome.WAIT), None)
    _keep_waiting(connection, mailbox, known, waits if resolution.change is None else None, at)
    since = known.in_use.since if known.in_use else 0
    new = tuple(
        conflict(decision)
        for decision in resolution.conflicts
        if ledger.conflicted(connection, mailbox, decision, at, since)
    )
    return Settled(resolution, has_changed, replaced, new)


def _apply(
    connection: Connection,
    mailbox: Mailbox,
    known: Dossier,
    resolution: Resolution,
    rules: Rules,
    now: int,
) -> tuple[bool, str | None]:
    """Return whether another certificate is in use now, and which one was."""
    replaced: str | None = None
    for decision in resolution.decisions:
        match decision.outcome:
            case Outcome.ACCEPT_FIRST | Outcome.REPLACE:
                replaced = _bind(connection, mailbox, known, decision, rules, now)
                note = EventKind.REPLACED if replaced else EventKind.ENROLLED
                ledger.note(
                    connection, mailbox, note, now, decision.fingerprint, detail=in_words(decision)
                )
            case Outcome.UPDATE:
                if known.registered is not None and decision.level != known.registered.level:
                    _bind(connection, mailbox, known, decision, rules, now)
            case Outcome.WAIT | Outcome.REFUSE | Outcome.PARK_WEAK:
                pass
            case _:
                assert_never(decision.outcome)
    return resolution.change is not None, replaced


def _bind(
    connection: Connection,
    mailbox: Mailbox,
    known: Dossier,
    decision: Decision,
    rules: Rules,
    now: int,
) -> str | None:
    if decision.level is None:  # hard revoked: what it was registered with is history
        return None
    return bindings.bind(
        connection,
        mailbox,
        decision.fingerprint,
        now,
        level=decision.level,
        source=_best(known, decision).source,
        is_ours=rules.is_ours,
    )


def _best(known: Dossier, decision: Decision) -> Sighting:
    return best_of(s for s in known.sightings if s.fingerprint == decision.fingerprint)


def _keep_waiting(
    connection: Connection, mailbox: Mailbox, known: Dossier, waits: Decision | None, now: int
) -> None:
    if waits is None or waits.until is None:
        bindings.drop_waiting(connection, mailbox, now)
        return
    best = _best(known, waits)
    is_new = bindings.hold(
        connection,
        mailbox,
        waits.fingerprint,
        waits.until,
        now,
        level=best.level,
        source=best.source,
    )
    if is_new:
        ledger.note(
            connection,
            mailbox,
            EventKind.WAITING,
            now,
            waits.fingerprint,
            detail=in_words(waits),
        )
