"""The listening sockets: inherited from the service manager, or made here."""

import grp
import os
import socket
import stat
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from keyservice.config import host_and_port
from keyservice.errors import ConfigError

SOCKET_MODE = 0o660

_FIRST_INHERITED = 3
"""sd_listen_fds(3), SD_LISTEN_FDS_START."""


class Listening(Protocol):
    """A section of the configuration that says where something listens."""

    @property
    def socket(self) -> str:
        """A path; empty: no unix socket."""

    @property
    def socket_group(self) -> str:
        """Who may connect to it; empty: the group of the process."""

    @property
    def tcp(self) -> str:
        """Loopback HOST:PORT; empty: no TCP."""


def listeners(name: str, section: Listening, stack: ExitStack) -> list[socket.socket]:
    """Return the sockets of a section, bound, which `stack` closes and removes.

    `name` is the section's, and that of the unix socket where the service manager made it
    (FileDescriptorName=). Raises ConfigError.
    """
    prefix = "" if name == "keyservice" else f"{name}."
    sockets = []
    if name in (inherited := _inherited()):
        # The number itself stays open, for the program that this process may become.
        sockets.append(socket.socket(fileno=os.dup(inherited[name])))
    elif section.socket:
        path = Path(section.socket)
        sockets.append(listen_unix(path, section.socket_group, prefix))
        stack.callback(path.unlink, missing_ok=True)
    if section.tcp:
        host, port = host_and_port(section.tcp, f"{prefix}tcp")
        sockets.append(listen_tcp(host, port, prefix))
    for each in sockets:
        stack.callback(each.close)
    return sockets


def require_units(sections: Mapping[str, Listening]) -> None:
    """Raise ConfigError if the service manager holds sockets, but others than are configured."""
    wanted, inherited = {name for name, each in sections.items() if each.socket}, _inherited()
    if inherited and set(inherited) != wanted:
        raise ConfigError(
            f"sockets: the configuration wants {' and '.join(sorted(wanted))}, and there are "
            f"{' and '.join(sorted(inherited))}: see letterlock-*.socket, and restart"
        )


def _inherited() -> dict[str, int]:
    # The variables may be a grandparent's, hence the PID.
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    return {name: _FIRST_INHERITED + at for at, name in enumerate(names)}


def listen_unix(path: Path, group: str, section: str = "") -> socket.socket:
    """Return a socket that listens at `path`, for the owner and `group`.

    A socket that a dead process left is replaced. Raises ConfigError if a living one, or
    anything else, is there; `section` of the configuration, with its dot, is named in it.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _make_room(path, section)
        # Never wider than in the end, not even between bind and chmod.
        old_umask = os.umask(0o777 & ~SOCKET_MODE)
        try:
            listener.bind(str(path))
        finally:
            os.umask(old_umask)
        if group:
            os.chown(path, -1, grp.getgrnam(group).gr_gid)
    except KeyError:
        listener.close()
        raise ConfigError(f"{section}socket_group: no group {group}") from None
    except OSError as error:
        listener.close()
        # One that Python itself found has no number: a path that is too long.
        raise ConfigError(f"{section}socket: {path}: {error.strerror or error}") from None
    return listener


def listen_tcp(host: str, port: int, section: str = "") -> socket.socket:
    """Return a socket that listens on loopback. Raises ConfigError, as `listen_unix` does."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # asyncio sets it for sockets of a named protocol only, and replies would wait 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(f"{section}tcp: {host}:{port}: {error.strerror}") from None
    return listener


def _make_room(path: Path, section: str) -> None:
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise ConfigError(f"{section}socket: {path}: something else is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise ConfigError(f"{section}socket: {path}: another key service is running")
