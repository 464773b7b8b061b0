"""The operator's side of the interface for client certificates."""

from collections.abc import Iterator
from typing import Protocol, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from keyservice.client_certificate_wire import (
    ClientCAs,
    ClientCertificate,
    ClientCertificatePage,
    ClientCertificateRequest,
    IssuedClientCertificate,
    RevokedClientCertificates,
)
from keyservice.mailbox import Mailbox

_ISSUED = "/v1/client-certificates"
_AUTHORITIES = "/v1/client-cas"

_Record = TypeVar("_Record", bound=msgspec.Struct)


class Call(Protocol):
    """Asks the key service; see `OperatorClient`."""

    def __call__(
        self, method: str, target: str, reply_type: type[_Record], body: bytes = b""
    ) -> _Record:
        """Return the reply. Raises ServiceUnavailable or ServiceRefused."""


class ClientCertificateCalls:
    """Each raises ServiceUnavailable or ServiceRefused."""

    def __init__(self, call: Call) -> None:
        """Ask by `call`."""
        self._call = call

    def issue(self, mailbox: Mailbox, wanted: ClientCertificateRequest) -> IssuedClientCertificate:
        """Have a certificate for `mailbox` issued."""
        target = f"/v1/mailboxes/{quote(mailbox.key, safe='@')}/client-certificates"
        return self._call("POST", target, IssuedClientCertificate, msgspec.json.encode(wanted))

    def renew(self, fingerprint: str) -> IssuedClientCertificate:
        """Have a certificate for the same mailbox and key issued."""
        return self._call("POST", f"{_ISSUED}/{fingerprint}/renewal", IssuedClientCertificate)

    def revoke(self, fingerprint: str) -> RevokedClientCertificates:
        """End a certificate for good, and all others for the same key."""
        return self._call("DELETE", f"{_ISSUED}/{fingerprint}", RevokedClientCertificates)

    def listed(
        self, mailbox: Mailbox | None = None, expiring: int | None = None
    ) -> Iterator[ClientCertificate]:
        """Yield all certificates, those of `mailbox`, or those that end within `expiring` days."""
        only = {} if mailbox is None else {"mailbox": mailbox.key}
        only |= {} if expiring is None else {"expiring": str(expiring)}
        after: str | None = ""
        while after is not None:
            query = urlencode({"after": after} | only)
            page = self._call("GET", f"{_ISSUED}?{query}", ClientCertificatePage)
            yield from page.certificates
            after = page.next

    def authorities(self) -> ClientCAs:
        """Return the authorities."""
        return self._call("GET", _AUTHORITIES, ClientCAs)

    def create_authority(self) -> ClientCAs:
        """Have another authority made, which issues from now on."""
        return self._call("POST", _AUTHORITIES, ClientCAs)

    def retire_authority(self, name: str) -> ClientCAs:
        """End an authority and all that it issued."""
        return self._call("DELETE", f"{_AUTHORITIES}/{quote(name, safe='')}", ClientCAs)
