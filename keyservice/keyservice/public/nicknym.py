"""Nicknym (LEAP): the certificate of an address, or with a fingerprint, as JSON.

Clients ask `https://nicknym.DOMAIN:6425/`, by GET or POST. Deviation: replies are not signed
(nor are the reference server's); what a client can trust is the TLS connection.
"""

from urllib.parse import parse_qs

import msgspec
from litestar import HttpMethod, Response, route
from litestar.exceptions import NotFoundException
from litestar.params import FromQuery, RawBody

from keyservice.public.hkp import by_number
from keyservice.public.minimise import armored
from keyservice.public.replies import FromStore, mailbox_in
from keyservice.published import Published, PublishedCertificate

_ONE_QUESTION = "one of address and fingerprint is needed"
_NOT_FOUND = "no certificate is published under this name"


class Question(msgspec.Struct, frozen=True):
    """What is asked for, as it was written; one of the two is empty."""

    address: str = ""
    fingerprint: str = ""

    @property
    def subject(self) -> dict[str, object]:
        """What the reply repeats."""
        if self.fingerprint:
            return {"fingerprint": self.fingerprint}
        return {"address": self.address}


_METHODS = (HttpMethod.GET, HttpMethod.POST)


@route("/", http_method=_METHODS, status_code=200, sync_to_thread=True)
def ask(
    published: FromStore,
    body: RawBody,
    address: FromQuery[str] = "",
    fingerprint: FromQuery[str] = "",
) -> Response[dict[str, object]]:
    """Answer a question in the query or, application/x-www-form-urlencoded, in the body."""
    form = parse_qs(body.decode("utf-8", "replace"))
    return _answer(
        published,
        Question(
            address or form.get("address", [""])[0], fingerprint or form.get("fingerprint", [""])[0]
        ),
    )


HANDLERS = (ask,)


def _answer(published: Published, question: Question) -> Response[dict[str, object]]:
    if bool(question.address) == bool(question.fingerprint):
        return _refusal(question, 400, _ONE_QUESTION)
    found = _find(published, question)
    if found is None:
        return _refusal(question, 404, _NOT_FOUND)
    return Response(question.subject | {"openpgp": armored([found.octets]).decode()})


def _find(published: Published, question: Question) -> PublishedCertificate | None:
    if question.fingerprint:
        number = question.fingerprint
        return by_number(published, number) if len(number) > 16 else None
    try:
        mailbox = mailbox_in(question.address)
    except NotFoundException:
        return None
    return next(iter(published.by_mailbox(mailbox)), None)


def _refusal(question: Question, status: int, message: str) -> Response[dict[str, object]]:
    content: dict[str, object] = question.subject | {"status": status, "message": message}
    return Response(content, status_code=status)
