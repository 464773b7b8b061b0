"""What it takes the milter's client to learn about a mailbox: from memory, Redis, the service.

Rounds take turns with a bare redis-py GET of the same records, and with a service that has
a thousand mailboxes. Wall time of one thread: what a recipient waits.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles

import accounting
import population
from report import Findings, Target

from certificates import sequoia
from fake_net import FakeResolver, LoopbackNetwork
from https_peer import Authority
from keyserver_peer import Keyserver, served
from keyservice.client import KeyServiceClient, Mailbox, Outcome
from keyservice.https_fetcher import HTTPSFetcher
from keyservice.methods import DiscoveryMethod, Found
from keyservice.methods.hkp import HKP
from keyservice.methods.nicknym import Nicknym
from keyservice.methods.vks import VKS
from keyservice.record import record_name
from keyservice_process import SECRET, KeyServiceProcess, RedisProcess
from stack import Owner

_FEW, _MANY, _MANY_QUICK = 1_000, 1_000_000, 200_000
_WARM = 500
"""Mailboxes that are asked for again and again."""

_WARM_LOOKUPS, _COLD_LOOKUPS, _DISCOVERIES = 5_000, 300, 30

_WARM_PER_SECOND_MIN, _WARM_SHARE_MIN = 5_000, 0.5
_GROWTH_MAX = 1.2

_KEYS, _NICKNYM, _PEER = "keys.example.net", "nicknym.example.org", "93.184.215.14"

Times = list[float]


def measure(*, quick: bool) -> Findings:
    """Return what lookups take, warm and cold, with few and with many mailboxes."""
    rounds, number = (3, _MANY_QUICK) if quick else (7, _MANY)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ll-bench-")))
        redis = stack.enter_context(RedisProcess(directory / "redis"))
        services = [
            stack.enter_context(_service(directory / name, redis.url, _addresses(name, mailboxes)))
            for name, mailboxes in (("few", _FEW), ("many", number))
        ]
        few, many = services
        at_rest = [accounting.resident_kb(_pid(service)) / 1024 for service in services]
        warm = _warm(redis, few, rounds)
        cold = _cold(few, many, number, rounds)
        in_use = [accounting.resident_kb(_pid(service)) / 1024 for service in services]
    discovered = _discovered(_DISCOVERIES)
    bare, by_redis, by_memory = (warm[name] for name in ("GET", "Redis", "memory"))
    growth = median(
        many / few for few, many in zip(map(median, cold[0]), map(median, cold[1]), strict=True)
    )
    rows = [
        _row("bare redis-py GET", "", bare),
        _row("the milter's client, from Redis", "", by_redis),
        _row("the milter's client, held in memory", "", by_memory),
        _row("cold: the service and its database", f"{_FEW:,}", cold[0]),
        _row("cold: the service and its database", f"{number:,}", cold[1]),
        *(_row(f"discovery: {name}, TLS on loopback", "", [t]) for name, t in discovered.items()),
    ]
    return Findings(
        "lookups",
        f"Lookups, one thread, ms (median of {rounds} rounds)",
        ("asked", "enrolled", "median", "p99", "a second"),
        tuple(rows),
        (
            Target("warm, from Redis: the better of 5,000/s and 0.5 x GET", _worth(by_redis, bare), 1),
            Target("warm, held in memory: the same", _worth(by_memory, bare), 1),
            Target(f"cold: {number:,} enrolled relative to {_FEW:,}", growth, at_most=_GROWTH_MAX),
        ),
        tuple(
            f"key service with {size:,} mailboxes: {rest:.0f} MB at rest, {used:.0f} MB in use"
            for size, rest, used in zip((_FEW, number), at_rest, in_use, strict=True)
        ),
    )
