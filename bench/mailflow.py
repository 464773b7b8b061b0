"""Postfix with the milter, beside the same Postfix without one and with the yardstick.

All doors take turns within a round, and each figure is the median over the rounds: a busy
neighbour slows all of them.
"""

from statistics import median

from mailhost import Cost, Door, MailHost
from report import Findings, Target

from stack import Owner

_MAILBOX = "mailbox@example.test"

# Body size, messages in a round.
_SATURATED = {"10 KB": (10_240, 600), "100 KB": (102_400, 300), "1 MB": (1 << 20, 60)}
_SESSIONS = 10
"""More than two cores can serve: they never wait."""

_CPU_RATIO_MAX = 1.25

_WAITING_SESSIONS = 4
_THROUGHPUT_RATIO_MIN = 0.90


def measure_saturated(*, quick: bool) -> Findings:
    """Return the CPU time for each message where nothing but the CPU limits."""
    rounds = 3 if quick else 7
    sizes = {k: v for k, v in _SATURATED.items() if not quick or k == "10 KB"}
    rows: list[tuple[str | float, ...]] = []
    targets = []
    with MailHost() as host, Owner(_MAILBOX) as owner:
        host.stack.enrol(owner.address, owner.certificate)
        for size, (octets, messages) in sizes.items():
            costs = in_turns(host, octets, messages, _SESSIONS, rounds)
            plain = _median_ms(costs[Door.NO_MILTER])
            yardstick = _median_ms(costs[Door.YARDSTICK])
            for door in Door:
                total = _median_ms(costs[door])
                parts = _median_parts(costs[door])
                rows.append((size, door.value, total, *parts, total / plain, total / yardstick))
            if size == "10 KB":
                ratio = _median_ms(costs[Door.LETTERLOCK]) / yardstick
                promise = "10 KB, CPU-bound: CPU relative to the C yardstick"
                targets.append(Target(promise, ratio, at_most=_CPU_RATIO_MAX))
    return Findings(
        "saturated",
        f"CPU-bound, CPU ms per message (median of {rounds} rounds, {_SESSIONS} sessions)",
        ("body", "milter", "total", "Postfix", "milter's", "lookups", "x none", "x C"),
        tuple(rows),
        tuple(targets),
        ("total: Postfix and milter; lookups, by Redis and key service, come on top",),
    )


def measure_waiting(*, quick: bool) -> Findings:
    """Return the throughput where Postfix waits 10 ms for each message's fsync(2)."""
    rounds, messages = (3, 300) if quick else (7, 600)
    rows: list[tuple[str | float, ...]] = []
    with MailHost(slow_fsync=True) as host, Owner(_MAILBOX) as owner:
        host.stack.enrol(owner.address, owner.certificate)
        costs = in_turns(host, 10_240, messages, _WAITING_SESSIONS, rounds)
    # Rounds are compared with themselves: how much CPU was left to wait with differs.
    shares = {
        door: median(
            cost.per_second / plain.per_second
            for cost, plain in zip(costs[door], costs[Door.NO_MILTER], strict=True)
        )
        for door in Door
    }
    for door in Door:
        rows.append((door.value, median(c.per_second for c in costs[door]), shares[door]))
    promise = "10 KB, I/O-bound: throughput relative to no milter"
    return Findings(
        "waiting",
        f"I/O-bound (fsync takes 10 ms), 10 KB (median of {rounds}, {_WAITING_SESSIONS} sessions)",
        ("milter", "messages/s", "x none"),
        tuple(rows),
        (Target(promise, shares[Door.LETTERLOCK], at_least=_THROUGHPUT_RATIO_MIN),),
    )


def in_turns(
    host: MailHost, octets: int, messages: int, sessions: int, rounds: int
) -> dict[Door, list[Cost]]:
    """Return the costs of each door, round by round; one before them is not counted."""
    file = host.message(octets)
    costs: dict[Door, list[Cost]] = {door: [] for door in Door}
    for number in range(rounds + 1):
        for door in Door:
            cost = host.round(door, file, [_MAILBOX], messages, sessions)
            if number:
                costs[door].append(cost)
    return costs


def _median_ms(costs: list[Cost]) -> float:
    return median(cost.cpu_ms for cost in costs)


def _median_parts(costs: list[Cost]) -> tuple[float, float, float]:
    return (
        median(cost.postfix_ms / cost.messages for cost in costs),
        median(cost.milter_ms / cost.messages for cost in costs),
        median(cost.lookup_ms / cost.messages for cost in costs),
    )
