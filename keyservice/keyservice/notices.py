"""Owners are told by mail: of each change of their certificate, and before it ends.

In the background, so that nobody who enrols or asks waits for Postfix. Each notice is sent
once; only a crash between Postfix taking it and our writing that down sends it twice, with
the same Message-ID.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection
from typing import Self

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from keyservice import notice_store
from keyservice.database import Database, Task
from keyservice.mail_door import Deferred, DoorClosed, MailDoor, Refused
from keyservice.notice import NoticeResult, compose
from keyservice.notice_store import Claimed
from keyservice.overview import DAY, WARNINGS
from keyservice.report import Period

LOOK_BACK = 3 * DAY
"""Seconds. A change that is older when this is switched on is no news."""

GIVEN_UP_AFTER = 7 * DAY
"""Seconds for which a notice is tried that Postfix defers."""

_SETTLED = 600
"""Seconds after which no transaction is open any more that will show an older event."""

_CLAIM = 600
_RETRY_MIN, _RETRY_MAX = 300, 4 * 3_600
_OUTAGE_MIN, _OUTAGE_MAX = 15, 600
_WARNINGS_EVERY = 3_600
_PAUSE = 5.0
_PATIENCE = 5.0
_BATCH = 200

log = logging.getLogger(__name__)


class Notices:
    """Collects and sends; a thread of its own does so for as long as the `with` block lasts."""

    def __init__(
        self,
        database: Database,
        domains: Collection[str],
        door: Callable[[], MailDoor],
        sender: str = "",
        observe: Callable[[NoticeResult], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Tell the owners of mailboxes in `domains`; `sender` as `compose` has it."""
        self._database = database
        self._domains = domains
        self._door = door
        self._sender = sender
        self._observe = observe
        self._clock = clock
        self._since = int(clock()) - LOOK_BACK
        self._warnings_at = 0.0
        self._outages = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notices", daemon=True)

    def collect(self) -> None:
        """Make the notices that there are to make."""
        now = int(self._clock())
        self._collect(
            lambda c: notice_store.add_changes(c, self._domains, self._since, now, _BATCH)
        )
        # What another instance commits late is found the next time.
        self._since = max(self._since, now - _SETTLED)
        if now < self._warnings_at:
            return
        after = now
        for days in WARNINGS:
            # A certificate that ends in two days gets the warning of three, not all of them.
            period = Period(after, now + days * DAY)
            self._collect(
                lambda c, period=period, days=days: notice_store.add_warnings(  # type: ignore[misc]  # mypy infers no defaults
                    c, self._domains, period, days, now, _BATCH
                )
            )
            after = period.until
        self._warnings_at = now + _WARNINGS_EVERY

    def send_due(self) -> float:
        """Send what is due; return after how many seconds it is worth while to look again."""
        with self._door() as door:
            while not self._stopping.is_set() and (claimed := self._claim()) is not None:
                try:
                    self._settle(claimed, self._send(door, claimed))
                except DoorClosed as closed:
                    return self._stand_back(claimed, closed)
                self._outages = 0
        return _PAUSE

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Return when the notice in hand is sent, or soon if Postfix takes long."""
        self._stopping.set()
        self._thread.join(_PATIENCE)

    def _collect(self, add: Callable[[Connection], int]) -> None:
        added = _BATCH
        while added == _BATCH and not self._stopping.is_set():
            try:
                with self._database.writing() as connection:
                    added = add(connection)
            except IntegrityError:  # another instance was faster
                return

    def _claim(self) -> Claimed | None:
        now = int(self._clock())
        with self._database.writing() as connection:
            return notice_store.claim(connection, now, now + _CLAIM)

    def _send(self, door: MailDoor, claimed: Claimed) -> NoticeResult:
        if claimed.notice is None:
            return NoticeResult.OBSOLETE
        try:
            door.hand_over(compose(claimed.notice, self._sender), claimed.notice.mailbox)
        except Deferred:
            is_late = self._clock() - claimed.made_at > GIVEN_UP_AFTER
            return NoticeResult.GIVEN_UP if is_late else NoticeResult.DEFERRED
        except Refused:
            return NoticeResult.REFUSED
        return NoticeResult.SENT

    def _settle(self, claimed: Claimed, result: NoticeResult) -> None:
        wait = min(_RETRY_MAX, _RETRY_MIN << min(claimed.attempts - 1, 10))
        self._write(claimed, result, wait if result is NoticeResult.DEFERRED else None)
        if claimed.notice is not None:
            address, kind = claimed.notice.mailbox.key, claimed.notice.kind.value
            log.info("notice", extra={"mailbox": address, "kind": kind, "result": result.value})

    def _stand_back(self, claimed: Claimed, closed: DoorClosed) -> float:
        wait = min(_OUTAGE_MAX, _OUTAGE_MIN << min(self._outages, 10))
        self._outages += 1
        self._write(claimed, NoticeResult.UNREACHABLE, wait)
        log.warning("notices_wait", extra={"reason": str(closed), "seconds": wait})
        return wait

    def _write(self, claimed: Claimed, result: NoticeResult, wait: int | None) -> None:
        try_at = None if wait is None else int(self._clock()) + wait
        with self._database.writing() as connection:
            notice_store.settle(connection, claimed.id, result, try_at)
        self._observe(result)

    def _do(self) -> float:
        with self._database.alone(Task.NOTICES) as is_ours:
            if not is_ours:
                return _PAUSE
            self.collect()
            return self.send_due()

    def _run(self) -> None:
        pause = 0.0
        while not self._stopping.wait(pause):
            try:
                pause = self._do()
            except Exception:  # the thread must outlive a full disk
                log.exception("notices_failed")
                pause = _OUTAGE_MIN
