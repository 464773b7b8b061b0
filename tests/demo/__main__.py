"""`python -m demo`: run it all; exit status 1 if a promise was broken."""

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from demo import counters, findings, show, thief
from demo.evidence import Delivery, deliver
from demo.letters import DORA
from demo.mails import ALICE, BOB, six_mails
from demo.neighbours import Correspondence, Neighbours
from demo.page import Page
from demo.promises import Evidence, Promise, judge
from keyservice.mailbox import Mailbox
from keyservice.operator_client import ServiceRefused, ServiceUnavailable
from stack import NotReady, Owner, Stack

MAILS = 8
COLUMNS_MIN, COLUMNS_MAX = 80, 110
ENDED_BY = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
"""Exit status for each signal, as a shell reports it."""

NOT_RUN = (NotReady, ServiceUnavailable, ServiceRefused, OSError)
"""Something of the stack failed, not a promise about mail."""


def main(stack_in: Callable[..., Stack] = Stack) -> int:
    """Run the demo; return the exit status.

    `stack_in`: makes the first provider's stack; for tests, to break something.
    """
    for number, status in ENDED_BY.items():
        signal.signal(number, lambda *_, status=status: sys.exit(status))
    page = Page(_console())
    directory = Path(tempfile.mkdtemp(prefix="letterlock-demo-", dir="/tmp"))
    # The daemons have accounts of their own.
    directory.chmod(0o755)
    left = None
    resources = ExitStack()
    try:
        neighbours = resources.enter_context(Neighbours(directory, stack_in))
        promises = _run(page, resources, neighbours)
        left = None if all(promise.is_kept for promise in promises) else directory
    except NOT_RUN as error:
        left = directory
        findings.failure(page, str(error))
    finally:
        # A second Ctrl-C must not leave a daemon behind.
        for number in ENDED_BY:
            signal.signal(number, signal.SIG_IGN)
        resources.close()
        if left is None:
            shutil.rmtree(directory)
        findings.stopped(page, left)
    return 0 if left is None else 1


def _run(page: Page, resources: ExitStack, neighbours: Neighbours) -> list[Promise]:
    began = time.monotonic()
    home = neighbours.home
    show.introduction(page)
    with page.console.status("Starting five daemons …"):
        resources.callback(home.stop)
        home.start()
    show.daemons(page)
    with page.console.status("Alice and Bob are making their keys …"):
        owners = [
            resources.enter_context(Owner(ALICE)),
            resources.enter_context(Owner(BOB, "rsa2048", "rsa2048")),
        ]
        for owner in owners:
            home.enrol(owner.address, owner.certificate)
        home.operator.set_policy(Mailbox.parse(BOB), {"header_policy": "hcp_all"})
    show.owners(page, owners)
    deliveries = []
    mails = six_mails(owners[0])
    for number, mail in enumerate(mails, 1):
        with page.console.status(f"Mail {number} is on its way …"):
            deliveries.append(deliver(home, mail, owners))
        show.delivery(page, number, MAILS, deliveries[-1])
    letters = _correspondence(page, resources, neighbours, owners)
    promises = judge(_evidence(page, neighbours, owners, deliveries, letters))
    findings.verdict(page, promises, time.monotonic() - began)
    return promises


def _correspondence(
    page: Page, resources: ExitStack, neighbours: Neighbours, owners: list[Owner]
) -> Correspondence:
    with page.console.status("A second provider starts …"):
        resources.callback(neighbours.away.stop)
        neighbours.away.start()
        dora = resources.enter_context(Owner(DORA))
        neighbours.away.enrol(DORA, dora.certificate)
    show.second_provider(page, dora)
    with page.console.status("Alice writes, and Dora replies …"):
        letters = neighbours.correspond(owners[0], dora, [*owners, dora])
    for number, delivery in enumerate((letters.first, letters.reply), MAILS - 1):
        show.delivery(page, number, MAILS, delivery)
    return letters


def _evidence(
    page: Page,
    neighbours: Neighbours,
    owners: list[Owner],
    deliveries: list[Delivery],
    letters: Correspondence,
) -> Evidence:
    deliveries = [*deliveries, letters.first, letters.reply]
    mails = [delivery.mail for delivery in deliveries]
    with page.console.status("Searching the disks …"):
        for stack in neighbours.stacks:
            stack.wait_until_queue_is_empty()
        words = [word for mail in mails for word in mail.secrets]
        searched = tuple(thief.search(neighbours.stacks, words))
    findings.thief(page, searched, words)
    counts = counters.read(*neighbours.stacks, mails, owners)
    findings.counters(page, counts)
    return Evidence(
        deliveries=tuple(deliveries),
        correspondence=letters,
        stored={a: neighbours.stored(a) for mail in mails for a in mail.to},
        waiting=sum(len(stack.queue_files()) for stack in neighbours.stacks),
        searched=searched,
        counts=counts,
    )


def _console() -> Console:
    # A terminal that lacks a character shows a question mark instead of ending the demo.
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    console = Console(highlight=False)
    width = console.width if console.is_terminal else 100
    console.width = min(max(width, COLUMNS_MIN), COLUMNS_MAX)
    return console


if __name__ == "__main__":
    sys.exit(main())
