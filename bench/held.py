"""What large mail costs whose verdict is known at its end only, beside mail that streams.

With a signature the whole body is set aside before it is encrypted, in a file from 1 MB on.
"""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple

import accounting
import arriving
import clients
import load
from arriving import FROM_HERE, MAILBOX
from host import Cost, Host
from report import Findings, Target

from letterlock.dkim.signer import KeyType, Signer
from stack import Owner

# Body size, messages in a round.
_SIZES = {"1 MB": (1 << 20, 20), "25 MB": (25 << 20, 2)}
_MB = 1024
_HELD_MB_MAX = 8.0
_HELD_RATIO_MAX = 2.0


class _Round(NamedTuple):
    cost: Cost
    peak_mb: float


def measure(*, quick: bool) -> Findings:
    """Return CPU time and memory; one worker, so that every message passes the one looked at."""
    rounds = 3 if quick else 7
    signer = Signer.generate("rsa", KeyType.RSA)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ll-bench-")))
        dns = stack.enter_context(arriving.resolver(directory / "dns", signer))
        owner = stack.enter_context(Owner(MAILBOX))
        nameserver = {"nameserver": f"127.0.0.1:{dns.port}"}
        host = stack.enter_context(Host(workers=1, authentication=nameserver))
        host.stack.enrol(owner.address, owner.certificate)
        # The first message loads what the first message needs.
        small = arriving.unsigned(load.body(10_240))
        _round(host, [small, arriving.signed_once(signer, small)])
        at_rest = accounting.resident_kb(_worker(host)) / _MB
        rows: list[tuple[str | float, ...]] = []
        targets: list[Target] = []
        for size, (octets, count) in _SIZES.items():
            message = arriving.unsigned(load.attachment(octets))
            signed = arriving.signed_once(signer, message)
            streaming, held = _in_turns(host, [message] * count, [signed] * count, rounds)
            rows.append((size, "none: streams", *_figures(streaming, at_rest)))
            rows.append((size, "RSA: held", *_figures(held, at_rest)))
            targets += _targets(size, streaming, held, at_rest)
    return Findings(
        "held",
        f"Arriving, large, CPU ms per message (median of {rounds} rounds), MB of the worker",
        ("body", "signature", "total", "Postfix", "milter's", "peak", "more than at rest"),
        tuple(rows),
        tuple(targets),
    )


def _in_turns(
    host: Host, one: Sequence[bytes], other: Sequence[bytes], rounds: int
) -> tuple[list[_Round], list[_Round]]:
    pairs = [(_round(host, one), _round(host, other)) for _ in range(rounds + 1)]
    # The first is for warming up.
    return [pair[0] for pair in pairs[1:]], [pair[1] for pair in pairs[1:]]


def _round(host: Host, messages: Sequence[bytes]) -> _Round:
    worker, port = _worker(host), host.stack.layout.ports["smtp"]
    accounting.forget_peak(worker)
    cost = host.measured(lambda: clients.send(port, FROM_HERE, messages, 1), len(messages))
    return _Round(cost, accounting.peak_kb(worker) / _MB)


def _worker(host: Host) -> int:
    _supervisor, worker = accounting.pids(host.session("milter"))
    return worker


def _figures(rounds: Sequence[_Round], at_rest_mb: float) -> tuple[float, ...]:
    costs = [each.cost for each in rounds]
    peak = max(each.peak_mb for each in rounds)
    return (
        median(cost.cpu_ms for cost in costs),
        median(cost.postfix_ms / cost.messages for cost in costs),
        median(cost.milter_ms / cost.messages for cost in costs),
        peak,
        peak - at_rest_mb,
    )


def _targets(
    size: str, streaming: Sequence[_Round], held: Sequence[_Round], at_rest_mb: float
) -> list[Target]:
    ratio = median(
        mine.cost.milter_ms / other.cost.milter_ms
        for mine, other in zip(held, streaming, strict=True)
    )
    more = max(each.peak_mb for each in held) - at_rest_mb
    return [
        Target(f"{size}: held relative to streaming, CPU", ratio, at_most=_HELD_RATIO_MAX),
        Target(f"{size}: held, MB more than at rest", more, at_most=_HELD_MB_MAX),
    ]
