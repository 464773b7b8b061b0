"""The listening sockets: a unix socket for a group, perhaps loopback TCP."""

import grp
import os
import socket
import stat
from pathlib import Path

from keyservice.errors import ConfigError

SOCKET_MODE = 0o660


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
        raise ConfigError(f"{section}socket: {path}: {error.strerror}") from None
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
