"""Who was asked about mailboxes of others and what they said, and when to ask again.

Each public function runs in the transaction of the connection it is given.
"""

import random
from collections.abc import Sequence

from sqlalchemy import Connection, delete, insert, select, update

from keyservice import ledger, schema
from keyservice.discoverer import Inquiry
from keyservice.mailbox import Mailbox
from keyservice.methods import InquiryResult, in_a_word

FOUND_LASTS = 86_400
NOT_FOUND_LASTS = 3_600
UNAVAILABLE_LASTS = 300
"""Seconds until others are asked again."""

KEPT = 30 * 86_400
"""Seconds for which the answers are kept; what was found is evidence, which stays."""

SHOWN_MAX = 20


def note(
    connection: Connection,
    mailbox: Mailbox,
    asked: Sequence[tuple[Inquiry, Sequence[str]]],
    now: int,
) -> None:
    """Write down what each method said about `mailbox`, and why vetting refused what it found."""
    mailbox_id = ledger.mailbox_id_of(connection, mailbox)
    i, m = schema.inquiry, schema.mailbox
    connection.execute(delete(i).where(i.c.mailbox_id == mailbox_id, i.c.at < now - KEPT))
    for inquiry, refused in asked:
        connection.execute(
            insert(i).values(
                mailbox_id=mailbox_id,
                source=inquiry.source.value,
                result=in_a_word(inquiry.result).value,
                at=now,
                detail=inquiry.result.detail,
                refused="; ".join(refused) or None,
            )
        )
    lasts = _lasts([inquiry for inquiry, _ in asked])
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


def latest(connection: Connection, mailbox: Mailbox) -> list[tuple[str, InquiryResult]]:
    """Return source and result of the latest round of inquiries."""
    i, m = schema.inquiry, schema.mailbox
    rows = connection.execute(
        select(i.c.source, i.c.result, i.c.at)
        .join(m, m.c.id == i.c.mailbox_id)
        .where(m.c.address == mailbox.key)
        .order_by(i.c.id.desc())
        .limit(SHOWN_MAX)
    ).all()
    return [(row.source, InquiryResult(row.result)) for row in rows if row.at == rows[0].at]


def _lasts(asked: Sequence[Inquiry]) -> int:
    results = {in_a_word(inquiry.result) for inquiry in asked}
    if InquiryResult.FOUND in results:
        return FOUND_LASTS
    return UNAVAILABLE_LASTS if InquiryResult.UNAVAILABLE in results else NOT_FOUND_LASTS
