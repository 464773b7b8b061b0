"""Reports leave behind the mail's back, and whatever happens to them it is not kept waiting."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import msgspec
import pytest

from keyservice.client import PeerClient, Report, Reported
from keyservice.report_wire import ATTACHED_OCTETS_MAX, Refused
from letterlock import behind, metrics, reporter
from letterlock.behind import Behind, ReportResult
from letterlock.reporter import Reporter
from stack import wait_until

NOTED = Reported()
LARGE = b"x" * ATTACHED_OCTETS_MAX
DAY = 86_400.0


def report(sender: str = "alice@example.org", *attached: bytes) -> Report:
    """Return the report of a message; without an attached certificate it is silent."""
    return Report(from_fields=1, from_addresses=(sender,), received_at=0, attached=attached)


class Service:
    """A key service that says what a test wants, and may hang."""

    def __init__(self, answer: Reported | None = NOTED) -> None:
        self.answer = answer
        self.heard: list[Report] = []
        self.times: list[float] = []
        self.is_open = threading.Event()
        self.is_open.set()

    def report(self, report: Report) -> Reported | None:
        """See `reporter.KeyService`."""
        self.heard.append(report)
        self.times.append(time.monotonic())
        self.is_open.wait(30)
        if b"unforeseen" in report.attached:
            raise ValueError("of a message")
        return self.answer


class Reports(Reporter):
    """A reporter, and what does the telling."""

    def __init__(
        self,
        service: Service,
        queue: int,
        observe: Callable[[ReportResult], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        behind = Behind(queue, observe)
        super().__init__(service, behind, clock)
        self.drain = behind.drain


@pytest.fixture
def service() -> Iterator[Service]:
    """One that hears; whatever waits for it may go on in the end."""
    service = Service()
    yield service
    service.is_open.set()


@pytest.fixture
def seen() -> Counter[ReportResult]:
    """How often what became of reports."""
    return Counter()


@pytest.fixture
def reports(service: Service, seen: Counter[ReportResult]) -> Reports:
    """Has room for three."""
    return Reports(service, 3, lambda result: seen.update([result]))


def until(condition: Callable[[], bool]) -> None:
    """Return when it holds."""
    wait_until(condition, "reports", 60)


def test_nothing_runs_before_the_first_report(service: Service) -> None:
    """A thread that was there before a fork would be gone after it."""
    before = tellers()
    reports = Reports(service, 3, lambda _result: None)
    assert before == tellers()
    reports.offer(report("a@b.example", b"certificate"))

    until(lambda: len(service.heard) == 1)
    assert 1 == len(tellers() - before)


def tellers() -> set[threading.Thread]:
    """Return the threads that tell, of this test and of others."""
    return {thread for thread in threading.enumerate() if thread.name == "behind"}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (NOTED, ReportResult.NOTED),
        (Reported(refused=Refused.SPAM), ReportResult.REFUSED),
        (None, ReportResult.UNHEARD),
    ],
)
def test_what_becomes_of_a_report_is_counted(
    answer: Reported | None,
    expected: ReportResult,
    service: Service,
    reports: Reports,
    seen: Counter[ReportResult],
) -> None:
    """By what the key service says."""
    service.answer = answer
    reports.offer(report("a@b.example", b"certificate"))

    until(lambda: bool(seen))
    assert {expected: 1} == seen


def test_when_the_key_service_hangs_the_newest_are_dropped(
    service: Service, reports: Reports, seen: Counter[ReportResult]
) -> None:
    """Nobody waits to find that out, and the others are told in their order."""
    service.is_open.clear()
    reports.offer(report("first@b.example", b"certificate"))
    until(lambda: len(service.heard) == 1)
    started = time.monotonic()
    for number in range(1000):
        reports.offer(report(f"{number}@b.example", b"certificate"))
    # The service hangs for thirty seconds.
    assert time.monotonic() - started < 10
    assert {ReportResult.DROPPED: 997} == seen

    service.is_open.set()
    until(lambda: seen.total() == 1001)
    assert [("first@b.example",), *((f"{n}@b.example",) for n in range(3))] == [
        each.from_addresses for each in service.heard
    ]


def test_large_certificates_do_not_fill_the_memory(
    service: Service, seen: Counter[ReportResult]
) -> None:
    """Their octets are counted, and count no more when they have left."""
    reports = Reports(service, 1000, lambda result: seen.update([result]))
    service.is_open.clear()
    for _ in range(100):
        reports.offer(report("a@b.example", LARGE, LARGE))
    assert 60 < seen[ReportResult.DROPPED] < 90
    reports.offer(report("a@b.example", b"small"))
    service.is_open.set()
    until(lambda: seen.total() == 101)
    dropped = seen[ReportResult.DROPPED]
    for _ in range(20):
        reports.offer(report("a@b.example", LARGE, LARGE))
    reports.drain(60)

    assert dropped == seen[ReportResult.DROPPED]


def test_a_key_service_that_is_down_is_asked_less_and_less(
    service: Service, seen: Counter[ReportResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice as long each time, up to a bound; once it hears, at once again."""
    monkeypatch.setattr(behind, "_PAUSE_MIN", 0.05)
    monkeypatch.setattr(behind, "_PAUSE_MAX", 0.2)
    reports = Reports(service, 100, lambda result: seen.update([result]))
    service.answer = None
    for _ in range(6):
        reports.offer(report("a@b.example", b"certificate"))
    until(lambda: seen[ReportResult.UNHEARD] == 6)
    pauses = [late - early for early, late in zip(service.times, service.times[1:], strict=False)]
    assert all(
        least <= pause for least, pause in zip([0.05, 0.1, 0.2, 0.2, 0.2], pauses, strict=True)
    )

    service.answer = NOTED
    for _ in range(20):
        reports.offer(report("a@b.example", b"certificate"))
    until(lambda: seen[ReportResult.NOTED] == 20)
    # With a pause after each it would be four seconds.
    assert service.times[-1] - service.times[6] < 3


def test_no_message_ends_the_telling(
    service: Service,
    reports: Reports,
    seen: Counter[ReportResult],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What nobody foresaw is logged by place, without its text, and the next one is told."""
    monkeypatch.setattr(behind, "_PAUSE_MIN", 0.01)
    reports.offer(report("a@b.example", b"unforeseen"))
    reports.offer(report("b@b.example", b"certificate"))

    until(lambda: seen.total() == 2)
    assert {ReportResult.UNHEARD: 1, ReportResult.NOTED: 1} == seen
    said = capfd.readouterr().err
    assert "ValueError" in said
    assert "of a message" not in said


def test_a_worker_that_leaves_waits_for_its_reports(
    service: Service, reports: Reports, seen: Counter[ReportResult]
) -> None:
    """All of them are told, the one under way included."""
    for number in range(3):
        reports.offer(report(f"{number}@b.example", b"certificate"))
    reports.drain(60)

    assert {ReportResult.NOTED: 3} == seen
    reports.drain(60)


def test_a_worker_that_leaves_does_not_wait_for_long(service: Service, reports: Reports) -> None:
    """A key service that hangs keeps nobody."""
    service.is_open.clear()
    reports.offer(report("a@b.example", b"certificate"))
    started = time.monotonic()
    reports.drain(0.2)

    assert time.monotonic() - started < 5


def test_a_worker_that_leaves_makes_no_pauses(
    service: Service, seen: Counter[ReportResult]
) -> None:
    """One that is down has been asked about everything that waited by then."""
    reports = Reports(service, 100, lambda result: seen.update([result]))
    service.answer = None
    for _ in range(20):
        reports.offer(report("a@b.example", b"certificate"))
    reports.drain(60)

    assert {ReportResult.UNHEARD: 20} == seen


def test_silent_mail_is_told_of_once_a_day(service: Service, seen: Counter[ReportResult]) -> None:
    """For each sender; mail with a certificate always."""
    now = [0.0]
    reports = Reports(service, 1000, lambda result: seen.update([result]), lambda: now[0])
    for _ in range(10):
        reports.offer(report("alice@example.org"))
        reports.offer(report("bob@example.org"))
        reports.offer(report("alice@example.org", b"certificate"))
    reports.drain(60)
    assert {ReportResult.NOTED: 12} == seen
    now[0] = DAY
    for _ in range(10):
        reports.offer(report("alice@example.org"))
    reports.drain(60)

    assert {ReportResult.NOTED: 13} == seen


def test_the_senders_who_are_remembered_are_bounded(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that was let through longest ago is forgotten first."""
    monkeypatch.setattr(reporter, "_SILENT_MAX", 2)
    reports = Reports(service, 1000, lambda _result: None)
    for sender in ("a@x.example", "b@x.example", "c@x.example", "b@x.example", "a@x.example"):
        reports.offer(report(sender))
    reports.drain(60)

    assert ["a@x.example", "b@x.example", "c@x.example", "a@x.example"] == [
        each.from_addresses[0] for each in service.heard
    ]


def test_many_threads_offer_at_once(service: Service, seen: Counter[ReportResult]) -> None:
    """One thread tells, and each report is told once or dropped."""
    reports = Reports(service, 50, lambda result: seen.update([result]))

    def offer(number: int) -> None:
        for each in range(100):
            reports.offer(report(f"{number}-{each}@b.example", b"certificate"))

    threads = [threading.Thread(target=offer, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reports.drain(60)

    assert seen[ReportResult.NOTED] == len(service.heard) == len(set(service.heard))
    assert 800 == seen.total()


def test_without_a_key_service_reports_are_unheard(seen: Counter[ReportResult]) -> None:
    """By the real client, at once."""
    client = PeerClient("unix:/nonexistent/keyservice.sock")
    reports = Reports(client, 10, lambda result: seen.update([result]))
    reports.offer(report("a@b.example", b"certificate"))
    reports.drain(60)

    assert {ReportResult.UNHEARD: 1} == seen


def test_a_report_that_cannot_be_written_is_unheard(seen: Counter[ReportResult]) -> None:
    """A domain of a signature is a stranger's text."""
    client = PeerClient("unix:/nonexistent/keyservice.sock")
    reports = Reports(client, 10, lambda result: seen.update([result]))
    odd = msgspec.structs.replace(report("a@b.example", b"certificate"), from_addresses=("\udcff",))
    reports.offer(odd)
    reports.drain(60)

    assert {ReportResult.UNHEARD: 1} == seen


def test_every_result_has_its_counter() -> None:
    """From the start, so that a rate over it is never undefined."""
    assert set(ReportResult) == set(metrics.REPORTS_BY_RESULT)
