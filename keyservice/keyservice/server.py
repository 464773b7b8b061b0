"""HTTP, version 1: each handler converts and delegates.

There is no authentication: who may connect to the socket may do everything. That is what
its group is for.
"""

from dataclasses import dataclass
from typing import Annotated, NamedTuple
from urllib.parse import unquote

from litestar import Litestar, delete, get, patch, post, put
from litestar.di import Provide
from litestar.enums import ScopeType
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from litestar.params import Parameter
from litestar.types import ASGIApp, Receive, Scope, Send

from keyservice.answers import Answers
from keyservice.client_ca import routes as client_ca
from keyservice.client_ca.authorities import Authorities
from keyservice.client_ca.certificates import ClientCertificates
from keyservice.discovery import Discovery
from keyservice.enrolment import Enrolments
from keyservice.mailbox import Mailbox
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
from keyservice.overview import EXPIRING_MAX, PAGE_MAX, Overview
from keyservice.peer_wire import PeerAnswer, Use
from keyservice.peers import Peers
from keyservice.problems import EXCEPTION_HANDLERS
from keyservice.report_wire import REPORT_OCTETS_MAX, Report, Reported
from keyservice.reports import Reports
from keyservice.sender_wire import Sender, Submitted, Taken
from keyservice.senders import Senders
from keyservice.settings import MailboxSettings
from keyservice.submissions import Submissions
from keyservice.wire import Answer

_MAILBOX = "/v1/mailboxes/{mailbox:str}"
_PEER = "/v1/peers/{mailbox:str}"
_SENDER = "/v1/senders/{mailbox:str}"
_Days = Annotated[int | None, Parameter(ge=1, le=EXPIRING_MAX)]
_Fingerprint = Annotated[str | None, Parameter(pattern="^([0-9a-f]{40}|[0-9a-f]{64})$")]
_Limit = Annotated[int, Parameter(ge=1, le=PAGE_MAX)]


@get(_MAILBOX, sync_to_thread=True)
def lookup(answers: Answers, mailbox: str) -> Answer:
    """Say what mail to a mailbox may be encrypted to."""
    return answers.answer(_parse(mailbox))


@dataclass
class _TakesCertificate(Operation):
    """The octets are read as they are; Litestar does not document such a body."""

    def __post_init__(self) -> None:
        octets = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
        content = {"application/octet-stream": OpenAPIMediaType(schema=octets)}
        self.request_body = RequestBody(content=content, required=True)


@put(f"{_MAILBOX}/certificate", operation_class=_TakesCertificate, sync_to_thread=True)
def enrol(
    enrolments: Enrolments, mailbox: str, body: bytes, confirmed: _Fingerprint = None
) -> Enrolment:
    """Vet a certificate, armored or binary, and use it: a first one from now on.

    `confirmed`: its fingerprint, as its owner says; then it need not wait to replace another.
    """
    return enrolments.enrol(_parse(mailbox), body, confirmed)


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


@get(_PEER)
async def peer(peers: Peers, mailbox: str) -> PeerAnswer:
    """Say what mail to a mailbox of somebody else may be encrypted to."""
    return await peers.answer(_parse(mailbox))


@post(f"{_PEER}/discover", status_code=200)
async def discover(peers: Peers, mailbox: str) -> PeerAnswer:
    """Ask others about it now, whatever is stored."""
    return await peers.discover(_parse(mailbox))


@post(f"{_PEER}/used", status_code=200)
async def use(peers: Peers, mailbox: str, data: Use) -> PeerAnswer:
    """Note what was done with the certificate that is registered for it."""
    return await peers.use(_parse(mailbox), data)


@post(
    "/v1/sightings",
    status_code=200,
    request_max_body_size=REPORT_OCTETS_MAX,
    sync_to_thread=True,
)
def report(reports: Reports, data: Report) -> Reported:
    """Note what a message that came in is evidence of."""
    return reports.take(data)


@get(_SENDER, sync_to_thread=True)
def sender(senders: Senders, mailbox: str) -> Sender:
    """Say what mail from a mailbox is treated by."""
    return senders.sender(_parse(mailbox))


@post(
    f"{_SENDER}/autocrypt",
    status_code=200,
    request_max_body_size=REPORT_OCTETS_MAX,
    sync_to_thread=True,
)
def submitted(submissions: Submissions, mailbox: str, data: Submitted) -> Taken:
    """Note what the mail program of a mailbox's owner, authenticated, says of its certificate."""
    return submissions.take(_parse(mailbox), data)


@get("/health", sync_to_thread=True)
def health(overview: Overview) -> dict[str, str]:
    """Answer if the database can be read."""
    overview.require_readable()
    return {"status": "ok"}


_PROBLEMS = {
    status: ResponseSpec(Problem, generate_examples=False, description=description)
    for status, description in {
        400: "The request makes no sense",
        404: "There is nothing of this name",
        413: "The body is too large",
        422: "Understood, and refused",
        500: "The key service failed",
        503: "Understood, and not possible at the moment",
    }.items()
}
"""Litestar would document errors of its own making instead."""


class Parts(NamedTuple):
    """What the handlers delegate to; each is injected under its name."""

    answers: Answers
    enrolments: Enrolments
    settings: MailboxSettings
    overview: Overview
    peers: Peers
    reports: Reports
    senders: Senders
    submissions: Submissions
    discovery: Discovery
    client_certificates: ClientCertificates
    client_cas: Authorities


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
            peer,
            discover,
            use,
            report,
            sender,
            submitted,
            health,
            *client_ca.HANDLERS,
        ],
        dependencies={
            "answers": Provide(lambda: parts.answers, sync_to_thread=False),
            "enrolments": Provide(lambda: parts.enrolments, sync_to_thread=False),
            "settings": Provide(lambda: parts.settings, sync_to_thread=False),
            "overview": Provide(lambda: parts.overview, sync_to_thread=False),
            "peers": Provide(lambda: parts.peers, sync_to_thread=False),
            "reports": Provide(lambda: parts.reports, sync_to_thread=False),
            "senders": Provide(lambda: parts.senders, sync_to_thread=False),
            "submissions": Provide(lambda: parts.submissions, sync_to_thread=False),
            "client_certificates": Provide(lambda: parts.client_certificates, sync_to_thread=False),
            "client_cas": Provide(lambda: parts.client_cas, sync_to_thread=False),
        },
        lifespan=[parts.discovery.proving],
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=BODY_OCTETS_MAX,
        openapi_config=OpenAPIConfig(title="Letterlock key service", version="1"),
        logging_config=None,
    )

    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            handler.responses = {**_PROBLEMS, **(handler.responses or {})}

    async def undecoded(scope: Scope, receive: Receive, send: Send) -> None:
        # A local part may hold a slash (RFC 5322 §3.2.3). Routes are matched on the path as
        # it was sent, where that is %2F; `_parse` decodes afterwards.
        if scope["type"] == ScopeType.HTTP:
            scope["path"] = scope["raw_path"].decode("ascii", "replace")
        await app(scope, receive, send)

    return undecoded


def _parse(mailbox: str) -> Mailbox:
    return Mailbox.parse(unquote(mailbox, errors="strict"))
