"""Whose mail it is, and working as that account."""

import os
from pathlib import Path

from letterlock.reencryption.store import StoreFailed


def become_owner(maildir: Path, service: str) -> None:
    """Give up root for the account that owns the mail, for good. Raises StoreFailed.

    `service`: where the key service listens. Its unix socket stays in reach, by its group.
    """
    try:
        status = maildir.stat()
    except OSError as error:
        raise StoreFailed(f"{maildir}: {error.strerror}") from None
    if os.geteuid() == status.st_uid:
        return
    if os.geteuid() != 0:
        raise StoreFailed(f"{maildir} belongs to account {status.st_uid}: run as that, or as root")
    groups = {status.st_gid}
    socket = Path(service.removeprefix("unix:"))
    if socket.is_socket():
        groups.add(socket.stat().st_gid)
    os.setgroups(sorted(groups))
    os.setgid(status.st_gid)
    os.setuid(status.st_uid)
