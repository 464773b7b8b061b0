"""What Postfix is told about the certificate that a client shows, by its fingerprint."""

import re
import time
from collections.abc import Callable, Collection
from typing import assert_never

from keyservice.client_ca import store
from keyservice.client_ca.store import StoredClientCertificate
from keyservice.client_certificate_wire import ClientCertificateState
from keyservice.database import Database
from keyservice.socketmap import BadKey, Lookup

_FINGERPRINT = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){31}|[0-9a-f]{64}")


class FingerprintMaps:
    """Any thread may call it. Reads the database at each lookup, so a revocation counts at once."""

    def __init__(
        self,
        database: Database,
        domains: Collection[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Let in certificates of mailboxes in `domains`."""
        self._database = database
        self._domains = domains
        self._clock = clock

    @property
    def by_name(self) -> dict[str, Lookup]:
        """The maps as Postfix calls them."""
        return {"client-certificates": self.address, "client-certificate-access": self.action}

    def address(self, key: str) -> str | None:
        """Return the mailbox of a certificate that is in force; for relay_clientcerts."""
        found = self._find(key)
        if found is None or self._state(found) is not ClientCertificateState.IN_FORCE:
            return None
        return found.mailbox.key

    def action(self, key: str) -> str | None:
        """Return what is done with a client, as access(5) has it; for check_ccert_access.

        None: it is no certificate of ours.
        """
        found = self._find(key)
        if found is None:
            return None
        match self._state(found):
            case ClientCertificateState.IN_FORCE:
                return "OK"
            case ClientCertificateState.REVOKED:
                return "REJECT 5.7.1 this client certificate was revoked"
            case ClientCertificateState.ENDED:
                return "REJECT 5.7.1 this client certificate has ended"
            case ClientCertificateState.UNTRUSTED | ClientCertificateState.OUTSIDE:
                return "REJECT 5.7.1 this client certificate is not trusted any more"
            case never:
                assert_never(never)

    def _find(self, key: str) -> StoredClientCertificate | None:
        # Postfix asks for the certificate, then for its public key, both as SHA-256. A public
        # key is no answer: others can make certificates for it, and it outlives revocation.
        lowered = key.lower()
        if not _FINGERPRINT.fullmatch(lowered):
            raise BadKey("not a SHA-256 fingerprint: smtpd_tls_fingerprint_digest must be sha256")
        with self._database.reading() as connection:
            return store.find(connection, lowered.replace(":", ""))

    def _state(self, found: StoredClientCertificate) -> ClientCertificateState:
        return found.state(self._clock(), self._domains)
