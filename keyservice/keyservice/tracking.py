"""Listens to Redis for changes, so that answers can be held in this process.

Redis pushes the names of records that were written, removed or expired (`CLIENT TRACKING ON
BCAST`, RESP3) on a connection that serves for nothing else. What is held is believed only on a
lease: a PING that is answered proves that every change before it was sent has been heard, and
renews the lease. A connection that breaks ends it at once; one that went dead without a word
ends it after `STALENESS_MAX` seconds, even if the thread that listens never ran again.

Of a cluster every master is listened to, and each must say with every beat that the slots are
where they were: what one of them would tell that is not listened to, counts as told by none.

A Redis that keeps changes to itself makes an answer last until it expires (`LIFETIME_MAX`), as
it can without this module, too.
"""

import contextlib
import logging
import selectors
import threading
import time
from typing import Any

import redis

from keyservice.held import HeldAnswers
from keyservice.record import RECORD_PREFIX
from keyservice.redis_cluster import Topology, topology
from keyservice.redis_servers import Servers

HEARTBEAT = 1.0
"""Seconds from one PING to the next."""

PATIENCE = 1.0
"""Seconds for a reply, and for connecting."""

STALENESS_MAX = HEARTBEAT + PATIENCE
"""Seconds. A change that Redis was told of goes unnoticed for no longer."""

_PAUSE_MIN = 0.1
_PAUSE_MAX = 5.0
"""Seconds until Redis is tried again, twice as long each time."""

# The last three are what redis-py makes of octets that are no RESP.
_FAILURES = (redis.RedisError, OSError, ValueError, TypeError, LookupError)

_OPTIONS = {"protocol": 3, "socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE}

log = logging.getLogger(__name__)

_Connection = Any
"""`redis.Connection`, whose methods redis-py left untyped."""


class _Changed:
    """A push: names of records, or None for all."""

    def __init__(self, push: list[list[bytes] | None]) -> None:
        self.names = push[1]


class Tracking:
    """A thread that keeps a HeldAnswers truthful. Any thread may call it."""

    def __init__(self, url: str, held: HeldAnswers) -> None:
        """Do nothing yet. Raises ValueError if `url` makes no sense."""
        self.held = held
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._pause = 0.0
        self._servers = Servers.parse(url)

    def start(self) -> None:
        """Listen, if that was not begun before. Not before a fork, which no thread survives."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="tracking", daemon=True)
                # A host that is short of threads has no memory for answers either.
                with contextlib.suppress(RuntimeError):
                    thread.start()
                self._thread = thread

    def stop(self) -> None:
        """Stop listening, within `HEARTBEAT` seconds or so."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self._pause):
            connections: list[_Connection] = []
            try:
                connections, slots = self._servers.connections(_OPTIONS)
                self._listen(connections, slots)
            except _FAILURES as error:
                self._note(error)
            finally:
                self.held.lose()
                for connection in connections:
                    connection.disconnect()

    def _listen(self, connections: list[_Connection], slots: Topology) -> None:
        """Return when stopped; raises one of _FAILURES if Redis is not as it should be."""
        for connection in connections:
            self._track(connection)
        with selectors.DefaultSelector() as readable:
            for connection in connections:
                readable.register(connection._sock, selectors.EVENT_READ, connection)
            while not self._stopped.is_set():
                sent = time.monotonic()
                self._beat(connections, slots)
                self.held.renew(sent + STALENESS_MAX)
                self._pause = 0.0
                while (left := sent + HEARTBEAT - time.monotonic()) > 0:
                    for key, _ in readable.select(left):
                        # What is in its buffer, the selector does not see.
                        while key.data.can_read(0):
                            self._hear(key.data.read_response(push_request=True))

    def _beat(self, connections: list[_Connection], slots: Topology) -> None:
        """Return when each server has told all that it had to; they must be those that count."""
        for connection in connections:
            connection.send_command(*("CLUSTER", "SLOTS") if slots else ("PING",))
        for connection in connections:
            reply = self._await(connection)
            if slots and topology(reply, connection.host) != slots:
                raise redis.ConnectionError("the cluster has changed")
            if not slots and reply != b"PONG":
                raise redis.ConnectionError("a reply that nobody asked for")

    def _track(self, connection: _Connection) -> None:
        connection.connect()
        # Options in the URL win over ours; with RESP2, Redis would say OK and push nothing.
        if connection.get_protocol() != 3:
            raise redis.ConnectionError("not RESP3")
        # redis-py has no public way to see these pushes; its own cache does the same.
        connection._parser.set_invalidation_push_handler(_Changed)
        connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", RECORD_PREFIX)
        if self._await(connection) != b"OK":
            raise redis.ConnectionError("it does not track")

    def _await(self, connection: _Connection) -> object:
        until = time.monotonic() + PATIENCE
        while isinstance(reply := connection.read_response(push_request=True), _Changed):
            self._hear(reply)
            if time.monotonic() > until:
                raise redis.TimeoutError("no reply, only pushes")
        return reply

    def _hear(self, reply: object) -> None:
        if not isinstance(reply, _Changed):
            raise redis.ConnectionError("a reply that nobody asked for")
        self.held.forget(reply.names)

    def _note(self, error: Exception) -> None:
        # Once for each outage. Not the text of the error, which may be Redis' own.
        if not self._pause:
            log.warning("tracking_lost", extra={"exception": type(error).__name__})
        self._pause = min(max(2 * self._pause, _PAUSE_MIN), _PAUSE_MAX)
