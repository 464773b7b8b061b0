"""MTAs that never stop, and what becomes of their mail."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from milterproto import Closed, MilterClient
from stack import wait_until


@dataclass
class Load:
    """What became of the mail of some MTAs."""

    accepted: int = 0
    failures: list[str] = field(default_factory=list)

    def wait_for_more(self, more: int = 30) -> None:
        """Let it go on for a while."""
        goal = self.accepted + more
        wait_until(lambda: self.accepted >= goal or bool(self.failures), "load", 120)


@contextmanager
def under_load(
    connect: Callable[[], MilterClient], deliver: Callable[[MilterClient], int], mtas: int = 4
) -> Iterator[Load]:
    """Several MTAs, each with one session after another, three messages in each.

    `deliver` hands in a message and returns the reply code.
    """
    load = Load()
    is_over = threading.Event()

    def send() -> None:
        while not is_over.is_set():
            try:
                with connect() as client:
                    for _ in range(3):
                        code = deliver(client)
                        if code != 250:
                            load.failures.append(f"code {code}")
                        load.accepted += 1
            except (OSError, Closed, AssertionError) as error:
                load.failures.append(repr(error))
                return

    threads = [threading.Thread(target=send) for _ in range(mtas)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
