"""The listening sockets: inherited from the service manager, or made here."""

import grp
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from letterlock.config import Config, host_and_port
from letterlock.errors import ConfigError
from letterlock.roles import Role

BACKLOG = 1024
"""Connections wait here while workers are replaced."""

_FIRST_INHERITED = 3
"""sd_listen_fds(3), SD_LISTEN_FDS_START."""


def listening_sockets(
    config: Config, handed_over: Mapping[str, int] | None = None
) -> dict[Role, socket.socket]:
    """Return the socket that the workers of each role share. Raises ConfigError.

    `handed_over`: the descriptors of a predecessor.
    """
    roles = Role.taken(config)
    if handed_over is not None:
        require_same(roles, handed_over)
        return {role: socket.socket(fileno=handed_over[role.value]) for role in roles}
    return _inherited(roles) or {role: _made(role.socket(config), config) for role in roles}


def require_same(roles: Iterable[Role], names: Iterable[str]) -> None:
    """Raise ConfigError unless there is a socket for each role, and no other."""
    wanted, found = sorted(role.value for role in roles), sorted(names)
    if wanted != found:
        raise ConfigError(
            f"sockets: the configuration wants {' and '.join(wanted)}, and there are "
            f"{' and '.join(found) or 'none'}: see submission.socket, letterlock-*.socket"
        )


def remove(sockets: Iterable[socket.socket]) -> None:
    """Remove the socket files, if we made them."""
    if "LISTEN_PID" in os.environ:
        return
    for made in sockets:
        if made.family == socket.AF_UNIX:
            Path(made.getsockname()).unlink(missing_ok=True)


def _made(address: str, config: Config) -> socket.socket:
    kind, _, rest = address.partition(":")
    try:
        made = _unix(rest, config) if kind == "unix" else _inet(rest)
        made.listen(BACKLOG)
    except OSError as error:
        # One that Python itself found has no number: a path that is too long.
        raise ConfigError(f"socket: {address}: {error.strerror or error}") from None
    made.setblocking(False)
    return made


def _inherited(roles: Sequence[Role]) -> dict[Role, socket.socket]:
    # sd_listen_fds(3): the variables may be a grandparent's, hence the PID.
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    number = os.environ.get("LISTEN_FDS", "")
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    if len(roles) == 1 and number == "1":
        # FileDescriptorName= in the units of several sockets; one has no need of a name.
        names = [roles[0].value]
    require_same(roles, names)
    return {
        Role(name): socket.socket(fileno=_FIRST_INHERITED + at) for at, name in enumerate(names)
    }


def _unix(path: str, config: Config) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    _remove_stale(path)
    # No moment in which others could connect: closed first, opened to the group then.
    before = os.umask(0o177)
    try:
        made.bind(path)
    finally:
        os.umask(before)
    if config.socket_group:
        try:
            # Postfix's daemons connect as the user `postfix`, from inside its chroot.
            os.chown(path, -1, grp.getgrnam(config.socket_group).gr_gid)
        except KeyError:
            raise ConfigError(f"socket_group: no group {config.socket_group!r}") from None
    Path(path).chmod(config.socket_mode)
    return made


def _remove_stale(path: str) -> None:
    """Remove a socket file that nobody serves; refuse to take one that somebody does."""
    if not Path(path).exists():
        return
    if not Path(path).is_socket():
        raise ConfigError(f"socket: {path}: something else is there")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
            return
    raise ConfigError(f"socket: {path}: another process serves it")


def _inet(text: str) -> socket.socket:
    host, port = host_and_port(text, "socket")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((host, port))
    return made
