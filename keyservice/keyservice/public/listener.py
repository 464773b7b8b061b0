"""The public application and the thread that serves it, apart from the internal one.

It speaks plain HTTP on sockets of its own. TLS is the business of the operator's reverse
proxy, and so is keeping slow clients away.
"""

import socket
import threading
import time
from typing import Self

import uvicorn
from litestar import Litestar
from litestar.di import Provide
from litestar.types import ASGIApp

from keyservice.problems import EXCEPTION_HANDLERS
from keyservice.public import hkp, nicknym, vks, wkd
from keyservice.public.gate import Gate
from keyservice.public.limits import Limits
from keyservice.public.results import Observe
from keyservice.published import Published

_BODY_OCTETS_MAX = 4_096
_CONNECTIONS_MAX = 256
_START_SECONDS = 15.0


def public_application(
    published: Published, limits: Limits, observe: Observe, address_header: str = ""
) -> ASGIApp:
    """Return the ASGI application; see `Gate` for `address_header`."""
    app = Litestar(
        route_handlers=[*wkd.HANDLERS, *hkp.HANDLERS, *vks.HANDLERS, *nicknym.HANDLERS],
        dependencies={"published": Provide(lambda: published, sync_to_thread=False)},
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=_BODY_OCTETS_MAX,
        openapi_config=None,
        logging_config=None,
    )
    return Gate(app, limits, observe, address_header)


class PublicListener:
    """Serves an application from a thread, for as long as the `with` block lasts."""

    def __init__(self, application: ASGIApp, sockets: list[socket.socket]) -> None:
        """Serve on `sockets`, which are bound already."""
        self._sockets = sockets
        for each in sockets:
            if each.family != socket.AF_UNIX:
                # asyncio does so for sockets that say they are TCP; made without a protocol
                # number they do not, and each reply waits 40 ms for an acknowledgement.
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server = uvicorn.Server(
            uvicorn.Config(
                application,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                # uvicorn would believe X-Forwarded-For from loopback; see `Gate`.
                proxy_headers=False,
                limit_concurrency=_CONNECTIONS_MAX,
                timeout_graceful_shutdown=5,
            )
        )
        self._thread = threading.Thread(target=self._run, name="public", daemon=True)

    def __enter__(self) -> Self:
        """Return when it answers. Raises RuntimeError if it does not."""
        self._thread.start()
        until = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > until:
                raise RuntimeError("the public listener did not start")
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        """Return when the requests in hand are answered."""
        self._server.should_exit = True
        self._thread.join()

    def _run(self) -> None:
        self._server.run(sockets=self._sockets)
