"""Whether a message costs more when many mailboxes are enrolled.

Two questions. To ten mailboxes all the time: they are in every cache. Each message to
another mailbox: no cache knows it, so Postfix's tables, Redis, the key service and the
database are asked; there the smaller host has only those that the rounds name.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from statistics import median

from mailhost import Cost, Door, MailHost
from report import Findings, Target

from stack import Owner

FEW, MANY = 10, 100_000
TEN = [f"mailbox{number}@example.test" for number in range(FEW)]

_GROUPS = 100
_SAME_MESSAGES, _SPREAD_MESSAGES = 600, 200
_SESSIONS = 10

_NOISE = 1.10
"""Medians of the same thing, measured twice, differ by this much on a shared machine."""


def measure(*, quick: bool) -> Findings:
    """Return what a message costs with few and with many enrolled mailboxes."""
    rounds = 2 if quick else 7
    with ExitStack() as stack:
        few, many = (stack.enter_context(MailHost()) for _ in range(2))
        owner = stack.enter_context(Owner("mailbox@example.test"))
        for host in (few, many):
            host.stack.enrol(owner.address, owner.certificate)
            host.enrol_like(owner.address, TEN)
        many.enrol_like(owner.address, list(numbered(_GROUPS, MANY // _GROUPS)))
        same = _in_turns(few, many, rounds, _to_the_same)
        few.enrol_like(owner.address, list(numbered(rounds + 1, _SPREAD_MESSAGES)))
        each = _in_turns(few, many, rounds, to_another_each)
    return Findings(
        "enrolled",
        f"Enrolled mailboxes, 10 KB, CPU ms per message (median of {rounds} rounds)",
        ("recipients", "enrolled", "total", "Postfix", "milter's", "lookups"),
        (
            _row("the same ten", FEW, same[0]),
            _row("the same ten", MANY, same[1]),
            _row("another each time", (rounds + 1) * _SPREAD_MESSAGES, each[0]),
            _row("another each time", MANY, each[1]),
        ),
        (
            Target("the same ten: 100,000 relative to 10", _ratio(*same), at_most=_NOISE),
            Target("another each time: 100,000 relative to few", _ratio(*each), at_most=_NOISE),
        ),
        ("total: Postfix, milter, Redis and key service",),
    )


def numbered(groups: int, mailboxes: int) -> Iterator[str]:
    """Yield the addresses that smtp-source -N makes of `group0@example.test` and so on."""
    for group in range(groups):
        for number in range(1, mailboxes + 1):
            yield f"{number}group{group}@example.test"


def to_another_each(host: MailHost, number: int) -> Cost:
    """Send each message to a mailbox that nobody asked for before this round."""
    recipient = [f"group{number}@example.test"]
    file = host.message(10_240)
    return host.round(Door.LETTERLOCK, file, recipient, _SPREAD_MESSAGES, _SESSIONS, numbered=True)


def _to_the_same(host: MailHost, _number: int) -> Cost:
    return host.round(Door.LETTERLOCK, host.message(10_240), TEN, _SAME_MESSAGES, _SESSIONS)


def _in_turns(
    few: MailHost, many: MailHost, rounds: int, send: Callable[[MailHost, int], Cost]
) -> tuple[list[Cost], list[Cost]]:
    pairs = [(send(few, number), send(many, number)) for number in range(rounds + 1)]
    # The first is for warming up.
    return [pair[0] for pair in pairs[1:]], [pair[1] for pair in pairs[1:]]


def _row(recipients: str, enrolled: int, costs: list[Cost]) -> tuple[str | float, ...]:
    return (
        recipients,
        f"{enrolled:,}",
        _total(costs),
        median(cost.postfix_ms / cost.messages for cost in costs),
        median(cost.milter_ms / cost.messages for cost in costs),
        median(cost.lookup_ms / cost.messages for cost in costs),
    )


def _ratio(few: list[Cost], many: list[Cost]) -> float:
    return _total(many) / _total(few)


def _total(costs: list[Cost]) -> float:
    return median(cost.cpu_ms + cost.lookup_ms / cost.messages for cost in costs)
