"""What the protocols have in common: replies for everybody, and one way to say no."""

from collections.abc import Iterable

from litestar import Response
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException

from keyservice.certificate import addr_specs
from keyservice.mailbox import InvalidMailbox, Mailbox
from keyservice.public.minimise import armored
from keyservice.published import Published, PublishedCertificate

FromStore = NamedDependency[Published]
"""What handlers ask; injected under the name `published`."""


def no_certificate() -> NotFoundException:
    """Return what to raise whatever the reason is: unknown, unpublished, expired, malformed."""
    return NotFoundException("no certificate is published under this name")


def keys(certificates: Iterable[PublishedCertificate]) -> Response[bytes]:
    """Return certificates in armor, or raise `no_certificate`."""
    shown = [certificate.octets for certificate in certificates]
    if not shown:
        raise no_certificate()
    return Response(armored(shown), media_type="application/pgp-keys")


def mailbox_in(text: str) -> Mailbox:
    """Return the one mailbox that `text`, an addr-spec or a user ID, names.

    Raises what `no_certificate` returns.
    """
    named = addr_specs(text)
    if len(named) != 1:
        raise no_certificate()
    return Mailbox.parse(named[0])


def domain_in(text: str) -> str:
    """Return a domain as `Mailbox.domain` has it. Raises what `no_certificate` returns."""
    try:
        return Mailbox.parse(f"postmaster@{text}").domain
    except InvalidMailbox:
        raise no_certificate() from None
