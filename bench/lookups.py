"""What it takes the milter's client to learn about a mailbox: from memory, Redis, the service.

Rounds take turns with a bare redis-py GET of the same records, and with a service that has
a thousand mailboxes. Wall time of one thread: what a recipient waits.
"""

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import TypeVar

import accounting
import discovery
import population
from report import Findings, Target

from keyservice.client import Answer, Mailbox, Outcome
from keyservice.record import record_name
from keyservice_process import SECRET, KeyServiceProcess, RedisProcess
from stack import Owner

_FEW, _MANY, _MANY_QUICK = 1_000, 1_000_000, 200_000
_WARM = 500
"""Mailboxes that are asked for again and again."""

_WARM_LOOKUPS, _COLD_LOOKUPS = 5_000, 300

_WARM_PER_SECOND_MIN, _WARM_SHARE_MIN = 5_000, 0.5
_GROWTH_MAX = 1.2

_Asked = TypeVar("_Asked")

Times = list[float]
"""Milliseconds, one for each lookup of a round."""


def measure(*, quick: bool) -> Findings:
    """Return what lookups take, warm and cold, with few and with many mailboxes."""
    rounds, number = (3, _MANY_QUICK) if quick else (7, _MANY)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ll-bench-")))
        redis = stack.enter_context(RedisProcess(directory / "redis"))
        few, many = (
            stack.enter_context(_service(directory / str(size), redis.url, size))
            for size in (_FEW, number)
        )
        at_rest = [_resident_mb(service) for service in (few, many)]
        bare, by_redis, by_memory = _warm(redis, few, rounds)
        cold_few, cold_many = _cold((few, _FEW), (many, number), rounds)
        in_use = [_resident_mb(service) for service in (few, many)]
        database = [_database_ms(service) for service in (few, many)]
        methods = discovery.by_method(directory)
    growth = median(
        median(after) / median(before) for before, after in zip(cold_few, cold_many, strict=True)
    )
    return Findings(
        "lookups",
        f"Lookups, one thread, ms (median of {rounds} rounds)",
        ("asked", "enrolled", "median", "p99", "a second"),
        (
            _row("bare redis-py GET", "", bare),
            _row("warm: the client, from Redis", "", by_redis),
            _row("warm: the client, held in memory", "", by_memory),
            _row("cold: the service and its database", f"{_FEW:,}", cold_few),
            _row("cold: the service and its database", f"{number:,}", cold_many),
            *(_row(f"discovery: {name}", "", [times]) for name, times in methods.items()),
        ),
        (
            Target("warm, from Redis: of 5,000/s or 0.5 x GET", _worth(by_redis, bare), at_least=1),
            Target("warm, from memory: of the same", _worth(by_memory, bare), at_least=1),
            Target(f"cold: {number:,} relative to {_FEW:,}", growth, at_most=_GROWTH_MAX),
        ),
        tuple(
            f"key service with {size:,}: {rest:.0f} MB at rest, {used:.0f} MB after that;"
            f" of a cold lookup, {ms:.2g} ms are the database's (mean)"
            for size, rest, used, ms in zip((_FEW, number), at_rest, in_use, database, strict=True)
        ),
    )


@contextmanager
def _service(directory: Path, redis_url: str, mailboxes: int) -> Iterator[KeyServiceProcess]:
    """Yield a running service with so many mailboxes."""
    domains: dict[str, dict[str, object]] = {"example.test": {}}
    with (
        Owner("mailbox@example.test") as owner,
        KeyServiceProcess(directory, domains, redis_url) as k,
    ):
        like = Mailbox.parse(owner.address)
        k.operator.enrol(like, owner.certificate)
        population.enrol(k.database, like, [f"m{n}@example.test" for n in range(mailboxes)])
        yield k


def _warm(
    redis: RedisProcess, service: KeyServiceProcess, rounds: int
) -> tuple[list[Times], list[Times], list[Times]]:
    """Return a bare GET, the client without memory, and the one that a milter has."""
    mailboxes = [_mailbox(number) for number in range(_WARM)]
    names = [record_name(SECRET, mailbox) for mailbox in mailboxes]
    plain, holding = service.client(), service.client(hold=True)
    with redis.client() as bare:
        found: list[tuple[Times, Times, Times]] = []
        for _ in range(rounds + 1):  # the first is for warming up
            for client in (plain, holding, holding):
                _times(client.lookup, mailboxes)
            found.append(
                (
                    _times(bare.get, _many(names)),
                    _times(plain.lookup, _many(mailboxes)),
                    _times(holding.lookup, _many(mailboxes)),
                )
            )
    return tuple(list(each) for each in zip(*found[1:], strict=True))  # type: ignore[return-value]


def _cold(
    few: tuple[KeyServiceProcess, int], many: tuple[KeyServiceProcess, int], rounds: int
) -> tuple[list[Times], list[Times]]:
    """Return lookups of mailboxes anywhere in the database, which Redis is not asked for."""
    clients = [(service.client(redis_url="", secret=b""), size) for service, size in (few, many)]
    found: list[list[Times]] = [[], []]
    for number in range(rounds + 1):
        for at, (client, size) in enumerate(clients):
            asked = [_mailbox(random.randrange(size)) for _ in range(_COLD_LOOKUPS)]
            times = _times(client.lookup, asked)
            if number:
                found[at].append(times)
    return found[0], found[1]


def _times(ask: Callable[[_Asked], object], asked: Sequence[_Asked]) -> Times:
    times = []
    for each in asked:
        began = time.perf_counter()
        answer = ask(each)
        times.append((time.perf_counter() - began) * 1000)
        # Something else than what was enrolled would be found faster.
        if not answer or (isinstance(answer, Answer) and answer.outcome is not Outcome.FOUND):
            raise LookupError(f"not found: {answer}")
    return times


def _many(items: Sequence[_Asked]) -> list[_Asked]:
    return random.choices(items, k=_WARM_LOOKUPS)


def _mailbox(number: int) -> Mailbox:
    return Mailbox.parse(f"m{number}@example.test")


def _rate(rounds: list[Times]) -> float:
    return median(1000 * len(times) / sum(times) for times in rounds)


def _worth(rounds: list[Times], bare: list[Times]) -> float:
    """Return the better of both promises, each as a multiple of what it promises."""
    shares = median(sum(get) / sum(times) for times, get in zip(rounds, bare, strict=True))
    return max(_rate(rounds) / _WARM_PER_SECOND_MIN, shares / _WARM_SHARE_MIN)


def _row(asked: str, enrolled: str, rounds: list[Times]) -> tuple[str | float, ...]:
    middle = median(median(times) for times in rounds)
    worst = median(quantiles(times, n=100)[-1] for times in rounds)
    return asked, enrolled, middle, worst, _rate(rounds)


def _resident_mb(service: KeyServiceProcess) -> float:
    if service.process is None:
        raise LookupError("the service is not running")
    return accounting.resident_kb(service.process.pid) / 1024


def _database_ms(service: KeyServiceProcess) -> float:
    total, number = (service.metric(f"keyservice_lookup_seconds_{of}") for of in ("sum", "count"))
    return 1000 * total / number
