"""A sending MTA that does not give up: it tries again after 4yz and after silence."""

import itertools
import re
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from canary import Canaries
from fake_keyservice import MemoryOwner
from stack.smtp import Sent

_NUMBER = re.compile(rb"^Message-ID: <(\d+)\.", re.MULTILINE)


class Server(Protocol):
    """Whoever takes mail: a stack, or one as one of its users sees it."""

    def send(self, message: bytes, to: Sequence[str]) -> Sent:
        """See `Stack.send`."""


class Heard(Enum):
    """What the sender knows after one attempt."""

    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    NOTHING = "nothing"
    """The connection ended before a reply: the message may or may not have been taken."""


def attempt(server: Server, message: bytes, recipients: Sequence[str]) -> Heard:
    """Try once; all recipients or none. Raises SMTPResponseException for 5yz."""
    try:
        sent = server.send(message, recipients)
    except smtplib.SMTPResponseException as error:
        if error.smtp_code >= 500:
            raise
        return Heard.DEFERRED
    except (smtplib.SMTPServerDisconnected, OSError):
        return Heard.NOTHING
    assert not sent.refused, sent.refused
    return Heard.ACCEPTED


def persist(
    server: Server, message: bytes, recipients: Sequence[str], seconds: float = 120
) -> list[Heard]:
    """Try until it is accepted; return what was heard each time."""
    deadline = time.monotonic() + seconds
    heard: list[Heard] = []
    while not heard or heard[-1] is not Heard.ACCEPTED:
        assert time.monotonic() < deadline, f"not accepted in {seconds} s: {Counter(heard)}"
        heard.append(attempt(server, message, recipients))
        if heard[-1] is not Heard.ACCEPTED:
            time.sleep(0.1)
    return heard


@dataclass
class Campaign:
    """Numbered messages, sent by several MTAs at the same time."""

    server: Server
    canaries: Canaries
    recipients: Callable[[int], Sequence[str]]
    """Who gets message number so and so."""

    heard: dict[int, list[Heard]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def run(self, count: int, mtas: int = 4, seconds: float = 400) -> list[threading.Thread]:
        """Start; the threads end when all was accepted."""
        numbers = iter(range(count))
        deadline = time.monotonic() + seconds

        def send() -> None:
            for number in numbers:
                message = self.canaries.message(number=number)
                left = max(0.1, deadline - time.monotonic())
                try:
                    self.heard[number] = persist(
                        self.server, message, self.recipients(number), left
                    )
                except (AssertionError, smtplib.SMTPException) as error:
                    self.errors.append(f"{number}: {error!r}")

        threads = [threading.Thread(target=send) for _ in range(mtas)]
        for thread in threads:
            thread.start()
        return threads

    @property
    def deferred(self) -> int:
        """Attempts that were not accepted."""
        return sum(len(heard) - 1 for heard in self.heard.values())

    def unheard(self) -> set[int]:
        """Numbers of messages of which a reply was lost: these may arrive twice."""
        return {number for number, heard in self.heard.items() if Heard.NOTHING in heard}


def numbers(owner: MemoryOwner, stored: Iterable[bytes]) -> Counter[int]:
    """Return which messages of `Canaries.message` an owner can read, and how many of each."""
    found = (_NUMBER.search(owner.decrypt(message)) for message in stored)
    return Counter(int(match[1]) for match in found if match)


def expected(count: int, recipients: Callable[[int], Sequence[str]], address: str) -> set[int]:
    """Return the numbers of the messages for `address`."""
    return {n for n in itertools.islice(itertools.count(), count) if address in recipients(n)}
