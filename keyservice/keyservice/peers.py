"""Answers about mailboxes of others: from what is stored, asking others when that is old."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

from sqlalchemy import Connection

from keyservice import autocrypt_store, bindings, dossier, inquiries
from keyservice.answers import Answers
from keyservice.certificate import RejectedCertificate, alive_subkeys, require_usable, usable_until
from keyservice.database import Database
from keyservice.discoverer import Discoverer, Inquiry
from keyservice.dossier import Dossier, InUse
from keyservice.errors import LocalMailbox, OtherCertificate
from keyservice.explanation import in_words
from keyservice.inquiries import Answered, Told
from keyservice.intake import Intake, Shown
from keyservice.mailbox import Mailbox
from keyservice.methods import Found, InquiryResult
from keyservice.methods.keyserver import Material
from keyservice.peer_wire import PeerAnswer, PeerOutcome, Use
from keyservice.record import LIFETIME_MAX
from keyservice.resolution import Resolution
from keyservice.settling import weigh
from keyservice.single_flight import SingleFlight

log = logging.getLogger(__name__)


class Peers:
    """Belongs to one event loop; what blocks runs in that loop's threads."""

    def __init__(
        self,
        database: Database,
        answers: Answers,
        discoverer: Discoverer,
        intake: Intake,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Refuse mailboxes that `answers` says are ours."""
        self._database = database
        self._answers = answers
        self._discoverer = discoverer
        self._intake = intake
        self._clock = clock
        self._flights = SingleFlight()

    async def answer(self, mailbox: Mailbox) -> PeerAnswer:
        """Return what is known about `mailbox`, after asking others if that is too old.

        Raises LocalMailbox, as all of these do.
        """
        self._require_peer(mailbox)
        if await asyncio.to_thread(self._is_old, mailbox):
            await self._refresh(mailbox)
        return await asyncio.to_thread(self._answer, mailbox)

    async def discover(self, mailbox: Mailbox) -> PeerAnswer:
        """Ask others about `mailbox` whatever is stored; return what is known then."""
        self._require_peer(mailbox)
        await self._refresh(mailbox)
        return await asyncio.to_thread(self._answer, mailbox)

    async def use(self, mailbox: Mailbox, use: Use) -> PeerAnswer:
        """Note what was done with the certificate of `mailbox`. Raises OtherCertificate."""
        self._require_peer(mailbox)
        await asyncio.to_thread(self._use, mailbox, use)
        return await asyncio.to_thread(self._answer, mailbox)

    def _use(self, mailbox: Mailbox, use: Use) -> None:
        with self._database.writing() as connection:
            is_registered = bindings.used(
                connection,
                mailbox,
                use.fingerprint,
                int(self._clock()),
                encrypted_to=use.encrypted_to,
                possession_proved=use.possession_proved,
            )
        if not is_registered:
            raise OtherCertificate("another certificate, or none, is registered for this mailbox")

    def _require_peer(self, mailbox: Mailbox) -> None:
        if self._answers.rules(mailbox).is_ours:
            raise LocalMailbox("its domain is ours: ask for the mailbox, not for a peer")

    def _is_old(self, mailbox: Mailbox) -> bool:
        if not self._discoverer.sources:
            return False
        now = self._clock()
        with self._database.reading() as connection:
            if inquiries.ask_again_at(connection, mailbox) <= now:
                return True
            in_use = dossier.in_use(connection, mailbox)
            end = usable_until(in_use.facts) if in_use else None
            # It has ended since others were asked last.
            told = inquiries.told(connection, mailbox) if end is not None and end <= now else ()
        return end is not None and bool(told) and told[0].at < end

    async def _refresh(self, mailbox: Mailbox) -> None:
        await self._flights.do(mailbox.key, partial(self._ask_others, mailbox))

    async def _ask_others(self, mailbox: Mailbox) -> None:
        fingerprint = await asyncio.to_thread(self._registered, mailbox)
        refreshing = self._discoverer.refresh(fingerprint) if fingerprint else _nothing()
        inquired, news = await asyncio.gather(self._discoverer.discover(mailbox), refreshing)
        await asyncio.to_thread(self._take, mailbox, inquired, news)

    def _registered(self, mailbox: Mailbox) -> str | None:
        with self._database.reading() as connection:
            in_use = dossier.in_use(connection, mailbox)
        return in_use.facts.fingerprint if in_use else None

    def _take(
        self, mailbox: Mailbox, inquired: Sequence[Inquiry], news: Sequence[Material]
    ) -> None:
        for material in news:
            self._intake.update(mailbox, material.octets)
        answered = [self._answered(mailbox, inquiry) for inquiry in inquired]
        now = int(self._clock())
        with self._database.writing() as connection:
            inquiries.note(connection, mailbox, answered, now)
        self._answers.settle(mailbox)

    def _answered(self, mailbox: Mailbox, inquiry: Inquiry) -> Answered:
        if not isinstance(inquiry.result, Found):
            return Answered(inquiry)
        found = inquiry.result
        shown = Shown(inquiry.source, found.level, found.octets, found.detail)
        return Answered(inquiry, self._intake.take(mailbox, shown))

    def _answer(self, mailbox: Mailbox) -> PeerAnswer:
        rules = self._answers.rules(mailbox)
        now = self._clock()
        with self._database.reading() as connection:
            known = dossier.read(connection, mailbox, rules, now)
            resolution = weigh(known, rules, now)
            if resolution.change is None:
                return _answer(connection, mailbox, known, resolution, now)
        # Time has passed: a certificate has ended, or one has waited long enough.
        self._answers.settle(mailbox)
        with self._database.reading() as connection:
            known = dossier.read(connection, mailbox, rules, now)
            resolution = weigh(known, rules, now)
            return _answer(connection, mailbox, known, resolution, now)


async def _nothing() -> tuple[Material, ...]:
    return ()


def _answer(
    connection: Connection, mailbox: Mailbox, known: Dossier, resolution: Resolution, now: float
) -> PeerAnswer:
    outcome, reason = outcome_of(mailbox, known, inquiries.told(connection, mailbox), now)
    in_use = known.in_use
    is_found = outcome is PeerOutcome.FOUND and in_use is not None
    ends = [int(now) + LIFETIME_MAX]
    if is_found and in_use is not None:
        ends.append(usable_until(in_use.facts) or ends[0])
    return PeerAnswer(
        mailbox=mailbox.key,
        outcome=outcome,
        fingerprint=in_use.facts.fingerprint if in_use else None,
        subkeys=alive_subkeys(in_use.facts, now) if is_found and in_use else (),
        level=in_use.registered.level if in_use else None,
        source=in_use.registered.source if in_use else None,
        since=in_use.since if in_use else None,
        is_used=in_use.registered.is_used if in_use else False,
        reason=reason,
        conflicts=tuple(map(in_words, resolution.conflicts)),
        autocrypt=autocrypt_store.view(connection, mailbox, now),
        issued_at=int(now),
        expires_at=min(ends),
    )


def outcome_of(
    mailbox: Mailbox, known: Dossier, told: Sequence[Told], now: float
) -> tuple[PeerOutcome, str]:
    """Return what can be said about a peer, and why in one sentence."""
    if known.in_use is not None:
        return _about_registered(mailbox, known.in_use, now)
    latest = [each for each in told if each.at == told[0].at]
    late = [each.source for each in latest if each.result is InquiryResult.UNAVAILABLE]
    if late:
        return PeerOutcome.UNAVAILABLE, f"no answer from {', '.join(late)}"
    refused = [f"{each.source}: {each.refused}" for each in latest if each.refused]
    refused += [
        f"{each.source}: {each.detail}" for each in latest if each.result is InquiryResult.REJECTED
    ]
    if refused:
        return PeerOutcome.REJECTED, "; ".join(refused)
    if known.sightings:
        return PeerOutcome.NOT_FOUND, "what was seen is not attested well enough"
    return PeerOutcome.NOT_FOUND, "nobody who was asked knows of one"


def _about_registered(mailbox: Mailbox, in_use: InUse, now: float) -> tuple[PeerOutcome, str]:
    registered = in_use.registered
    try:
        require_usable(in_use.facts, mailbox, now)
    except RejectedCertificate as rejected:
        return PeerOutcome.REJECTED, f"{rejected.refusal.reason.value}: {rejected.refusal.detail}"
    level = registered.level.name.lower().replace("_", " ")
    return PeerOutcome.FOUND, f"shown by {registered.source.value}, level {level}"
