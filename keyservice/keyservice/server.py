"""HTTP, version 1: each handler converts and delegates.

There is no authentication: who may connect to the socket may do everything. That is what
its group is for.
"""

from typing import Annotated, NamedTuple
from urllib.parse import unquote

from litestar import Litestar, delete, get, patch, put
from litestar.di import Provide
from litestar.enums import ScopeType
from litestar.openapi import OpenAPIConfig
from litestar.params import Parameter
from litestar.types import ASGIApp, Receive, Scope, Send

from keyservice.answers import Answers
from keyservice.enrolment import Enrolments
from keyservice.mailbox import Mailbox
from keyservice.operator_wire import (
    BODY_OCTETS_MAX,
    Enrolment,
    Explanation,
    MailboxPage,
    PolicyChange,
    PolicyView,
    Withdrawal,
)
from keyservice.overview import EXPIRING_MAX, PAGE_MAX, Overview
from keyservice.problems import EXCEPTION_HANDLERS
from keyservice.settings import MailboxSettings
from keyservice.wire import Answer

_MAILBOX = "/v1/mailboxes/{mailbox:str}"
_Days = Annotated[int | None, Parameter(ge=0, le=EXPIRING_MAX)]
_Limit = Annotated[int, Parameter(ge=1, le=PAGE_MAX)]


@get(_MAILBOX, sync_to_thread=True)
def lookup(answers: Answers, mailbox: str) -> Answer:
    """Say what mail to a mailbox may be encrypted to."""
    return answers.answer(_parse(mailbox))


@put(f"{_MAILBOX}/certificate", sync_to_thread=True)
def enrol(enrolments: Enrolments, mailbox: str, body: bytes) -> Enrolment:
    """Vet a certificate, armored or binary, and use it from now on."""
    return enrolments.enrol(_parse(mailbox), body)


@delete(f"{_MAILBOX}/certificate", status_code=200, sync_to_thread=True)
def withdraw(enrolments: Enrolments, mailbox: str) -> Withdrawal:
    """Stop using a certificate; mail is deferred from now on."""
    return enrolments.withdraw(_parse(mailbox))


@get("/v1/mailboxes", sync_to_thread=True)
def page(
    overview: Overview, after: str = "", limit: _Limit = PAGE_MAX, expiring: _Days = None
) -> MailboxPage:
    """List mailboxes that have or had a certificate, by address.

    `expiring`: only those whose certificate in use ends within so many days.
    """
    return overview.page(after, limit, expiring)


@get(f"{_MAILBOX}/explanation", sync_to_thread=True)
def explain(overview: Overview, mailbox: str) -> Explanation:
    """Tell everything that is known about a mailbox."""
    return overview.explain(_parse(mailbox))


@get(f"{_MAILBOX}/policy", sync_to_thread=True)
def show_policy(settings: MailboxSettings, mailbox: str) -> PolicyView:
    """Tell the policy of a mailbox and where each setting comes from."""
    return settings.show(_parse(mailbox))


@patch(f"{_MAILBOX}/policy", sync_to_thread=True)
def set_policy(settings: MailboxSettings, mailbox: str, data: PolicyChange) -> PolicyView:
    """Override the domain's settings for a mailbox; those not named stay as they are."""
    return settings.set(_parse(mailbox), data.settings)


@delete(f"{_MAILBOX}/policy/{{name:str}}", status_code=200, sync_to_thread=True)
def unset_policy(settings: MailboxSettings, mailbox: str, name: str) -> PolicyView:
    """Let the domain decide a setting again."""
    return settings.unset(_parse(mailbox), name)


@get("/health", sync_to_thread=True)
def health(overview: Overview) -> dict[str, str]:
    """Answer if the database can be read."""
    overview.require_readable()
    return {"status": "ok"}


class Parts(NamedTuple):
    """What the handlers delegate to; each is injected under its name."""

    answers: Answers
    enrolments: Enrolments
    settings: MailboxSettings
    overview: Overview


def application(parts: Parts) -> ASGIApp:
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
            "answers": Provide(lambda: parts.answers, sync_to_thread=False),
            "enrolments": Provide(lambda: parts.enrolments, sync_to_thread=False),
            "settings": Provide(lambda: parts.settings, sync_to_thread=False),
            "overview": Provide(lambda: parts.overview, sync_to_thread=False),
        },
        exception_handlers=EXCEPTION_HANDLERS,
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
