"""Mail from outside, as other servers hand it in."""

import smtplib
import threading
import time
from dataclasses import dataclass, field

_MESSAGE = """\
From: Somebody <somebody@elsewhere.test>
To: <{to}>
Subject: load {number}
Message-ID: <{number}.{stamp}@elsewhere.test>
Date: Fri, 20 Nov 2026 12:00:00 +0000

{body}
"""


@dataclass
class Load:
    """Hands in mail in `sessions` at once, from `start` until `finish`.

    Each session begins with the first of `addresses` and goes on to the next where nobody answers
    (RFC 5321 §5.1). What was under way when a server fell silent is handed in again.
    """

    addresses: list[str]
    to: str
    sessions: int = 3
    accepted: int = 0
    refused: list[str] = field(default_factory=list)
    """What the server said instead."""

    unanswered: int = 0
    """Sessions that could not begin, or were cut."""

    slowest: float = 0.0
    """Seconds that one mail took."""

    def __post_init__(self) -> None:
        """Start nothing as yet."""
        self._enough = threading.Event()
        self._lock = threading.Lock()
        self._stamp = time.time_ns()
        self._number = 0

    def start(self) -> None:
        """Begin."""
        self._threads = [threading.Thread(target=self._run) for _ in range(self.sessions)]
        for thread in self._threads:
            thread.start()

    def finish(self, at_least: int = 0) -> None:
        """End it when `at_least` mails were tried; return when all sessions are closed."""
        deadline = time.monotonic() + 120
        while self._number < at_least and time.monotonic() < deadline:
            time.sleep(0.1)
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._enough.is_set():
            for address in self.addresses:
                if self._reaches(address):
                    break
                with self._lock:
                    self.unanswered += 1

    def _reaches(self, address: str) -> bool:
        try:
            with smtplib.SMTP(address, local_hostname="elsewhere.test", timeout=20) as server:
                self._session(server)
        except smtplib.SMTPServerDisconnected:
            return False
        except smtplib.SMTPException as error:
            self._refuse(error)
        except OSError:
            return False
        return True

    def _session(self, server: smtplib.SMTP) -> None:
        # Some mails for each session, as servers do; and a pause, because all share two cores.
        for _ in range(20):
            if self._enough.is_set():
                return
            began = time.monotonic()
            server.sendmail("somebody@elsewhere.test", [self.to], self._message())
            with self._lock:
                self.accepted += 1
                self.slowest = max(self.slowest, time.monotonic() - began)
            self._enough.wait(0.2)

    def _message(self) -> str:
        with self._lock:
            self._number += 1
            number = self._number
        body = "All work and no play.\n" * 40
        return _MESSAGE.format(to=self.to, number=number, stamp=self._stamp, body=body)

    def _refuse(self, error: Exception) -> None:
        with self._lock:
            self.refused.append(repr(error))
        self._enough.wait(0.2)
