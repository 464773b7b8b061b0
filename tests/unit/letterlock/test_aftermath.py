"""What the key service hears of a submission: what it needs to know, and not with every mail."""

import pytest

from keyservice.client import Mailbox, PeerAnswer, PeerOutcome, Use
from letterlock.aftermath import Aftermath
from letterlock.behind import ReportResult, Tell

CAROL, DAVE = (Mailbox(name, "outside.test") for name in ("carol", "dave"))
FIRST, SECOND = "ab" * 20, "cd" * 20


class Service:
    """A key service, what waits to be told it, and a clock; all by hand."""

    def __init__(self) -> None:
        self.heard: list[tuple[Mailbox, str]] = []
        self.results: list[ReportResult] = []
        self.outcome = PeerOutcome.FOUND
        self.now = 0.0

    def offer(self, tell: Tell, octets: int = 0) -> None:
        """See `Behind`."""
        self.results.append(tell())

    def used(self, mailbox: Mailbox, use: Use) -> PeerAnswer:
        """See `PeerClient`."""
        assert use.encrypted_to
        assert not use.possession_proved
        self.heard.append((mailbox, use.fingerprint))
        return PeerAnswer(mailbox=mailbox.key, outcome=self.outcome)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def aftermath(service: Service) -> Aftermath:
    return Aftermath(service, service, service, lambda: 0.0, lambda: service.now)  # type: ignore[arg-type]  # see Service


def test_a_certificate_in_constant_use_is_told_of_once_an_hour(
    service: Service, aftermath: Aftermath
) -> None:
    """Each word about it is a write to the database."""
    for second in range(0, 7200, 60):
        service.now = second
        aftermath.encrypted_to(CAROL, FIRST)
    assert [(CAROL, FIRST)] * 2 == service.heard


def test_every_certificate_is_told_of(service: Service, aftermath: Aftermath) -> None:
    """One of another mailbox at once, and one that has taken over."""
    used = [(CAROL, FIRST), (DAVE, FIRST), (CAROL, SECOND)]
    for mailbox, fingerprint in used:
        aftermath.encrypted_to(mailbox, fingerprint)
    assert used == service.heard


def test_a_key_service_out_of_reach_has_not_heard(service: Service, aftermath: Aftermath) -> None:
    """So whoever tells it goes slower."""
    service.outcome = PeerOutcome.UNREACHABLE
    aftermath.encrypted_to(CAROL, FIRST)
    assert [ReportResult.UNHEARD] == service.results
