"""The authorities: made, listed, retired, and shown to Postfix."""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from cryptography import x509

from keyservice.client_ca import authority_store, issuing, passphrase, trusted_file
from keyservice.client_ca.authority import Authority, make_authority, unlock
from keyservice.client_ca.authority_store import StoredAuthority
from keyservice.client_ca.errors import CALocked, NoAuthority, NoSuchAuthority
from keyservice.client_certificate_wire import ClientCA, ClientCAs
from keyservice.config import ClientCASection
from keyservice.database import Database

_DAY = 86_400

log = logging.getLogger(__name__)


class Authorities:
    """Any thread may call it."""

    def __init__(
        self, database: Database, section: ClientCASection, clock: Callable[[], float] = time.time
    ) -> None:
        """Do nothing yet."""
        self._database = database
        self._section = section
        self._clock = clock
        # An older list must not be written over a newer one.
        self._writing = threading.Lock()

    def report_locked(self) -> None:
        """Say so in the log if a passphrase is configured and cannot be used as yet."""
        try:
            if self._section.passphrase_file:
                passphrase.read(self._section.passphrase_file)
        except CALocked as error:
            log.warning("client_ca_locked", extra={"detail": str(error)})

    def create(self) -> ClientCAs:
        """Make another authority, which issues from now on. Raises CALocked.

        Those that were there stay trusted until they end or are retired.
        """
        now = int(self._clock())
        secret = passphrase.read(self._section.passphrase_file)
        new = make_authority(self._section.name, secret, now)
        with self._database.writing() as connection:
            authority_store.add_authority(connection, new, now)
        log.info("client_ca_created", extra={"ca": new.name})
        return self._changed()

    def retire(self, name: str) -> ClientCAs:
        """End an authority, all that it issued, and its private key. Raises NoSuchAuthority."""
        with self._database.writing() as connection:
            if not authority_store.retire_authority(connection, name, int(self._clock())):
                raise NoSuchAuthority("there is no authority of this name, or it is retired")
        log.info("client_ca_retired", extra={"ca": name})
        return self._changed()

    def show(self, file_problem: str | None = None) -> ClientCAs:
        """Return all authorities, retired ones included."""
        now = self._clock()
        with self._database.reading() as connection:
            stored = authority_store.authorities(connection)
            numbers = authority_store.counted(connection, now)
        trusted = [each for each in stored if each.is_trusted(now)]
        return ClientCAs(
            authorities=tuple(
                _view(each, each in trusted[:1], numbers.get(each.id, 0)) for each in stored
            ),
            trusted=_pem(trusted),
            file_problem=file_problem,
        )

    def expiring(self, days: Iterable[int]) -> dict[int, int]:
        """Return how many authorities that are in use end within each of `days`."""
        now = self._clock()
        with self._database.reading() as connection:
            stored = authority_store.authorities(connection)
            numbers = authority_store.counted(connection, now)
        trusted = [each for each in stored if each.is_trusted(now)]
        # One that has a successor, and whose certificates have all ended, nobody will miss.
        ends = [each.not_after for each in trusted if each in trusted[:1] or each.id in numbers]
        return {d: sum(end <= now + d * _DAY for end in ends) for d in days}

    def unlock_issuing(self) -> tuple[int, Authority]:
        """Return the authority that issues, and its row. Raises NoAuthority, CALocked."""
        with self._database.reading() as connection:
            stored = authority_store.issuing(connection, self._clock())
            private_key = authority_store.private_key(connection, stored.id) if stored else None
        if stored is None or private_key is None:
            raise NoAuthority(
                "there is no authority that issues: letterlock client-certificate ca create"
            )
        secret = passphrase.read(self._section.passphrase_file)
        return stored.id, unlock(stored.certificate, private_key, secret)

    def write_trusted(self) -> str | None:
        """Bring the file for Postfix up to date; return what hindered it.

        While no authority is trusted it stays as it is, or away: a file without certificates
        would switch TLS off in Postfix.
        """
        path = self._section.trusted_file
        with self._writing:
            if not path or not (trusted := self.show().trusted):
                return None
            try:
                trusted_file.write(Path(path), trusted)
            except OSError as error:
                problem = f"client_ca.trusted_file: {path}: {error.strerror}"
                log.warning("client_ca_file_failed", extra={"detail": problem})
                return problem
        return None

    def _changed(self) -> ClientCAs:
        return self.show(self.write_trusted())


def _view(stored: StoredAuthority, issues: bool, certificates: int) -> ClientCA:
    return ClientCA(
        name=stored.name,
        fingerprint=hashlib.sha256(stored.certificate).hexdigest(),
        certificate=_pem([stored]),
        not_after=stored.not_after,
        created_at=stored.created_at,
        issues=issues,
        certificates=certificates,
        retired_at=stored.retired_at,
    )


def _pem(stored: Sequence[StoredAuthority]) -> str:
    return "".join(issuing.pem(x509.load_der_x509_certificate(each.certificate)) for each in stored)
