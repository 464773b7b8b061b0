"""What happened to one message, from Postfix's log and the milter's. Pure.

A message leads to others: copies for further mailboxes that re-entered, notices of Postfix'
about it, what local(8) forwarded. Their queue IDs are in the lines of the one they come from,
sometimes later than lines of their own, so the logs are read again until nothing new is found.

Only queue IDs, addresses, replies and what the milter did are kept; neither log has content.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any

import msgspec

Lines = Callable[[], Iterable[str]]
"""A log from its beginning."""

_PASSES_MAX = 10
_MESSAGES_MAX = 1000
"""Of one trace: a mail to a list of thousands is cut there."""

_LINE = re.compile(
    r"(?P<at>[A-Z][a-z]{2} [ \d]\d [\d:]{8}|\S+) \S+ postfix[^/\[ ]*/(?P<by>[^\[ ]+)\[\d+\]:"
    r" (?P<queue_id>[0-9A-Za-z]{6,20}): (?P<text>.*)"
)
_DELIVERY = re.compile(
    r"to=<(?P<to>[^>]*)>.*?relay=(?P<relay>[^,]*).*?dsn=(?P<dsn>[\d.]+), status="
)
_LEADS_TO = re.compile(
    r"(?:notification:|forwarded as|queued as) (?P<queue_id>[0-9A-Za-z]{6,20})\b"
)


class Stage(Enum):
    """Part of a message's way, in their order."""

    RECEIVED = "received"
    LETTERLOCK = "letterlock"
    REFUSED = "refused"
    COPY = "copy"
    QUEUED = "queued"
    DELIVERY = "delivery"
    NOTICE = "notice"
    REMOVED = "removed"


class Relation(Enum):
    """What a message is to the one that it comes from."""

    ITSELF = "message"
    COPY = "copy"
    """For further mailboxes of the same message."""

    FOLLOWS = "what became of it"
    """A notice about it, or itself in another queue file."""


class Event(msgspec.Struct, frozen=True):
    """One line of a log."""

    at: str
    """As the log has it."""

    stage: Stage
    what: str


class Traced(msgspec.Struct):
    """One message."""

    queue_id: str
    relation: Relation
    of: str | None
    """The queue ID of the message it comes from."""

    events: list[Event]


def trace(queue_id: str, postfix: Lines, milter: Lines) -> list[Traced]:
    """Return the message and all that came of it; nothing if neither log knows it."""
    found = {queue_id: Traced(queue_id, Relation.ITSELF, None, [])}
    for _ in range(_PASSES_MAX):
        known = len(found)
        for message in found.values():
            message.events.clear()
        _read_milter(milter(), found)
        _read_postfix(postfix(), found)
        if len(found) == known:
            break
    order = list(Stage)
    for message in found.values():
        message.events.sort(key=lambda event: order.index(event.stage))
    return [message for message in found.values() if message.events]


def _read_postfix(lines: Iterable[str], found: dict[str, Traced]) -> None:
    for line in lines:
        match = _LINE.match(line)
        message = found.get(match["queue_id"]) if match else None
        if match is None or message is None:
            continue
        if event := _event(match["at"], match["by"], match["text"]):
            message.events.append(event)
        if leads_to := _LEADS_TO.search(match["text"]):
            _add(found, leads_to["queue_id"], Relation.FOLLOWS, message.queue_id)


def _event(at: str, by: str, text: str) -> Event | None:
    daemon = by.rpartition("/")[2]
    if delivery := _DELIVERY.match(text):
        result = text[delivery.end() :]
        relay = "" if delivery["relay"] == "none" else f" by {delivery['relay']}"
        return Event(
            at, Stage.DELIVERY, f"{daemon}: {delivery['to']}{relay}: {delivery['dsn']} {result}"
        )
    if "notification: " in text:
        return Event(at, Stage.NOTICE, text)
    for stage, beginnings in _BEGINNINGS.items():
        if text.startswith(beginnings):
            return Event(at, stage, f"{daemon}: {_without_envelope(text)}")
    # What else there is, message-id= above all, tells nothing of its way.
    return None


_BEGINNINGS = {
    Stage.RECEIVED: ("client=", "uid="),
    Stage.REFUSED: ("milter-reject:", "milter-hold:", "milter-discard:", "reject:", "hold:"),
    Stage.QUEUED: ("from=<",),
    Stage.REMOVED: ("removed",),
}


def _without_envelope(text: str) -> str:
    """Drop what the reply is followed by: sender, recipient, HELO."""
    return text.partition("; from=<")[0]


def _read_milter(lines: Iterable[str], found: dict[str, Traced]) -> None:
    for record in _records(lines):
        message = found.get(str(record.get("queue_id")))
        if message is None:
            continue
        message.events += _milter_events(record)
        if record.get("event") == "reentered" and record.get("copy"):
            _add(found, str(record["copy"]), Relation.COPY, message.queue_id)


def _records(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        brace = line.find("{")
        try:
            record = json.loads(line[brace:]) if brace >= 0 else None
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record


def _milter_events(record: dict[str, Any]) -> Iterator[Event]:
    at = str(record.get("time", ""))
    match record.get("event"):
        case "accepted":
            for copy in record.get("copies", []):
                yield Event(at, Stage.LETTERLOCK, _treatment(copy))
        case "reentered":
            yield Event(at, Stage.COPY, f"re-entered as {record.get('copy') or 'unknown'}")
        case "failed":
            detail = f": {record['detail']}" if record.get("detail") else ""
            yield Event(at, Stage.LETTERLOCK, f"not taken: {record.get('reason')}{detail}")
        case event:
            yield Event(at, Stage.LETTERLOCK, str(event))


def _treatment(copy: dict[str, Any]) -> str:
    fingerprint = copy.get("fingerprint")
    return f"{copy.get('reason')}" + (f", to {fingerprint}" if fingerprint else "")


def _add(found: dict[str, Traced], queue_id: str, relation: Relation, of: str) -> None:
    if queue_id not in found and len(found) < _MESSAGES_MAX:
        found[queue_id] = Traced(queue_id, relation, of, [])
