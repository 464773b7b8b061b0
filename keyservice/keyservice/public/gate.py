"""What every public request passes first: who asks and how often; and what every reply gets.

An ASGI application around another one. Nothing here is logged: paths hold addresses.
"""

from typing import cast

import msgspec
from anyio import to_thread
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from keyservice.operator_wire import Problem
from keyservice.public.limits import Limits
from keyservice.public.results import Observe, protocol_of, result_of

_EVERYWHERE = [
    # Web mailers ask from pages of their own; what is here is public anyway.
    (b"access-control-allow-origin", b"*"),
    (b"x-content-type-options", b"nosniff"),
    # What is withdrawn is gone at once; and who asked for whom is no cache's business.
    (b"cache-control", b"no-store"),
]
_TOO_MANY = msgspec.json.encode(
    Problem(error="too_many_requests", reason="ask again after as many seconds as Retry-After says")
)


class Gate:
    """Counts, limits, and lets through.

    `address_header` names the header field in which the operator's reverse proxy gives the
    client's address, "" if there is none. Of several addresses the last one counts: the
    others are what the client claims. Whoever reaches the listener can write the field, so
    only the proxy may.
    """

    def __init__(
        self, app: ASGIApp, limits: Limits, observe: Observe, address_header: str = ""
    ) -> None:
        """Stand before `app`."""
        self._app = app
        self._limits = limits
        self._observe = observe
        self._address_header = address_header.lower().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != ScopeType.HTTP:
            return
        path = scope["raw_path"].decode("ascii", "replace")
        wait = await to_thread.run_sync(self._limits.wait, self._client_address(scope))
        is_head = scope["method"] == "HEAD"

        async def reply(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_EVERYWHERE]
                if not path.endswith("/policy"):
                    self._observe(protocol_of(path), result_of(message["status"]))
            elif message["type"] == "http.response.body" and is_head:
                message["body"] = b""
            await send(message)

        if wait:
            await _refuse(reply, wait)
            return
        # HEAD is answered as GET is (RFC 9110 §9.3.2), its body dropped above. Routes are
        # matched on the path as it was sent: a local part may hold a slash, there %2F.
        inner = {**scope, "path": path, "method": "GET" if is_head else scope["method"]}
        await self._app(cast(HTTPScope, inner), receive, reply)

    def _client_address(self, scope: HTTPScope) -> str:
        if self._address_header:
            given = [v for name, v in scope["headers"] if name == self._address_header]
            if given:
                return given[-1].decode("ascii", "replace").rpartition(",")[2].strip()
        client = scope["client"]
        return client[0] if client else ""


async def _refuse(reply: Send, wait: int) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(_TOO_MANY)).encode()),
        (b"retry-after", str(wait).encode()),
    ]
    await reply({"type": "http.response.start", "status": 429, "headers": headers})
    await reply({"type": "http.response.body", "body": _TOO_MANY, "more_body": False})
