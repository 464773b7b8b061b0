"""What the milter and the operator's command use of the key service.

`KeyServiceClient.lookup` never raises and never takes longer than its deadline: whatever
goes wrong is UNAVAILABLE, which obliges the milter to defer. It asks, in this order, answers
held in memory (if `hold`), Redis (signed copies), the key service, and its own memory of
certificates seen of late.

Nothing else of this package may be imported by `letterlock`.
"""

import time
import weakref
from collections.abc import Callable
from enum import Enum
from urllib.parse import quote

import msgspec

from keyservice.autocrypt import PreferEncrypt
from keyservice.cache import AnswerCache, CacheResult, connect
from keyservice.circuit import Circuit
from keyservice.client_certificate_wire import (
    ClientCA,
    ClientCAs,
    ClientCertificate,
    ClientCertificateRequest,
    ClientCertificateState,
    IssuedClientCertificate,
    RevokedClientCertificates,
)
from keyservice.held import HeldAnswers
from keyservice.levels import Level
from keyservice.mailbox import InvalidMailbox, Mailbox
from keyservice.operator_client import (
    OperatorClient,
    ServiceForbidden,
    ServiceRefused,
    ServiceUnavailable,
)
from keyservice.operator_wire import (
    BoundCertificate,
    EnrolledMailbox,
    Enrolment,
    Explanation,
    MailboxPage,
    PolicySource,
    PolicyView,
    Subkey,
    Withdrawal,
)
from keyservice.peer_client import PeerClient
from keyservice.peer_wire import AutocryptView, PeerAnswer, PeerOutcome, Use
from keyservice.record import BadRecord, require_current
from keyservice.redis_outage import RedisOutage
from keyservice.report_wire import (
    ATTACHED_MAX,
    ATTACHED_OCTETS_MAX,
    FIELD_OCTETS_MAX,
    FIELDS_MAX,
    Report,
    Reported,
    VerifiedSignature,
)
from keyservice.sender_client import SenderClient
from keyservice.sender_wire import (
    SENDER_HELD_MAX,
    Outgoing,
    Sender,
    SenderPolicy,
    Submitted,
    Taken,
    Taking,
)
from keyservice.stale import StaleAnswers
from keyservice.tracking import Tracking
from keyservice.transport import DeadlinePassed, Endpoint, TransportError, exchange
from keyservice.wire import (
    Answer,
    ArrivedEncrypted,
    EncryptionSubkey,
    HeaderPolicy,
    MailboxPolicy,
    Outcome,
    WithoutCertificate,
)

__all__ = [
    "ATTACHED_MAX",
    "ATTACHED_OCTETS_MAX",
    "FIELDS_MAX",
    "FIELD_OCTETS_MAX",
    "SENDER_HELD_MAX",
    "Answer",
    "ArrivedEncrypted",
    "AutocryptView",
    "BoundCertificate",
    "CacheResult",
    "ClientCA",
    "ClientCAs",
    "ClientCertificate",
    "ClientCertificateRequest",
    "ClientCertificateState",
    "ClientConfig",
    "EncryptionSubkey",
    "Endpoint",
    "EnrolledMailbox",
    "Enrolment",
    "Explanation",
    "HeaderPolicy",
    "InvalidMailbox",
    "IssuedClientCertificate",
    "KeyServiceClient",
    "Layer",
    "Level",
    "Mailbox",
    "MailboxPage",
    "MailboxPolicy",
    "OperatorClient",
    "Outcome",
    "Outgoing",
    "PeerAnswer",
    "PeerClient",
    "PeerOutcome",
    "PolicySource",
    "PolicyView",
    "PreferEncrypt",
    "RedisOutage",
    "Report",
    "Reported",
    "RevokedClientCertificates",
    "Sender",
    "SenderClient",
    "SenderPolicy",
    "ServiceForbidden",
    "ServiceRefused",
    "ServiceUnavailable",
    "Subkey",
    "Submitted",
    "Taken",
    "Taking",
    "Use",
    "VerifiedSignature",
    "Withdrawal",
    "WithoutCertificate",
    "connect",
]

_SERVICE_COOLDOWN = 1.0
"""Seconds for which a key service that ran into the deadline is left alone."""

_STALE_ENTRIES_MAX = 10_000

_answer_decoder = msgspec.json.Decoder(Answer)


class Layer(Enum):
    """Who gave the answer."""

    MEMORY = "memory"
    """An answer that Redis gave earlier and has not taken back."""

    REDIS = "redis"
    SERVICE = "service"
    STALE = "stale"
    """A certificate of earlier, because nobody could be asked."""

    NONE = "none"


Observer = Callable[[Layer, Outcome, float], None]
"""Told about each lookup: who answered, what, and after how many seconds."""


class ClientConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where to ask, and how long."""

    service: str
    """`unix:/path`, `/path` or `http://host:port`."""

    redis_url: str = ""
    """`redis://`, `rediss://` or `unix://`; empty: no Redis."""

    secret: bytes = b""
    """Shared with the key service, never with Redis."""

    hold: bool = False
    """Hold what Redis said in memory while Redis tells of changes: for a process that stays.
    Takes a thread, from the first lookup on."""

    deadline: float = 5.0
    """Seconds for one exchange with the key service, in all."""

    stale_for: float = 3600.0
    """Seconds for which a certificate is used after the last one that confirmed it fell silent."""

    def __repr__(self) -> str:
        """Return a text without the secret, for logs and tracebacks."""
        return f"ClientConfig(service={self.service!r}, redis_url=…, secret=…)"


class KeyServiceClient:
    """Answers about mailboxes. Any thread may call it; make it after a fork, not before."""

    def __init__(
        self,
        config: ClientConfig,
        clock: Callable[[], float] = time.time,
        observe: Observer = lambda _layer, _outcome, _seconds: None,
        observe_cache: Callable[[CacheResult], None] = lambda _: None,
    ) -> None:
        """Connect to nothing yet. Raises ValueError if `config` makes no sense."""
        if config.redis_url and not config.secret:
            raise ValueError("Redis without the secret that signs what is in it")
        self._endpoint = Endpoint.parse(config.service)
        self._deadline = config.deadline
        self._clock = clock
        self._observe = observe
        self._tracking: Tracking | None = None
        self._cache: AnswerCache | None = None
        if config.redis_url:
            self._use_redis(config, observe_cache)
        self._circuit = Circuit(_SERVICE_COOLDOWN)
        self._stale = StaleAnswers(config.stale_for, _STALE_ENTRIES_MAX)

    def lookup(self, mailbox: Mailbox) -> Answer:
        """Return what is known about `mailbox`; UNAVAILABLE if nobody can say. Never raises."""
        started = time.monotonic()
        layer, answer = self._recall(mailbox, started) or self._ask(mailbox)
        self._observe(layer, answer.outcome, time.monotonic() - started)
        return answer

    def _use_redis(self, config: ClientConfig, observe: Callable[[CacheResult], None]) -> None:
        held = HeldAnswers() if config.hold else None
        if held is not None:
            self._tracking = Tracking(config.redis_url, held)
            # The thread knows of what is held, but not of us, who may go.
            weakref.finalize(self, self._tracking.stop)
        self._cache = AnswerCache(
            connect(config.redis_url), config.secret, self._clock, observe, held
        )

    def _recall(self, mailbox: Mailbox, moment: float) -> tuple[Layer, Answer] | None:
        if self._tracking is None:
            return None
        now = self._clock()
        answer = self._tracking.held.get(mailbox.key, moment, now)
        if answer is None:
            self._tracking.start()
            return None
        self._stale.remember(mailbox, answer, now)
        return Layer.MEMORY, answer

    def _ask(self, mailbox: Mailbox) -> tuple[Layer, Answer]:
        layer, answer = Layer.REDIS, self._cache.get(mailbox) if self._cache else None
        reason: str | None = None
        if answer is None:
            layer = Layer.SERVICE
            try:
                answer = self._ask_service(mailbox)
            except (TransportError, BadRecord) as error:
                reason = f"key service: {error}"
        now = self._clock()
        if answer is not None:
            self._stale.remember(mailbox, answer, now)
            return layer, answer
        answer = self._stale.recall(mailbox, now)
        if answer is not None:
            return Layer.STALE, answer
        return Layer.NONE, Answer(mailbox.key, Outcome.UNAVAILABLE, reason=reason)

    def _ask_service(self, mailbox: Mailbox) -> Answer:
        # Only a passed deadline opens the circuit. A refused connection costs nothing, and
        # a key service that was just restarted should be found at the next recipient.
        if not self._circuit.is_closed:
            raise TransportError("skipped after a passed deadline")
        target = f"/v1/mailboxes/{quote(mailbox.key, safe='@')}"
        try:
            reply = exchange(self._endpoint, "GET", target, deadline=self._deadline)
        except DeadlinePassed:
            self._circuit.trip()
            raise
        if reply.status != 200:
            raise TransportError(f"status {reply.status}")
        return self._believable(mailbox, reply.body)

    def _believable(self, mailbox: Mailbox, body: bytes) -> Answer:
        try:
            answer = _answer_decoder.decode(body)
        except msgspec.MsgspecError:
            raise TransportError("answer not understood") from None
        if answer.mailbox != mailbox.key or answer.outcome is Outcome.UNAVAILABLE:
            raise TransportError("answer about something else")
        if answer.outcome is Outcome.FOUND and not answer.subkeys:
            raise TransportError("found, but nothing to encrypt to")
        require_current(answer, self._clock())
        return answer
