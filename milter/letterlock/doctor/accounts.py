"""Doing something as another account, and inside its chroot, the way a daemon does it.

Whether a daemon can reach a file or a socket depends on each directory of its path, on groups,
ACLs and security modules: asking the kernel is simpler than to reckon, and right.
"""

import os
import pwd
from collections.abc import Callable
from pathlib import Path

MILTER_ACCOUNT = "letterlock"
KEYSERVICE_ACCOUNT = "letterlock-keyservice"

_ANSWER_OCTETS_MAX = 65_536
_ANSWERED = "="


class NotPossible(Exception):
    """This process may not become that account, or there is none of that name."""


def as_milter(work: Callable[[], str]) -> str:
    """Return what `work` says as the milter's account. See `as_daemon`."""
    return as_daemon(MILTER_ACCOUNT, work)


def as_daemon(name: str, work: Callable[[], str]) -> str:
    """Return what `work` says as account `name`; as root where there is no such account.

    An OSError in `work` is returned as its text. Raises NotPossible.
    """
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        account = pwd.getpwuid(0)
    if account.pw_uid == os.geteuid():
        return _answer_of(work)
    return as_account(account.pw_name, work, chroot=False)


def as_account(name: str, work: Callable[[], str], *, directory: str = "/", chroot: bool) -> str:
    """Return what `work` says as account `name` in `directory`, its root directory if `chroot`.

    An OSError in `work` is returned as its text. Raises NotPossible.
    """
    if os.geteuid() != 0:
        raise NotPossible("run it as root")
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        raise NotPossible(f"there is no account {name}") from None
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(writing, lambda: _become(account, directory, chroot=chroot), work)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read(_ANSWER_OCTETS_MAX).decode()
    os.waitpid(child, 0)
    if not answer.startswith(_ANSWERED):
        raise NotPossible(answer)
    return answer.removeprefix(_ANSWERED)


def _answer(writing: int, become: Callable[[], None], work: Callable[[], str]) -> None:
    try:
        become()
        text = _ANSWERED + _answer_of(work)
    except OSError as error:
        text = error.strerror or "impossible"
    except BaseException as error:  # noqa: BLE001 (nothing of the parent's may go on in the child)
        text = type(error).__name__
    os.write(writing, text.encode())
    os._exit(0)


def _answer_of(work: Callable[[], str]) -> str:
    try:
        return work()
    except OSError as error:
        return error.strerror or type(error).__name__


def _become(account: pwd.struct_passwd, directory: str, *, chroot: bool) -> None:
    # Groups are looked up while /etc is still there.
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    os.chdir(directory)
    if chroot:
        os.chroot(Path(directory))
        os.chdir("/")
    os.setgroups(groups)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
