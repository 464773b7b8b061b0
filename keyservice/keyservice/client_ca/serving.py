"""Client certificates as the daemon runs them: the authorities, and the listener for Postfix."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Event, Thread

from keyservice.client_ca.authorities import Authorities
from keyservice.client_ca.certificates import ClientCertificates
from keyservice.client_ca.maps import FingerprintMaps
from keyservice.config import Config
from keyservice.database import Database
from keyservice.listeners import listeners
from keyservice.socketmap import SocketmapListener, Status

_REFRESHED_EVERY = 30.0
"""Seconds. An authority may have been made or retired by another service."""

log = logging.getLogger(__name__)


@contextmanager
def client_certificates(
    config: Config, database: Database, observe: Callable[[Status], None]
) -> Iterator[tuple[ClientCertificates, Authorities]]:
    """Answer Postfix for as long as the block lasts, if that is configured. Raises ConfigError."""
    authorities = Authorities(database, config.client_ca)
    authorities.report_locked()
    # What hinders it is in the log; mail goes on with the file that is there.
    authorities.write_trusted()
    issued = ClientCertificates(database, authorities, config.domains, config.client_ca.months)
    maps = FingerprintMaps(database, config.domains)
    with ExitStack() as stack:
        if database.is_shared and config.client_ca.trusted_file:
            stack.enter_context(_refreshing(authorities))
        if sockets := listeners("socketmap", config.socketmap, stack):
            stack.enter_context(SocketmapListener(maps.by_name, sockets, observe))
        yield issued, authorities


@contextmanager
def _refreshing(authorities: Authorities) -> Iterator[None]:
    """Keep the file for Postfix up to date for as long as the block lasts."""
    stopping = Event()

    def run() -> None:
        while not stopping.wait(_REFRESHED_EVERY):
            try:
                authorities.write_trusted()
            except Exception:  # the thread must outlive a database that is away
                log.exception("client_ca_refresh_failed")

    thread = Thread(target=run, name="client-ca", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
