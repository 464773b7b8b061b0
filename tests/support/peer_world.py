"""The key service without a process, a socket or a network: its parts over one database."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry

from fake_net import FakeFetcher, FakeResolver
from keyservice.answers import Answers
from keyservice.config import DomainSection
from keyservice.database import Database
from keyservice.discoverer import Discoverer
from keyservice.enrolment import Enrolments
from keyservice.fetch import FetchFailed
from keyservice.foreign import Question
from keyservice.foreign_vet import examine
from keyservice.intake import Intake, Shown, Taken
from keyservice.judge import Judge
from keyservice.levels import Level, Source
from keyservice.mailbox import Mailbox
from keyservice.methods import DiscoveryMethod, InquiryResult
from keyservice.methods.hkp import HKP
from keyservice.methods.openpgpkey import OpenPGPKey
from keyservice.methods.vks import VKS
from keyservice.methods.wkd import WKD, Variant, request_uri
from keyservice.metrics import Metrics
from keyservice.operator_wire import Enrolment, Explanation
from keyservice.overview import Overview
from keyservice.peer_wire import PeerAnswer, Use
from keyservice.peers import Peers
from keyservice.replacement import Mode
from keyservice.report_wire import Report, Reported
from keyservice.reports import Reports
from keyservice.rulebook import Rulebook
from keyservice.senders import Senders
from keyservice.settings import MailboxSettings
from keyservice.submissions import Submissions
from keyservice.vet import vet
from keyservice.vetting import Vetter
from keyservice.vetting_child import Verdict

ALICE = Mailbox.parse("alice@example.org")
"""A mailbox of somebody else here, unless `domains` says otherwise."""


class DirectVetter:
    """The real judgement without the process around it, at the time of a fake clock."""

    def __init__(self) -> None:
        self.clock = time.time()
        self.examined = 0

    def vet(self, octets: bytes) -> Verdict:
        """See `judge.Vets`."""
        return Verdict(*vet(octets, self.clock))

    def examine(self, question: Question) -> Verdict:
        """See `judge.Examines`."""
        self.examined += 1
        return examine(question, self.clock)


class PeerWorld:
    """All parts, one clock, and a fetcher and resolver that say what a test gave them."""

    def __init__(
        self,
        path: Path,
        *,
        domains: Sequence[str] = ("ours.example",),
        mode: Mode = Mode.HOLD,
        first_contact: Level = Level.PROVIDER_TRUST,
        methods: Sequence[DiscoveryMethod] | None = None,
        deadline: float = 5.0,
        child: Vetter | None = None,
    ) -> None:
        """`child`: the real one that judges, in place of its judgement in this process."""
        self.vetter = DirectVetter()
        self.fetcher, self.resolver = FakeFetcher(), FakeResolver()
        # They exist, and know nobody.
        self.fetcher.pages |= dict.fromkeys(("https://vks.org/", "https://hkp.org/"), b"x")
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.database = Database(path)
        sections = {domain: DomainSection() for domain in domains}
        rulebook = Rulebook(frozenset(domains), mode, first_contact)
        self.answers = Answers(self.database, sections, None, self.metrics, self.now, rulebook)
        judge = Judge(child or self.vetter, self.metrics)
        self.enrolments = Enrolments(self.database, self.answers, judge, self.now)
        self.intake = Intake(self.database, self.answers, judge, self.now)
        if methods is None:
            methods = [
                WKD(self.fetcher),
                OpenPGPKey(self.resolver),
                VKS(self.fetcher, "vks.org"),
                HKP(self.fetcher, "hkp.org"),
            ]
        self.discoverer = Discoverer(
            methods,
            [method for method in methods if isinstance(method, VKS | HKP)],
            deadline=deadline,
            observe=self._observe,
        )
        self.peers = Peers(self.database, self.answers, self.discoverer, self.intake, self.now)
        self.reports = Reports(
            self.database, self.answers, self.intake, domains, self.metrics, self.now
        )
        self.settings = MailboxSettings(self.database, self.answers, self.now)
        self.overview = Overview(self.database, self.answers, self.settings, self.now)
        self.senders = Senders(self.database, self.answers, self.settings, self.now)
        self.submissions = Submissions(
            self.database, self.answers, self.settings, self.intake, self.metrics, self.now
        )

    def now(self) -> float:
        """Return the time."""
        return self.vetter.clock

    def pass_time(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.vetter.clock += seconds

    def wkd(self, octets: bytes | FetchFailed, mailbox: Mailbox = ALICE) -> None:
        """Let the Web Key Directory of the domain show `octets`; nothing: none."""
        self.fetcher.pages["https://openpgpkey." + mailbox.domain + "/"] = b"x"
        page = request_uri(mailbox, Variant.ADVANCED).partition("?")[0]
        if octets:
            self.fetcher.pages[page] = octets
        else:
            self.fetcher.pages.pop(page, None)

    def vks(self, octets: bytes, mailbox: Mailbox = ALICE) -> None:
        """Let the verifying keyserver show `octets` for the address."""
        self.fetcher.pages["https://vks.org/vks/v1/by-email/" + mailbox.key.replace("@", "%40")] = (
            octets
        )

    def answer(self, mailbox: Mailbox = ALICE) -> PeerAnswer:
        """Return what is answered about a peer."""
        return asyncio.run(self.peers.answer(mailbox))

    def discover(self, mailbox: Mailbox = ALICE) -> PeerAnswer:
        """Return what is answered when others are asked now."""
        return asyncio.run(self.peers.discover(mailbox))

    def use(self, fingerprint: str, **done: bool) -> PeerAnswer:
        """Note what was done with Alice's certificate."""
        return asyncio.run(self.peers.use(ALICE, Use(fingerprint=fingerprint, **done)))

    def show(
        self, octets: bytes, level: Level, source: Source = Source.HKP, mailbox: Mailbox = ALICE
    ) -> Taken:
        """Let a source show a certificate, and decide."""
        taken = self.intake.take(mailbox, Shown(source, level, octets))
        self.answers.settle(mailbox)
        return taken

    def report(self, report: Report) -> Reported:
        """Report a message."""
        return self.reports.take(report)

    def enrol(self, octets: bytes, mailbox: Mailbox, confirmed: str | None = None) -> Enrolment:
        """Enrol a certificate for a mailbox of ours."""
        return self.enrolments.enrol(mailbox, octets, confirmed)

    def explain(self, mailbox: Mailbox = ALICE) -> Explanation:
        """Return everything that is known."""
        return self.overview.explain(mailbox)

    def counted(self, name: str, **labels: str) -> float:
        """Return a counter."""
        return self.registry.get_sample_value(f"keyservice_{name}_total", labels) or 0.0

    def close(self) -> None:
        """Leave nothing open."""
        self.database.close()

    def _observe(self, source: Source, result: InquiryResult) -> None:
        self.metrics.discoveries.labels(source.value, result.value).inc()
