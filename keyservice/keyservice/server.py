"""HTTP, version 1: each handler converts and delegates.

There is no authentication: who may connect to the socket may do everything. That is what
its group is for.
"""

import logging
from typing import Annotated, Any
from urllib.parse import unquote

from litestar import Litestar, Request, Response, delete, get, patch, put
from litestar.di import Provide
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import OpenAPIConfig
from litestar.params import Parameter
from litestar.types import ASGIApp, ExceptionHandlersMap, Receive, Scope, Send

from keyservice.certificate import RejectedCertificate
from keyservice.errors import KeyServiceError
from keyservice.mailbox import InvalidMailbox, Mailbox
from keyservice.operator_wire import (
    BODY_OCTETS_MAX,
    Enrolment,
    Explanation,
    MailboxPage,
    PolicyChange,
    PolicyView,
    Problem,
    Withdrawal,
)
from keyservice.overview import PAGE_MAX, Overview
from keyservice.service import KeyService
from keyservice.wire import Answer

_MAILBOX = "/v1/mailboxes/{mailbox:str}"
_Limit = Annotated[int, Parameter(ge=1, le=PAGE_MAX)]

log = logging.getLogger(__name__)


@get(_MAILBOX, sync_to_thread=True)
def lookup(service: KeyService, mailbox: str) -> Answer:
    """Say what mail to a mailbox may be encrypted to."""
    return service.answer(_parse(mailbox))


@put(f"{_MAILBOX}/certificate", sync_to_thread=True)
def enrol(service: KeyService, mailbox: str, body: bytes) -> Enrolment:
    """Vet a certificate, armored or binary, and use it from now on."""
    return service.enrol(_parse(mailbox), body)


@delete(f"{_MAILBOX}/certificate", status_code=200, sync_to_thread=True)
def withdraw(service: KeyService, mailbox: str) -> Withdrawal:
    """Stop using a certificate; mail is deferred from now on."""
    return service.withdraw(_parse(mailbox))


@get("/v1/mailboxes", sync_to_thread=True)
def page(overview: Overview, after: str = "", limit: _Limit = PAGE_MAX) -> MailboxPage:
    """List mailboxes that have or had a certificate, by address."""
    return overview.page(after, limit)


@get(f"{_MAILBOX}/explanation", sync_to_thread=True)
def explain(overview: Overview, mailbox: str) -> Explanation:
    """Tell everything that is known about a mailbox."""
    return overview.explain(_parse(mailbox))


@get(f"{_MAILBOX}/policy", sync_to_thread=True)
def show_policy(service: KeyService, mailbox: str) -> PolicyView:
    """Tell the policy of a mailbox and where each setting comes from."""
    return service.policy(_parse(mailbox))


@patch(f"{_MAILBOX}/policy", sync_to_thread=True)
def set_policy(service: KeyService, mailbox: str, data: PolicyChange) -> PolicyView:
    """Override the domain's settings for a mailbox; those not named stay as they are."""
    return service.set_policy(_parse(mailbox), data.settings)


@delete(f"{_MAILBOX}/policy/{{name:str}}", status_code=200, sync_to_thread=True)
def unset_policy(service: KeyService, mailbox: str, name: str) -> PolicyView:
    """Let the domain decide a setting again."""
    return service.unset_policy(_parse(mailbox), name)


@get("/health", sync_to_thread=True)
def health(overview: Overview) -> dict[str, str]:
    """Answer if the database can be read."""
    overview.states()
    return {"status": "ok"}


def application(service: KeyService, overview: Overview) -> ASGIApp:
    """Return the ASGI application."""
    app = Litestar(
        route_handlers=[
            lookup,
            enrol,
            withdraw,
            page,
            explain,
            show_policy,
            set_policy,
            unset_policy,
            health,
        ],
        dependencies={
            "service": Provide(lambda: service, sync_to_thread=False),
            "overview": Provide(lambda: overview, sync_to_thread=False),
        },
        exception_handlers=_EXCEPTION_HANDLERS,
        request_max_body_size=BODY_OCTETS_MAX,
        openapi_config=OpenAPIConfig(title="Letterlock key service", version="1"),
        logging_config=None,
    )

    async def undecoded(scope: Scope, receive: Receive, send: Send) -> None:
        # A local part may hold a slash (RFC 5322 §3.2.3). Routes are matched on the path as
        # it was sent, where that is %2F; `_parse` decodes afterwards.
        if scope["type"] == ScopeType.HTTP:
            scope["path"] = scope["raw_path"].decode("ascii", "replace")
        await app(scope, receive, send)

    return undecoded


def _parse(mailbox: str) -> Mailbox:
    return Mailbox.parse(unquote(mailbox, errors="strict"))


def _problem(status: int, error: str, reason: str) -> Response[Problem]:
    return Response(Problem(error=error, reason=reason), status_code=status)


def _on_invalid_mailbox(_: Request[Any, Any, Any], error: InvalidMailbox) -> Response[Problem]:
    return _problem(400, "invalid_mailbox", str(error))


def _on_rejected(_: Request[Any, Any, Any], error: RejectedCertificate) -> Response[Problem]:
    return _problem(422, error.refusal.reason.value, error.refusal.detail)


def _on_refused(_: Request[Any, Any, Any], error: KeyServiceError) -> Response[Problem]:
    return _problem(error.status, error.error, str(error))


def _on_http(_: Request[Any, Any, Any], error: HTTPException) -> Response[Problem]:
    names = {404: "no_such_path", 405: "no_such_method", 413: "too_large"}
    reason = error.detail
    if isinstance(error, ValidationException) and isinstance(error.extra, list):
        reason = "; ".join(str(extra.get("message", "")) for extra in error.extra) or reason
    return _problem(error.status_code, names.get(error.status_code, "bad_request"), reason)


def _on_exception(_: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    # Its text is not ours and may hold what must not be seen; see `log.JSONFormatter`.
    log.error("failed", exc_info=error)
    return _problem(500, "internal", "the key service failed; its log says where")


_EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    InvalidMailbox: _on_invalid_mailbox,
    UnicodeDecodeError: lambda _request, _error: _problem(400, "invalid_mailbox", "not UTF-8"),
    RejectedCertificate: _on_rejected,
    KeyServiceError: _on_refused,
    HTTPException: _on_http,
    Exception: _on_exception,
}
