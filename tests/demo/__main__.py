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
from demo.evidence import deliver
from demo.mails import ALICE, BOB, six_mails
from demo.page import Page
from demo.promises import Evidence, Promise, judge
from keyservice.mailbox import Mailbox
from keyservice.operator_client import ServiceRefused, ServiceUnavailable
from stack import NotReady, Owner, Stack

COLUMNS_MIN, COLUMNS_MAX = 80, 110
ENDED_BY = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
"""Exit status for each signal, as a shell reports it."""

NOT_RUN = (NotReady, ServiceUnavailable, ServiceRefused, OSError)
"""Something of the stack failed, not a promise about mail."""


def main(stack_in: Callable[[Path], Stack] = Stack) -> int:
    """Run the demo; return the exit status. `stack_in`: for tests, to break something."""
    for number, status in ENDED_BY.items():
        signal.signal(number, lambda *_, status=status: sys.exit(status))
    page = Page(_console())
    directory = Path(tempfile.mkdtemp(prefix="letterlock-demo-", dir="/tmp"))
    left = None
    resources = ExitStack()
    try:
        promises = _run(page, resources, stack_in(directory))
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


def _run(page: Page, resources: ExitStack, stack: Stack) -> list[Promise]:
    began = time.monotonic()
    show.introduction(page)
    with page.console.status("Starting five daemons …"):
        resources.callback(stack.stop)
        stack.start()
    show.daemons(page)
    with page.console.status("Alice and Bob are making their keys …"):
        owners = [
            resources.enter_context(Owner(ALICE)),
            resources.enter_context(Owner(BOB, "rsa2048", "rsa2048")),
        ]
        for owner in owners:
            stack.enrol(owner.address, owner.certificate)
        stack.operator.set_policy(Mailbox.parse(BOB), {"header_policy": "hcp_all"})
    show.owners(page, owners)
    evidence = _evidence(page, stack, owners)
    promises = judge(evidence)
    findings.verdict(page, promises, time.monotonic() - began)
    return promises


def _evidence(page: Page, stack: Stack, owners: list[Owner]) -> Evidence:
    mails = six_mails(owners[0])
    deliveries = []
    for number, mail in enumerate(mails, 1):
        with page.console.status(f"Mail {number} is on its way …"):
            deliveries.append(deliver(stack, mail, owners))
        show.delivery(page, number, len(mails), deliveries[-1])
    with page.console.status("Searching the disk …"):
        stack.wait_until_queue_is_empty()
        words = [word for mail in mails for word in mail.secrets]
        searched = tuple(thief.search(stack, words))
    findings.thief(page, searched, words)
    counts = counters.read(stack, mails, owners)
    findings.counters(page, counts)
    return Evidence(
        deliveries=tuple(deliveries),
        stored={a: len(stack.maildir(a)) for mail in mails for a in mail.to},
        waiting=len(stack.queue_files()),
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
