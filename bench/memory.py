"""How much memory the two daemons take: at rest, and at most while a message passes."""

import accounting
from enrolment import FEW, MANY, TEN, numbered, to_another_each
from mailhost import Door, MailHost
from report import Findings, Target

from stack import Owner

_SIZES = {"10 KB": 10_240, "1 MB": 1 << 20, "25 MB": 25 << 20}
_REPEATS = 3
_MB = 1024
_LARGEST_MB_MAX = 8.0


def measure(*, quick: bool) -> Findings:
    """Return resident memory; one worker, so that every message passes the one looked at."""
    rows: list[tuple[str | float, ...]] = []
    with MailHost(workers=1) as host, Owner("mailbox@example.test") as owner:
        host.stack.enrol(owner.address, owner.certificate)
        host.enrol_like(owner.address, TEN)
        supervisor, worker = accounting.pids(host.session("milter"))
        # The first message loads what the first message needs.
        _send(host, owner.address, 10_240)
        idle = accounting.resident_kb(worker) / _MB
        rows.append(("milter, supervisor", accounting.resident_kb(supervisor) / _MB, 0.0))
        rows.append(("milter, a worker at rest", idle, 0.0))
        for size, octets in _SIZES.items():
            peak = _peak_mb(host, worker, owner.address, octets)
            rows.append((f"milter, a worker, {size} message, peak", peak, peak - idle))
        keyservice = accounting.pids(host.session("keyservice"))[0]
        few = accounting.resident_kb(keyservice) / _MB
        rows.append((f"key service, {FEW} mailboxes", few, 0.0))
        host.enrol_like(owner.address, list(numbered(100, MANY // 100)))
        for group in range(2 if quick else 10):
            to_another_each(host, group)
        many = accounting.resident_kb(keyservice) / _MB
        rows.append((f"key service, {MANY:,} mailboxes, in use", many, many - few))
    return Findings(
        "memory",
        "Resident memory, MB",
        ("process", "resident", "more than at rest"),
        tuple(rows),
        (Target("25 MB message: MB more than at rest", peak - idle, at_most=_LARGEST_MB_MAX),),
    )


def _peak_mb(host: MailHost, worker: int, address: str, octets: int) -> float:
    accounting.forget_peak(worker)
    for _ in range(_REPEATS):
        _send(host, address, octets)
    return accounting.peak_kb(worker) / _MB


def _send(host: MailHost, address: str, octets: int) -> None:
    host.round(Door.LETTERLOCK, host.message(octets), [address], 1, 1)
