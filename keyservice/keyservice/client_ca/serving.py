"""Client certificates as the daemon runs them: the authorities, and the listener for Postfix."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from keyservice.client_ca.authorities import Authorities
from keyservice.client_ca.certificates import ClientCertificates
from keyservice.client_ca.maps import FingerprintMaps
from keyservice.config import Config, SocketmapSection, host_and_port
from keyservice.database import Database
from keyservice.listeners import listen_tcp, listen_unix
from keyservice.socketmap import SocketmapListener, Status

_SECTION = "socketmap."


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
        if sockets := _listeners(config.socketmap, stack):
            stack.enter_context(SocketmapListener(maps.by_name, sockets, observe))
        yield issued, authorities


def _listeners(section: SocketmapSection, stack: ExitStack) -> list[socket.socket]:
    sockets = []
    if section.socket:
        path = Path(section.socket)
        sockets.append(listen_unix(path, section.socket_group, _SECTION))
        stack.callback(path.unlink, missing_ok=True)
    if section.tcp:
        host, port = host_and_port(section.tcp, f"{_SECTION}tcp")
        sockets.append(listen_tcp(host, port, _SECTION))
    return sockets
