"""From what an operator names to a store that one run works on."""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from letterlock.reencryption import doveadm
from letterlock.reencryption.imap import IMAPStore, InFlight
from letterlock.reencryption.imap_server import Address, connect
from letterlock.reencryption.imap_session import Session
from letterlock.reencryption.journal import Journal
from letterlock.reencryption.maildir import Maildir
from letterlock.reencryption.owner import become_owner
from letterlock.reencryption.store import Store, StoreFailed


@contextmanager
def opened(
    name: str, service: str, password: Callable[[], str], *, is_dry: bool
) -> Iterator[Store[Any]]:
    """Yield the store, and close it. Raises StoreFailed, BadAddress.

    As root on a Maildir, this process becomes its owner; `service`, where the key service
    listens, stays in reach.
    """
    address = Address.parse(name)
    if address is None:
        become_owner(Path(name), service)
        maildir = Maildir(Path(name))
        try:
            yield maildir
        finally:
            maildir.close()
        return
    with _alone(address) as journal:
        session = Session(connect(address, password), is_dry=is_dry)
        forget = doveadm.forget if address.scheme == "doveadm" else doveadm.instruct
        try:
            yield IMAPStore(session, journal, forget(address.user))
        finally:
            session.close()


@contextmanager
def _alone(address: Address) -> Iterator[Journal[InFlight]]:
    """Yield the journal of a server's mailboxes, which no other run has meanwhile."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    directory = Path(home) / "letterlock" / "re-encrypt"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = hashlib.sha256(str(address).encode()).hexdigest()[:32]
        with (directory / f"{name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreFailed(f"{address}: another run is at work") from None
            yield Journal(directory / f"{name}.journal", InFlight)
    except OSError as error:
        raise StoreFailed(f"{error.filename}: {error.strerror}") from None
