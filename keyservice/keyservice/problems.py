"""Errors as replies: typed JSON, and no text that we did not write."""

import logging
from collections.abc import Mapping
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import ExceptionHandlersMap

from keyservice.certificate import RejectedCertificate
from keyservice.errors import KeyServiceError
from keyservice.failures import in_words, is_outage
from keyservice.mailbox import InvalidMailbox
from keyservice.operator_wire import Problem

log = logging.getLogger(__name__)


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
        reason = "; ".join(map(_what_is_wrong, error.extra)) or reason
    return _problem(error.status_code, names.get(error.status_code, "bad_request"), reason)


def _what_is_wrong(extra: Mapping[str, object]) -> str:
    message, key = str(extra.get("message", "")), extra.get("key")
    return f"{key}: {message}" if key else message


def _on_exception(_: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    # Its text is not ours and may hold what must not be seen; see `log.JSONFormatter`.
    log.error("failed", exc_info=error)
    words = in_words(error)
    if is_outage(error):
        return _problem(503, "database_unavailable", words or "the database cannot be used")
    return _problem(500, "internal", words or "the key service failed; its log says where")


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    InvalidMailbox: _on_invalid_mailbox,
    UnicodeDecodeError: lambda _request, _error: _problem(400, "invalid_mailbox", "not UTF-8"),
    # JSON that is nested without end.
    RecursionError: lambda _request, _error: _problem(400, "bad_request", "nested too deeply"),
    RejectedCertificate: _on_rejected,
    KeyServiceError: _on_refused,
    HTTPException: _on_http,
    Exception: _on_exception,
}
