"""HTTP: client certificates and their authorities; each handler converts and delegates."""

from typing import Annotated
from urllib.parse import unquote

from litestar import delete, get, post
from litestar.params import Parameter

from keyservice.client_ca.authorities import Authorities
from keyservice.client_ca.certificates import ClientCertificates
from keyservice.client_certificate_wire import (
    ClientCAs,
    ClientCertificatePage,
    ClientCertificateRequest,
    IssuedClientCertificate,
    RevokedClientCertificates,
)
from keyservice.mailbox import Mailbox
from keyservice.overview import EXPIRING_MAX, PAGE_MAX

_ISSUED = "/v1/client-certificates"
_AUTHORITIES = "/v1/client-cas"
_Limit = Annotated[int, Parameter(ge=1, le=PAGE_MAX)]
_Days = Annotated[int | None, Parameter(ge=1, le=EXPIRING_MAX)]


@post("/v1/mailboxes/{mailbox:str}/client-certificates", sync_to_thread=True)
def issue(
    client_certificates: ClientCertificates, mailbox: str, data: ClientCertificateRequest
) -> IssuedClientCertificate:
    """Issue a client certificate for a mailbox."""
    return client_certificates.issue(_parse(mailbox), data)


@get(_ISSUED, sync_to_thread=True)
def page(
    client_certificates: ClientCertificates,
    after: str = "",
    limit: _Limit = PAGE_MAX,
    mailbox: str | None = None,
    expiring: _Days = None,
) -> ClientCertificatePage:
    """List client certificates: all, those of a mailbox, or those that end within so many days."""
    wanted = None if mailbox is None else Mailbox.parse(mailbox)
    return client_certificates.page(after, limit, wanted, expiring)


@post(f"{_ISSUED}/{{fingerprint:str}}/renewal", sync_to_thread=True)
def renew(client_certificates: ClientCertificates, fingerprint: str) -> IssuedClientCertificate:
    """Issue a certificate for the same mailbox and key; the old one stays as it is."""
    return client_certificates.renew(fingerprint)


@delete(f"{_ISSUED}/{{fingerprint:str}}", status_code=200, sync_to_thread=True)
def revoke(client_certificates: ClientCertificates, fingerprint: str) -> RevokedClientCertificates:
    """End a client certificate and all others for its key, at once and for good."""
    return client_certificates.revoke(fingerprint)


@get(_AUTHORITIES, sync_to_thread=True)
def list_authorities(client_cas: Authorities) -> ClientCAs:
    """List the authorities, and what Postfix is to trust."""
    return client_cas.show()


@post(_AUTHORITIES, sync_to_thread=True)
def create_authority(client_cas: Authorities) -> ClientCAs:
    """Make another authority, which issues from now on."""
    return client_cas.create()


@delete(f"{_AUTHORITIES}/{{name:str}}", status_code=200, sync_to_thread=True)
def retire_authority(client_cas: Authorities, name: str) -> ClientCAs:
    """End an authority and all that it issued."""
    return client_cas.retire(unquote(name))


HANDLERS = (issue, page, renew, revoke, list_authorities, create_authority, retire_authority)


def _parse(mailbox: str) -> Mailbox:
    return Mailbox.parse(unquote(mailbox, errors="strict"))
