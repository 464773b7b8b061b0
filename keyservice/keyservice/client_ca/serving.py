"""Client certificates as the daemon runs them: the authorities, and the listener for Postfix."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from keyservice.client_ca.authorities import Authorities
from keyservice.client_ca.certificates import ClientCertificates
from keyservice.client_ca.maps import FingerprintMaps
from keyservice.config import Config
from keyservice.database import Database
from keyservice.listeners import listeners
from keyservice.socketmap import SocketmapListener, Status


@contextmanager
def client_certificates(
    config: Config, database: Database, observe: Callable[[Status], None]
) -> Iterator[tuple[ClientCertificates, Authorities]]:
    """Answer Postfix for as long as the block lasts, if that is configured. Raises ConfigError."""
    authorities = Authorities(database, config.client_ca)
    # What hinders it is in the log; mail goes on with the file that is there.
    authorities.write_trusted()
    issued = ClientCertificates(database, authorities, config.domains, config.client_ca.months)
    maps = FingerprintMaps(database, config.domains)
    with ExitStack() as stack:
        if sockets := listeners("socketmap", config.socketmap, stack):
            stack.enter_context(SocketmapListener(maps.by_name, sockets, observe))
        yield issued, authorities
