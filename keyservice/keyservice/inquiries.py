"""Who was asked about mailboxes of others and what they said, and when to ask again.

Each public function runs in the transaction of the connection it is given.
"""

import random
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select, update

from keyservice import ledger, schema
from keyservice.discoverer import Inquiry
from keyservice.intake import Taken
from keyservice.mailbox import Mailbox
from keyservice.methods import InquiryResult, in_a_word

FOUND_LASTS = 86_400
NOT_FOUND_LASTS, NOT_FOUND_LASTS_MAX = 3_600, 86_400
UNAVAILABLE_LASTS, UNAVAILABLE_LASTS_MAX = 60, 1_800
"""Seconds until others are asked again; twice as many each time that nothing has changed."""

KEPT = 30 * 86_400
"""Seconds for which the answers are kept; what was found is evidence, which stays."""

SHOWN_MAX = 40


class Answered(NamedTuple):
    """What a method said, and what vetting made of it."""

    inquiry: Inquiry
    taken: Taken = Taken()


class Told(NamedTuple):
    """The same as it is stored."""

    source: str
    result: InquiryResult
    detail: str
    refused: str | None
    at: int


def note(connection: Connection, mailbox: Mailbox, asked: Sequence[Answered], now: int) -> None:
    """Write down what each method said about `mailbox`, and why vetting refused what it found."""
    mailbox_id = ledger.mailbox_id_of(connection, mailbox)
    i, m = schema.inquiry, schema.mailbox
    lasts = _lasts(asked, told(connection, mailbox))
    connection.execute(delete(i).where(i.c.mailbox_id == mailbox_id, i.c.at < now - KEPT))
    for inquiry, taken in asked:
        connection.execute(
            insert(i).values(
                mailbox_id=mailbox_id,
                source=inquiry.source.value,
                result=in_a_word(inquiry.result).value,
                at=now,
                detail=inquiry.result.detail,
                refused="; ".join(taken.refused) or None,
            )
        )
    # Spread: what was asked together should not be asked again together.
    again = now + int(lasts * random.uniform(0.9, 1.0))  # noqa: S311 (for no secret)
    connection.execute(update(m).where(m.c.id == mailbox_id).values(ask_again_at=again))


def ask_again_at(connection: Connection, mailbox: Mailbox) -> int:
    """Return from when on others are to be asked about `mailbox`; 0: never asked."""
    m = schema.mailbox
    found: int | None = connection.scalar(
        select(m.c.ask_again_at).where(m.c.address == mailbox.key)
    )
    return found or 0


def told(connection: Connection, mailbox: Mailbox) -> tuple[Told, ...]:
    """Return the latest answers about `mailbox`, the latest first."""
    i, m = schema.inquiry, schema.mailbox
    rows = connection.execute(
        select(i.c.source, i.c.result, i.c.detail, i.c.refused, i.c.at)
        .join(m, m.c.id == i.c.mailbox_id)
        .where(m.c.address == mailbox.key)
        .order_by(i.c.id.desc())
        .limit(SHOWN_MAX)
    )
    return tuple(
        Told(row.source, InquiryResult(row.result), row.detail, row.refused, row.at) for row in rows
    )


def _lasts(asked: Sequence[Answered], before: Sequence[Told]) -> int:
    if any(taken.fingerprints for _, taken in asked):
        return FOUND_LASTS
    results = {in_a_word(inquiry.result) for inquiry, _ in asked}
    if any(taken.is_to_be_tried_again for _, taken in asked):
        return UNAVAILABLE_LASTS
    rounds = [{one.result for one in before if one.at == at} for at in _times(before)]
    if InquiryResult.UNAVAILABLE in results:
        times = _in_a_row(InquiryResult.UNAVAILABLE in each for each in rounds)
        return min(UNAVAILABLE_LASTS << times, UNAVAILABLE_LASTS_MAX)
    times = _in_a_row(each == results for each in rounds)
    return min(NOT_FOUND_LASTS << times, NOT_FOUND_LASTS_MAX)


def _times(before: Sequence[Told]) -> list[int]:
    return sorted({one.at for one in before}, reverse=True)


def _in_a_row(same: Iterable[bool]) -> int:
    return len(list(takewhile(bool, same)))
