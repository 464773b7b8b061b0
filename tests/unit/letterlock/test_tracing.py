"""One message, found in Postfix's log and the milter's."""

import json

from letterlock.tracing import Lines, Relation, Stage, Traced, trace

POSTFIX = """\
Nov 20 12:00:01 mx postfix/submission/smtpd[9]: 4MAIN1: client=unknown[192.0.2.1]
Nov 20 12:00:01 mx postfix/cleanup[10]: 4MAIN1: message-id=<secret@outside.test>
Nov 20 12:00:01 mx postfix/smtpd[11]: 4COPY1: client=localhost[127.0.0.1]
Nov 20 12:00:01 mx postfix/qmgr[12]: 4COPY1: from=<s@outside.test>, size=900, nrcpt=1 (queue active)
Nov 20 12:00:02 mx postfix/lmtp[13]: 4COPY1: to=<bob@example.test>, orig_to=<team@example.test>, \
relay=mx[private/lmtp], delay=0.1, delays=0/0/0/0, dsn=2.0.0, status=sent (250 2.0.0 Saved)
Nov 20 12:00:02 mx postfix/qmgr[12]: 4COPY1: removed
Nov 20 12:00:03 mx postfix/smtp[14]: 4MAIN1: to=<x@far.test>, relay=none, delay=1, delays=0/0/0/0, \
dsn=5.4.4, status=bounced (Host not found)
Nov 20 12:00:03 mx postfix/bounce[15]: 4MAIN1: sender non-delivery notification: 4NOTE1
Nov 20 12:00:03 mx postfix/qmgr[12]: 4NOTE1: from=<>, size=3000, nrcpt=1 (queue active)
Nov 20 12:00:03 mx postfix/smtpd[9]: 4OTHER: client=unknown[192.0.2.9]
2026-11-20T12:00:04+00:00 mx postfix-in/qmgr[12]: 4MAIN1: removed
something else altogether
"""
MILTER = [
    {"event": "reentered", "queue_id": "4MAIN1", "copy": "4COPY1", "time": "T1"},
    {
        "event": "accepted",
        "queue_id": "4MAIN1",
        "time": "T2",
        "copies": [{"reason": "wrapped", "fingerprint": "ab" * 20}],
    },
    {"event": "accepted", "queue_id": "4OTHER", "copies": []},
]


def lines(text: str) -> Lines:
    """A log."""
    return text.splitlines


def milter(records: list[dict[str, object]]) -> Lines:
    """The milter's log: from the journal, with what else there is."""
    written = [f"<6>{json.dumps(record)}" for record in records]
    return lambda: ["not ours", "{broken", "[1]", *written]


def traced(queue_id: str = "4MAIN1", text: str = POSTFIX) -> dict[str, Traced]:
    """By queue ID."""
    return {m.queue_id: m for m in trace(queue_id, lines(text), milter(MILTER))}


def test_a_message_its_copy_and_the_notice_about_it() -> None:
    """Lines of a copy come before the one that tells of it, and are found all the same."""
    found = traced()

    assert ["4MAIN1", "4COPY1", "4NOTE1"] == list(found)
    assert (Relation.COPY, "4MAIN1") == (found["4COPY1"].relation, found["4COPY1"].of)
    assert (Relation.FOLLOWS, "4MAIN1") == (found["4NOTE1"].relation, found["4NOTE1"].of)


def test_the_events_are_in_the_order_of_a_message_s_way() -> None:
    """Whatever the clocks of the two logs say."""
    stages = [event.stage for event in traced()["4MAIN1"].events]

    assert [
        Stage.RECEIVED,
        Stage.LETTERLOCK,
        Stage.COPY,
        Stage.DELIVERY,
        Stage.NOTICE,
        Stage.REMOVED,
    ] == stages


def test_a_delivery_names_recipient_relay_and_reply() -> None:
    """That is what the operator looks for."""
    (delivery,) = (e for e in traced()["4COPY1"].events if e.stage is Stage.DELIVERY)

    assert "lmtp: bob@example.test by mx[private/lmtp]: 2.0.0 sent (250 2.0.0 Saved)" == (
        delivery.what
    )


def test_no_message_id() -> None:
    """It is the sender's, and no matter of delivery."""
    assert "secret" not in str(traced())


def test_a_refusal_says_why_and_not_whose_mail() -> None:
    """The milter's reason, and Postfix' reply."""
    refused = [
        {"event": "failed", "queue_id": "4BAD22", "reason": "spill_failed", "detail": "full"}
    ]
    text = (
        "Nov 20 12:00:01 mx postfix/cleanup[10]: 4BAD22: milter-reject: END-OF-MESSAGE from"
        " c[192.0.2.1]: 4.3.0 Try again later; from=<a@b.test> to=<c@d.test> proto=ESMTP\n"
    )
    (message,) = trace("4BAD22", lines(text), milter(refused))

    assert [
        "not taken: spill_failed: full",
        "cleanup: milter-reject: END-OF-MESSAGE from c[192.0.2.1]: 4.3.0 Try again later",
    ] == [event.what for event in message.events]


def test_a_message_that_no_log_knows() -> None:
    """Nothing is made up."""
    assert [] == trace("4NEVER", lines(POSTFIX), milter(MILTER))


def test_a_loop_of_messages_ends() -> None:
    """Two that name each other, as no Postfix does."""
    text = (
        "Nov 20 12:00:01 mx postfix/local[1]: 4AAAA1: to=<a@b>, relay=local, dsn=2.0.0,"
        " status=sent (forwarded as 4BBBB1)\n"
        "Nov 20 12:00:01 mx postfix/local[1]: 4BBBB1: to=<a@b>, relay=local, dsn=2.0.0,"
        " status=sent (forwarded as 4AAAA1)\n"
    )

    assert ["4AAAA1", "4BBBB1"] == list(traced("4AAAA1", text))
