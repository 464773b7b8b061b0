"""The operator's side of the HTTP interface: enrol, withdraw, list, explain, policy."""

from collections.abc import Iterator, Mapping
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec

from keyservice.client_certificate_client import ClientCertificateCalls
from keyservice.mailbox import Mailbox
from keyservice.operator_wire import (
    BODY_OCTETS_MAX,
    EnrolledMailbox,
    Enrolment,
    Explanation,
    MailboxPage,
    PolicyView,
    Problem,
    Withdrawal,
)
from keyservice.transport import Endpoint, NotPermitted, TransportError, exchange

_DEADLINE = 30.0
"""Seconds. A person waits; vetting may have to start a process first."""

_Record = TypeVar("_Record", bound=msgspec.Struct)


class ServiceUnavailable(Exception):
    """The key service did not answer; nothing is known to have changed."""


class ServiceForbidden(ServiceUnavailable):
    """The key service's socket is not for this account."""


class ServiceRefused(Exception):
    """The key service answered no; `error` is from its closed set, `reason` one sentence."""

    def __init__(self, error: str, reason: str) -> None:
        """Keep both parts."""
        super().__init__(reason)
        self.error = error
        self.reason = reason


class OperatorClient:
    """Commands to the key service. Each raises ServiceUnavailable or ServiceRefused."""

    def __init__(self, service: str) -> None:
        """Use the key service at `service`. Raises ValueError if that is malformed."""
        self._endpoint = Endpoint.parse(service)

    @property
    def client_certificates(self) -> ClientCertificateCalls:
        """What there is to ask about client certificates."""
        return ClientCertificateCalls(self._call)

    def enrol(
        self, mailbox: Mailbox, certificate: bytes, confirmed: str | None = None
    ) -> Enrolment:
        """Have `certificate` (armored or binary) vetted and used for `mailbox`.

        One that replaces another may have to wait, unless `confirmed` is its fingerprint, as
        its owner says.
        """
        if len(certificate) > BODY_OCTETS_MAX:
            raise ServiceRefused("too_large", f"more than {BODY_OCTETS_MAX} octets")
        query = f"?{urlencode({'confirmed': confirmed})}" if confirmed else ""
        return self._call("PUT", f"{_path(mailbox)}/certificate{query}", Enrolment, certificate)

    def withdraw(self, mailbox: Mailbox) -> Withdrawal:
        """Stop using the certificate of `mailbox`."""
        return self._call("DELETE", f"{_path(mailbox)}/certificate", Withdrawal)

    def mailboxes(self, expiring: int | None = None) -> Iterator[EnrolledMailbox]:
        """Yield every mailbox that has or had a certificate, in the order of addresses.

        Only those whose certificate in use ends within `expiring` days, if that is given.
        """
        only = {} if expiring is None else {"expiring": str(expiring)}
        after: str | None = ""
        while after is not None:
            query = urlencode({"after": after} | only)
            page = self._call("GET", f"/v1/mailboxes?{query}", MailboxPage)
            yield from page.mailboxes
            after = page.next

    def explain(self, mailbox: Mailbox) -> Explanation:
        """Return everything that is known about `mailbox`."""
        return self._call("GET", f"{_path(mailbox)}/explanation", Explanation)

    def policy(self, mailbox: Mailbox) -> PolicyView:
        """Return the policy of `mailbox`."""
        return self._call("GET", f"{_path(mailbox)}/policy", PolicyView)

    def set_policy(self, mailbox: Mailbox, settings: Mapping[str, object]) -> PolicyView:
        """Let `settings` override the domain's policy for `mailbox`; others stay as they are."""
        body = msgspec.json.encode(settings)
        return self._call("PATCH", f"{_path(mailbox)}/policy", PolicyView, body)

    def unset_policy(self, mailbox: Mailbox, name: str) -> PolicyView:
        """Let the domain decide setting `name` again."""
        return self._call("DELETE", f"{_path(mailbox)}/policy/{quote(name, safe='')}", PolicyView)

    def _call(
        self, method: str, target: str, reply_type: type[_Record], body: bytes = b""
    ) -> _Record:
        try:
            reply = exchange(self._endpoint, method, target, body, deadline=_DEADLINE)
            if reply.status in (200, 201):
                return msgspec.json.decode(reply.body, type=reply_type)
            problem = msgspec.json.decode(reply.body, type=Problem)
        except NotPermitted as error:
            raise ServiceForbidden(str(error)) from None
        except TransportError as error:
            raise ServiceUnavailable(str(error)) from None
        except msgspec.MsgspecError:
            raise ServiceUnavailable("reply not understood") from None
        raise ServiceRefused(problem.error, problem.reason)


def _path(mailbox: Mailbox) -> str:
    return f"/v1/mailboxes/{quote(mailbox.key, safe='@')}"
