"""The server as the service manager knows it: ready, alive, told to begin anew."""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable

import uvicorn

from keyservice import service_manager, succession
from keyservice.errors import ConfigError

_SETTLE_SECONDS = 0.2
"""For connections that are being accepted."""

_REQUEST_SECONDS = 2.0
"""For requests that are still to arrive on one that was. Others wait meanwhile, 5 s at most."""

_LOOK_SECONDS = 0.05

log = logging.getLogger(__name__)


class Daemon(uvicorn.Server):
    """Serves until it is told to stop, or to begin anew."""

    def __init__(self, config: uvicorn.Config, require_well: Callable[[], object]) -> None:
        """`require_well` raises or hangs where a new start might help."""
        super().__init__(config)
        self._require_well = require_well
        self._watching: asyncio.Task[None] | None = None
        self.begins_anew = False
        """Whether it ended for the program to be started anew."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve on `sockets`."""
        await super().startup(sockets)
        log.info("serving")
        service_manager.tell("READY=1", "STATUS=serves")
        if (interval := service_manager.watchdog_seconds()) is not None:
            self._watching = asyncio.create_task(self._watch(interval))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what was asked, and no more."""
        if not self.begins_anew:
            service_manager.tell("STOPPING=1", "STATUS=answers what was asked")
        if self._watching is not None:
            self._watching.cancel()
        for server in self.servers:
            server.close()
        # uvicorn would close a connection whose request is still on its way.
        await asyncio.sleep(_SETTLE_SECONDS)
        await self._receive_requests()
        await super().shutdown(sockets)
        log.info("stopped")

    async def _receive_requests(self) -> None:
        until = time.monotonic() + _REQUEST_SECONDS
        while any(map(_has_not_asked, self.server_state.connections)) and time.monotonic() < until:
            await asyncio.sleep(_LOOK_SECONDS)

    def reload(self, *_signal: object) -> None:
        """End in order to begin anew, unless that would fail. A signal handler."""
        threading.Thread(target=self._reload, name="reload", daemon=True).start()

    def _reload(self) -> None:
        service_manager.tell_reloading()
        try:
            succession.require_heir()
        except ConfigError as error:
            log.error("reload_refused", extra={"detail": str(error)})  # noqa: TRY400 (our own text)
            service_manager.tell("READY=1")
            return
        self.begins_anew = True
        self.should_exit = True

    async def _watch(self, interval: float) -> None:
        is_well = True
        while True:
            try:
                await asyncio.to_thread(self._require_well)
            except Exception:
                # Once; what it costs is counted where it is asked.
                if is_well:
                    log.exception("unwell")
                is_well = False
            else:
                is_well = True
                service_manager.tell("WATCHDOG=1")
            await asyncio.sleep(interval)


def _has_not_asked(connection: object) -> bool:
    return getattr(connection, "cycle", None) is None
