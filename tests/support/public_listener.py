"""The public listener on loopback over a real database, with certificates enrolled as always."""

import socket
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import redis
from prometheus_client import CollectorRegistry

from keyservice.answers import Answers
from keyservice.config import DomainSection
from keyservice.database import Database
from keyservice.enrolment import Enrolments
from keyservice.judge import Judge
from keyservice.listeners import listen_tcp
from keyservice.mailbox import Mailbox
from keyservice.metrics import Metrics
from keyservice.packets import fingerprint, require_one_certificate
from keyservice.public.limits import Limits
from keyservice.public.listener import PublicListener, public_application
from keyservice.public.results import published_counter
from keyservice.published import Published
from keyservice.vetting import Vetter
from keyservice.vetting_child import PUBLISHES

SECRET = b"a secret of these tests, 32 octets or more"


class PublicService:
    """A store to enrol into, and the listener that shows it."""

    def __init__(
        self,
        directory: Path,
        *,
        domains: Collection[str] = ("example.org",),
        is_published: Callable[[Mailbox], bool] = lambda _: True,
        per_minute: int = 100_000,
        address_header: str = "",
        redis_client: redis.Redis | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock`: of the limits."""
        self.registry = CollectorRegistry()
        self._stack = ExitStack()
        self.database = self._stack.enter_context(closing(Database(directory / "k.sqlite")))
        metrics = Metrics(self.registry)
        sections = dict.fromkeys(domains, DomainSection())
        answers = Answers(self.database, sections, None, metrics)
        vetter = self._stack.enter_context(closing(Vetter()))
        self.enrolments = Enrolments(self.database, answers, Judge(vetter, metrics))
        publisher = self._stack.enter_context(closing(Vetter(PUBLISHES)))
        self.published = Published(self.database, publisher, domains, is_published)
        limits = Limits(per_minute, redis_client, SECRET, clock)
        application = public_application(
            self.published, limits, published_counter(self.registry), address_header
        )
        self.socket = directory / "public.sock"
        unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        unix.bind(str(self.socket))
        tcp = listen_tcp("127.0.0.1", 0)
        self.port: int = tcp.getsockname()[1]
        self._stack.enter_context(closing(unix))
        self._stack.enter_context(closing(tcp))
        self._stack.enter_context(PublicListener(application, [unix, tcp]))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def enrol(self, address: str, octets: bytes) -> str:
        """Enrol a certificate, as confirmed by its owner; return its fingerprint."""
        confirmed = fingerprint(require_one_certificate(octets)[0].packet)
        return self.enrolments.enrol(Mailbox.parse(address), octets, confirmed).fingerprint

    def counted(self, protocol: str, result: str) -> float:
        """Return how often a protocol had a result."""
        labels = {"protocol": protocol, "result": result}
        return self.registry.get_sample_value("keyservice_published_total", labels) or 0.0

    def close(self) -> None:
        self._stack.close()


@contextmanager
def public_service(directory: Path, **settings: object) -> Iterator[PublicService]:
    """Run one, and leave no thread or child behind."""
    service = PublicService(directory, **settings)  # type: ignore[arg-type]
    try:
        yield service
    finally:
        service.close()
