"""Redis as a cache of signed answers: whatever goes wrong with it is a miss, never an error.

Both sides use it: the key service writes and forgets, the milter reads.
"""

import time
from collections.abc import Callable
from enum import Enum

import redis

from keyservice.circuit import Circuit
from keyservice.held import HeldAnswers
from keyservice.mailbox import Mailbox
from keyservice.record import RECORD_OCTETS_MAX, BadRecord, record_name, seal, unseal
from keyservice.redis_outage import RedisOutage
from keyservice.redis_servers import Servers
from keyservice.wire import Answer

REDIS_TIMEOUT = 0.25
"""Seconds for one command. Asking the key service instead takes a few milliseconds."""

REDIS_COOLDOWN = 3.0
"""Seconds for which a failing Redis is left alone."""


class CacheResult(Enum):
    """What became of one access."""

    HIT = "hit"
    MISS = "miss"
    BAD_RECORD = "bad_record"
    SKIPPED = "skipped"
    FAILED = "failed"
    WRITTEN = "written"
    FORGOTTEN = "forgotten"


def connect(url: str, timeout: float = REDIS_TIMEOUT) -> redis.Redis:
    """Return a client for `url`, as `redis_servers` has it; nothing is sent yet.

    Replies are bytes. `timeout` is for connecting and for each reply; nothing is retried.
    Raises BadURL, a ValueError, if `url` makes no sense.
    """
    timeouts = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
    return Servers.parse(url).client(timeouts)


class AnswerCache:
    """Signed answers in Redis."""

    def __init__(
        self,
        client: redis.Redis,
        secret: bytes,
        clock: Callable[[], float] = time.time,
        observe: Callable[[CacheResult], None] = lambda _: None,
        held: HeldAnswers | None = None,
    ) -> None:
        """Sign with `secret`, which Redis never sees; tell `observe` about each access.

        What `get` finds is offered to `held`.
        """
        self._client = client
        self._secret = secret
        self._clock = clock
        self._observe = observe
        self._held = held
        self._circuit = Circuit(REDIS_COOLDOWN)
        self._outage = RedisOutage()

    def get(self, mailbox: Mailbox) -> Answer | None:
        """Return the current answer about `mailbox`, or None if Redis has no credible one."""
        if not self._circuit.is_closed:
            self._observe(CacheResult.SKIPPED)
            return None
        name = record_name(self._secret, mailbox)
        if self._held is None:
            answer, result = self._read(name, mailbox)
        else:
            question = self._held.ask(name, mailbox.key)
            answer, result = self._read(name, mailbox)
            self._held.keep(question, answer)
        self._observe(result)
        return answer

    def put(self, mailbox: Mailbox, answer: Answer) -> None:
        """Keep `answer` until it expires."""
        lifetime = int(answer.expires_at - self._clock())
        if lifetime <= 0 or not self._circuit.is_closed:
            return
        try:
            self._client.set(
                record_name(self._secret, mailbox),
                seal(self._secret, mailbox, answer),
                ex=lifetime,
            )
        except (redis.RedisError, OSError) as error:
            self._fail(error)
        else:
            self._succeed(CacheResult.WRITTEN)

    def forget(self, mailbox: Mailbox) -> bool:
        """Remove the answer about `mailbox`; False if Redis could not be told.

        Not skipped by the circuit: a certificate that was withdrawn is worth the wait.
        """
        try:
            self._client.delete(record_name(self._secret, mailbox))
        except (redis.RedisError, OSError) as error:
            self._fail(error)
            return False
        self._succeed(CacheResult.FORGOTTEN)
        return True

    def _read(self, name: str, mailbox: Mailbox) -> tuple[Answer | None, CacheResult]:
        try:
            # GETRANGE, because GET would read a value of any size into memory.
            record = self._client.getrange(name, 0, RECORD_OCTETS_MAX - 1)
        except redis.exceptions.NoPermissionError as error:
            return None, self._stand_back(error)
        except redis.ResponseError:  # another type under our name
            return None, CacheResult.BAD_RECORD
        except (redis.RedisError, OSError) as error:
            return None, self._stand_back(error)
        self._outage.over()
        if not isinstance(record, bytes) or not record:
            return None, CacheResult.MISS
        try:
            return unseal(self._secret, mailbox, record, self._clock()), CacheResult.HIT
        except BadRecord:
            return None, CacheResult.BAD_RECORD

    def _succeed(self, result: CacheResult) -> None:
        self._outage.over()
        self._observe(result)

    def _fail(self, error: Exception) -> None:
        self._observe(self._stand_back(error))

    def _stand_back(self, error: Exception) -> CacheResult:
        self._outage.failed(error)
        self._circuit.trip()
        return CacheResult.FAILED
