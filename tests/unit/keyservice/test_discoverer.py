"""All methods at once, one deadline, every answer accounted for; and work that is done once."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from keyservice.discoverer import Discoverer, Inquiry
from keyservice.levels import Level, Source
from keyservice.mailbox import Mailbox
from keyservice.methods import (
    DiscoveryMethod,
    Found,
    InquiryResult,
    NotFound,
    Rejected,
    Result,
    Unavailable,
)
from keyservice.methods.keyserver import Material, Refreshed
from keyservice.single_flight import SingleFlight

ALICE, BOB, CAROL = (Mailbox.parse(f"{name}@example.org") for name in ("alice", "bob", "carol"))
DAVE = Mailbox.parse("dave@example.net")
FOUND = Found(b"x", Level.PROVIDER_TRUST, "there")


class Method:
    """Says `result` after `seconds`."""

    def __init__(
        self, source: Source, result: Result | Exception = FOUND, seconds: float = 0.0
    ) -> None:
        self.source = source
        self.result = result
        self.seconds = seconds
        self.at_work = self.most_at_work = 0
        self.was_cancelled = False

    async def discover(self, mailbox: Mailbox) -> Result:
        """See `DiscoveryMethod`."""
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        finally:
            self.at_work -= 1
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    async def refresh(self, fingerprint: str) -> Refreshed:
        """See `Refresher`."""
        await self.discover(ALICE)
        return Material(fingerprint, b"y", "there")


def discover(
    *methods: DiscoveryMethod, deadline: float = 5.0, mailbox: Mailbox = ALICE
) -> tuple[Inquiry, ...]:
    """Return what is said about a mailbox."""
    return asyncio.run(Discoverer(methods, deadline=deadline).discover(mailbox))


def test_the_order_is_the_configured_one_whoever_answers_first() -> None:
    """Not that of the answers, which a stranger could choose."""
    slow, fast = Method(Source.WKD, FOUND, 0.1), Method(Source.HKP, NotFound("none"))

    assert [Source.WKD, Source.HKP] == [i.source for i in discover(slow, fast)]
    assert [Source.HKP, Source.WKD] == [i.source for i in discover(fast, slow)]


def test_methods_are_asked_at_the_same_time() -> None:
    """Four that take a second each take a second."""
    methods = [Method(s, FOUND, 1.0) for s in (Source.WKD, Source.VKS, Source.HKP, Source.NICKNYM)]
    started = time.monotonic()
    discover(*methods)

    assert time.monotonic() - started < 3


def test_one_deadline_holds_for_all() -> None:
    """What came in time counts; who drips is unavailable, and left alone."""
    late, early = Method(Source.WKD, FOUND, 60), Method(Source.VKS, FOUND, 0.01)
    started = time.monotonic()
    inquiries = discover(late, early, deadline=1.0)

    assert time.monotonic() - started < 20
    assert [InquiryResult.UNAVAILABLE, InquiryResult.FOUND] == [
        InquiryResult.FOUND if isinstance(i.result, Found) else InquiryResult.UNAVAILABLE
        for i in inquiries
    ]
    assert late.was_cancelled


def test_a_method_that_breaks_does_not_take_the_others_with_it() -> None:
    """And its text, which may be a stranger's, goes nowhere."""
    broken = Method(Source.WKD, RuntimeError("what a stranger wrote"))
    first, second = discover(broken, Method(Source.VKS))

    assert Unavailable("failed: RuntimeError") == first.result
    assert FOUND == second.result


def test_every_answer_is_counted() -> None:
    """Each by its method."""
    seen: list[tuple[Source, InquiryResult]] = []
    methods = [
        Method(Source.WKD),
        Method(Source.OPENPGPKEY, NotFound("none")),
        Method(Source.VKS, Unavailable("down")),
        Method(Source.HKP, Rejected("flood")),
        Method(Source.NICKNYM, FOUND, 60),
    ]
    discoverer = Discoverer(methods, deadline=1.0, observe=lambda s, r: seen.append((s, r)))
    asyncio.run(discoverer.discover(ALICE))

    assert [
        (Source.WKD, InquiryResult.FOUND),
        (Source.OPENPGPKEY, InquiryResult.NOT_FOUND),
        (Source.VKS, InquiryResult.UNAVAILABLE),
        (Source.HKP, InquiryResult.REJECTED),
        (Source.NICKNYM, InquiryResult.UNAVAILABLE),
    ] == seen


def test_a_domain_is_asked_for_two_mailboxes_at_a_time() -> None:
    """The third waits; another domain does not."""
    method = Method(Source.WKD, FOUND, 0.1)

    async def ask(*mailboxes: Mailbox) -> None:
        discoverer = Discoverer([method])
        await asyncio.gather(*(discoverer.discover(mailbox) for mailbox in mailboxes))

    asyncio.run(ask(ALICE, BOB, CAROL))
    assert 2 == method.most_at_work
    asyncio.run(ask(ALICE, BOB, DAVE))
    assert 3 == method.most_at_work


def test_waiting_for_a_turn_counts_against_the_deadline() -> None:
    """A domain that is slow cannot pile up lookups."""
    method = Method(Source.WKD, FOUND, 60)

    async def ask() -> list[tuple[Inquiry, ...]]:
        discoverer = Discoverer([method], deadline=0.3)
        return await asyncio.gather(*(discoverer.discover(m) for m in (ALICE, BOB, CAROL)))

    started = time.monotonic()
    answers = asyncio.run(ask())

    assert time.monotonic() - started < 20
    assert all(isinstance(i.result, Unavailable) for (i,) in answers)


def test_nobody_is_asked_if_nobody_is_configured() -> None:
    """And that is an answer."""
    assert () == discover()


def test_keyservers_are_asked_by_fingerprint() -> None:
    """What comes by the deadline counts; one that breaks is silent."""
    servers = [
        Method(Source.VKS),
        Method(Source.HKP, RuntimeError("down")),
        Method(Source.HKP, FOUND, 60),
    ]
    discoverer = Discoverer([], servers, deadline=1.0)

    assert (Material("ab", b"y", "there"),) == asyncio.run(discoverer.refresh("ab"))


def flying(count: int, work: Callable[[], Awaitable[None]], names: tuple[str, ...]) -> None:
    """Have `count` want each of `names` at once."""

    async def fly() -> None:
        flights = SingleFlight()
        await asyncio.gather(*(flights.do(name, work) for name in names for _ in range(count)))

    asyncio.run(fly())


def test_what_many_want_is_done_once() -> None:
    """By name; and again the next time."""
    done: list[int] = []

    async def work() -> None:
        await asyncio.sleep(0.02)
        done.append(1)

    flying(10, work, ("a", "b"))
    assert 2 == len(done)
    flying(10, work, ("a",))
    assert 3 == len(done)


def test_who_goes_away_does_not_end_it_for_the_others() -> None:
    """The first one, too."""
    done: list[int] = []

    async def work() -> None:
        await asyncio.sleep(0.05)
        done.append(1)

    async def fly() -> None:
        flights = SingleFlight()
        first = asyncio.create_task(flights.do("a", work))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(flights.do("a", work))
        await asyncio.sleep(0.01)
        first.cancel()
        await second
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(fly())
    assert [1] == done


def test_an_error_is_everybodys_and_not_for_ever() -> None:
    """The next one tries again."""
    calls: list[int] = []

    async def work() -> None:
        calls.append(1)
        raise RuntimeError("no")

    for number in (1, 2):
        with pytest.raises(RuntimeError):
            flying(1, work, ("a",))
        assert number == len(calls)
