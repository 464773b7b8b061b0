"""Client certificates: issued, renewed, revoked and listed."""

import logging
import time
from collections.abc import Callable, Collection, Iterable

import msgspec
from cryptography import x509
from sqlalchemy import Connection

from keyservice import ledger
from keyservice.client_ca import authority_store, issuing, public_key, store
from keyservice.client_ca.authorities import Authorities
from keyservice.client_ca.errors import KeyTaken, NoSuchCertificate, Revoked, UnsuitableRequest
from keyservice.client_ca.issuing import Signed
from keyservice.client_ca.public_key import PublicKey
from keyservice.client_ca.store import StoredClientCertificate
from keyservice.client_certificate_wire import (
    ClientCertificate,
    ClientCertificatePage,
    ClientCertificateRequest,
    IssuedClientCertificate,
    RevokedClientCertificates,
)
from keyservice.database import Database
from keyservice.errors import OutsideDomain
from keyservice.mailbox import Mailbox
from keyservice.schema import EventKind

_DAY = 86_400

log = logging.getLogger(__name__)


class ClientCertificates:
    """Any thread may call it."""

    def __init__(
        self,
        database: Database,
        authorities: Authorities,
        domains: Collection[str],
        months: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Issue for mailboxes of `domains`, for `months` each."""
        self._database = database
        self._authorities = authorities
        self._domains = domains
        self._months = months
        self._clock = clock

    def issue(self, mailbox: Mailbox, wanted: ClientCertificateRequest) -> IssuedClientCertificate:
        """Issue another certificate for `mailbox`; those that it has stay in force.

        Raises OutsideDomain, UnsuitableAddress, UnsuitableRequest, KeyTaken, NoAuthority,
        CALocked.
        """
        self._require_ours(mailbox)
        if wanted.request is None:
            return self._issue_generated(mailbox, wanted.pkcs12_password)
        if wanted.pkcs12_password is not None:
            raise UnsuitableRequest("the private key of a request is not here to be handed out")
        public = public_key.of_request(wanted.request)
        return _issued(mailbox, self._certify(mailbox, public, EventKind.CLIENT_ISSUED))

    def renew(self, fingerprint: str) -> IssuedClientCertificate:
        """Issue a certificate for the same mailbox and public key, good for longer.

        The old one stays in force until it ends or is revoked. Raises NoSuchCertificate,
        Revoked, OutsideDomain, NoAuthority, CALocked.
        """
        with self._database.reading() as connection:
            old = _require(connection, fingerprint)
        if old.revoked_at is not None:
            raise Revoked("it was revoked; issue another one, for another key")
        self._require_ours(old.mailbox)
        public = public_key.strong(x509.load_der_x509_certificate(old.certificate).public_key())
        return _issued(old.mailbox, self._certify(old.mailbox, public, EventKind.CLIENT_RENEWED))

    def revoke(self, fingerprint: str) -> RevokedClientCertificates:
        """End a certificate, and all others for its key, at once and for good.

        Raises NoSuchCertificate.
        """
        now = int(self._clock())
        with self._database.writing() as connection:
            stored = _require(connection, fingerprint)
            mailbox = stored.mailbox
            for each in store.revoke_key(connection, stored.public_key, now):
                ledger.note(connection, mailbox, EventKind.CLIENT_REVOKED, now, each)
            ended = store.of_key(connection, stored.public_key)
        log.info(
            "client_certificate_revoked",
            extra={"mailbox": mailbox.key, "fingerprint": fingerprint},
        )
        return RevokedClientCertificates(mailbox=mailbox.key, fingerprints=ended)

    def page(
        self, after: str, limit: int, mailbox: Mailbox | None = None, ending: int | None = None
    ) -> ClientCertificatePage:
        """Return up to `limit` certificates; `ending`: that end within so many days."""
        now = self._clock()
        ending_by = None if ending is None else int(now) + ending * _DAY
        with self._database.reading() as connection:
            found = store.page(connection, after, limit, mailbox, ending_by)
        return ClientCertificatePage(
            certificates=tuple(self._line(each, now) for each in found),
            next=found[-1].fingerprint if len(found) == limit else None,
        )

    def expiring(self, days: Iterable[int]) -> dict[int, int]:
        """Return for how many keys of clients the last certificate ends within each of `days`."""
        now = int(self._clock())
        with self._database.reading() as connection:
            return {d: store.ending(connection, now, now + d * _DAY) for d in days}

    def _issue_generated(self, mailbox: Mailbox, password: str | None) -> IssuedClientCertificate:
        private_key = issuing.generate()
        signed = self._certify(mailbox, private_key.public_key(), EventKind.CLIENT_ISSUED)
        issued = _issued(mailbox, signed)
        if password is None:
            return msgspec.structs.replace(issued, private_key=issuing.pem_of_key(private_key))
        pkcs12 = issuing.pkcs12_of(signed, private_key, password)
        return msgspec.structs.replace(issued, pkcs12=pkcs12)

    def _certify(self, mailbox: Mailbox, public: PublicKey, kind: EventKind) -> Signed:
        issuing.require_suitable(mailbox)
        authority_id, authority = self._authorities.unlock_issuing()
        now = self._clock()
        signed = issuing.sign(authority, mailbox, public, now, self._months)
        with self._database.writing() as connection:
            _require_free(connection, mailbox, signed.row.public_key)
            authority_store.require_trusted(connection, authority_id, now)
            store.add(connection, mailbox, authority_id, signed.row, int(now))
            ledger.note(connection, mailbox, kind, int(now), signed.row.fingerprint)
        log.info(
            "client_certificate_issued",
            extra={"mailbox": mailbox.key, "fingerprint": signed.row.fingerprint},
        )
        return signed

    def _require_ours(self, mailbox: Mailbox) -> None:
        if mailbox.domain not in self._domains:
            raise OutsideDomain("its domain is not in the key service's configuration")

    def _line(self, stored: StoredClientCertificate, now: float) -> ClientCertificate:
        return ClientCertificate(
            mailbox=stored.mailbox.key,
            fingerprint=stored.fingerprint,
            issuer=stored.authority.name,
            not_before=stored.not_before,
            not_after=stored.not_after,
            issued_at=stored.issued_at,
            state=stored.state(now, self._domains),
            revoked_at=stored.revoked_at,
        )


def _issued(mailbox: Mailbox, signed: Signed) -> IssuedClientCertificate:
    return IssuedClientCertificate(
        mailbox=mailbox.key,
        fingerprint=signed.row.fingerprint,
        issuer=issuing.common_name(signed.authority),
        not_before=signed.row.not_before,
        not_after=signed.row.not_after,
        certificate=issuing.pem(signed.certificate),
        ca_certificate=issuing.pem(signed.authority),
    )


def _require(connection: Connection, fingerprint: str) -> StoredClientCertificate:
    stored = store.find(connection, fingerprint)
    if stored is None:
        raise NoSuchCertificate("no client certificate of this key service has this fingerprint")
    return stored


def _require_free(connection: Connection, mailbox: Mailbox, public: str) -> None:
    # Revoked: perhaps because somebody else has the private key, who must not come back by a
    # new certificate. Another mailbox's: one that is stolen would be two.
    if store.is_revoked_key(connection, public):
        raise KeyTaken("a certificate for this key was revoked: it needs another key")
    if store.has_other_owner(connection, public, mailbox):
        raise KeyTaken("this key has a certificate for another mailbox: it needs one of its own")
