"""Answers Postfix' lookups (socketmap_table(5)), from a thread of its own.

Postfix keeps connections open. Nothing is remembered between two requests: each is answered
from the database of the moment.
"""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Self

from keyservice.netstring import Decoder, NotNetstring, encode

REQUEST_OCTETS_MAX = 1_024
_CONNECTIONS_MAX = 512
"""Each smtpd keeps one for each map."""

_BACKLOG = 512
"""A unix socket whose queue is full refuses at once, and Postfix does not try again."""

_IDLE_SECONDS = 300.0
"""Postfix itself ends a connection after 100."""

_LOOKUP_SECONDS = 5.0
_THREADS = 4
_CHUNK = 4_096

log = logging.getLogger(__name__)

Lookup = Callable[[str], str | None]
"""Returns what is found under a key. Raises BadKey; whatever else it raises is a defer."""


class BadKey(ValueError):
    """The map never holds such keys: Postfix is not configured as it must be. The text says how."""


class Status(Enum):
    """The first word of a reply."""

    OK = "OK"
    NOTFOUND = "NOTFOUND"
    TEMP = "TEMP"
    """Postfix defers."""

    PERM = "PERM"
    """Postfix defers, too, and complains in its log."""


class SocketmapListener:
    """Serves maps by their names, for as long as the `with` block lasts."""

    def __init__(
        self,
        maps: Mapping[str, Lookup],
        sockets: list[socket.socket],
        observe: Callable[[Status], None] = lambda _status: None,
        connections_max: int = _CONNECTIONS_MAX,
    ) -> None:
        """Serve on `sockets`, which are bound already; `observe` each reply."""
        self._maps = maps
        self._sockets = sockets
        self._observe = observe
        self._connections_max = connections_max
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="socketmap")
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._started = threading.Event()
        self._is_serving = False
        self._connections: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="socketmap", daemon=True)

    def __enter__(self) -> Self:
        """Return when it answers. Raises RuntimeError if it cannot."""
        self._thread.start()
        self._started.wait()
        if not self._is_serving:
            raise RuntimeError("the socketmap listener did not start")
        return self

    def __exit__(self, *_: object) -> None:
        """Close all connections; Postfix makes new ones."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._pool.shutdown()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve())
        finally:
            self._started.set()

    async def _serve(self) -> None:
        servers = [await self._listening(each) for each in self._sockets]
        self._is_serving = True
        self._started.set()
        await self._stopping.wait()
        for server in servers:
            server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _listening(self, listener: socket.socket) -> asyncio.Server:
        if listener.family == socket.AF_UNIX:
            return await asyncio.start_unix_server(self._connected, sock=listener, backlog=_BACKLOG)
        return await asyncio.start_server(self._connected, sock=listener, backlog=_BACKLOG)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= self._connections_max:
            log.warning("socketmap_full")
            writer.close()
            return
        self._connections.add(task)
        try:
            await self._converse(reader, writer)
        except (NotNetstring, TimeoutError, ConnectionError):
            pass  # there is nothing to say that the other side would understand
        finally:
            self._connections.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests = Decoder(REQUEST_OCTETS_MAX)
        while octets := await asyncio.wait_for(reader.read(_CHUNK), _IDLE_SECONDS):
            for request in requests.feed(octets):
                status, text = await self._reply(request)
                self._observe(status)
                writer.write(encode(f"{status.value} {text}".encode()))
                # Who asks on and on and reads nothing is left.
                await asyncio.wait_for(writer.drain(), _IDLE_SECONDS)

    async def _reply(self, request: bytes) -> tuple[Status, str]:
        name, _, key = request.decode("utf-8", "replace").partition(" ")
        lookup = self._maps.get(name)
        if lookup is None:
            return Status.PERM, "there is no such map"
        found = self._loop.run_in_executor(self._pool, lookup, key)
        try:
            text = await asyncio.wait_for(found, _LOOKUP_SECONDS)
        except BadKey as error:
            return Status.PERM, str(error)
        except TimeoutError:
            log.warning("socketmap_slow", extra={"map": name})
            return Status.TEMP, "the database takes too long"
        except Exception:  # whatever happened, nobody is told OK or NOTFOUND by it
            log.exception("socketmap_failed", extra={"map": name})
            return Status.TEMP, "the database cannot be read"
        return (Status.NOTFOUND, "") if text is None else (Status.OK, text)
