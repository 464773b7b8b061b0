"""Several ways for mail to pass the same Postfix, taking turns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

import clients
from clients import Envelope
from host import Cost, Host

from smtp_sink import SMTPSink

SESSIONS = 10
"""More than two cores can serve: they never wait."""

COLUMNS = ("total", "Postfix", "milter's", "lookups", "x none")
NOTE = "total: Postfix and milter; lookups, by Redis and key service, come on top"


@dataclass(frozen=True, slots=True)
class Way:
    """A door, and what goes through it."""

    milter: str
    what: str
    port: int
    envelope: Envelope

    messages: Callable[[int], Sequence[bytes]]
    """Of a round, with CRLF line ends."""

    seen: str
    """A recipient whose mail does not end in discard(8), but where it is looked at."""

    is_right: Callable[[bytes], bool]
    """Whether such a mail has become what it should."""


def require_right(way: Way, sink: SMTPSink) -> None:
    """Raise LookupError unless mail comes out as it should: else something else is measured."""
    sink.messages.clear()
    envelope = replace(way.envelope, recipients=(way.seen,))
    clients.send(way.port, envelope, way.messages(0)[:1], 1)
    (taken,) = sink.wait_for(1)
    if not way.is_right(taken.octets):
        raise LookupError(f"not what was to be measured: {way.milter}, {way.what}")


def in_turns(host: Host, ways: Sequence[Way], rounds: int) -> list[list[Cost]]:
    """Return the costs of each, round by round; one before them is not counted."""
    costs: list[list[Cost]] = [[] for _ in ways]
    for number in range(rounds + 1):
        for way, found in zip(ways, costs, strict=True):
            cost = _sent(host, way, way.messages(number))
            if number:
                found.append(cost)
    return costs


def figures(costs: Sequence[Cost], none: Sequence[Cost]) -> tuple[float, ...]:
    """Return those of `COLUMNS`; `none`: without a milter."""
    return (
        median(cost.cpu_ms for cost in costs),
        median(cost.postfix_ms / cost.messages for cost in costs),
        median(cost.milter_ms / cost.messages for cost in costs),
        median(cost.lookup_ms / cost.messages for cost in costs),
        ratio(costs, none),
    )


def ratio(costs: Sequence[Cost], others: Sequence[Cost]) -> float:
    """Return the median over the rounds: each is compared with itself, as noise comes and goes."""
    return median(one.cpu_ms / other.cpu_ms for one, other in zip(costs, others, strict=True))


def _sent(host: Host, way: Way, messages: Sequence[bytes]) -> Cost:
    return host.measured(
        lambda: clients.send(way.port, way.envelope, messages, SESSIONS), len(messages)
    )
