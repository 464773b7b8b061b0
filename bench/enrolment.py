"""Whether a message costs more when many mailboxes are enrolled.

The many are written into the database directly, each with a certificate of its own: what
vetting found about one real certificate, with another mailbox and another point on the
curve. Nobody could read mail encrypted to them; it is thrown away.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

import accounting
from keyservice import schema
from keyservice.certificate import Certificate
from keyservice.database import Database
from keyservice.mailbox import Mailbox
from mailhost import Cost, Door, MailHost
from report import Findings, Target
from stack import Owner

_FEW, _MANY = 10, 100_000
_MESSAGES = 400
_SESSIONS = 10
_PER_ROUND = 1_000
"""Mailboxes 0roundR to 999roundR: smtp-source puts the number in front."""

_NOISE = 1.10
"""Rounds of the same kind differ by this much on a machine with other work to do."""

_INSERT_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class _Measured:
    same: list[Cost]
    spread: list[Cost]
    keyservice_kb: int


def measure(*, quick: bool) -> Findings:
    """Return cost with few and with many mailboxes; to the same ten, and spread over all."""
    rounds = 3 if quick else 7
    measured = {}
    # Both hosts run all the time, so that rounds can take turns.
    with MailHost() as few, MailHost() as many, Owner("mailbox@example.test") as owner:
        hosts = {_FEW: few, _MANY: many}
        ten = [f"mailbox{number}@example.test" for number in range(_FEW)]
        for host in hosts.values():
            host.stack.enrol(owner.address, owner.certificate)
            _fill(host, [Mailbox.parse(address) for address in ten])
        # Whoever is asked for the first time costs the same, whatever the number behind:
        # the small host therefore gets as many mailboxes as the rounds will name.
        _fill(few, list(_numbered(rounds + 1)))
        _fill(many, list(_numbered(_MANY // _PER_ROUND)))
        costs = {count: ([], []) for count in hosts}
        for number in range(rounds + 1):
            for count, host in hosts.items():
                file = host.message(10_240)
                same = host.round(Door.LETTERLOCK, file, ten, _MESSAGES, _SESSIONS)
                at = number * ((_MANY // _PER_ROUND) // (rounds + 1)) if host is many else number
                spread = host.round(
                    Door.LETTERLOCK, file, [f"round{at}@example.test"], _MESSAGES, _SESSIONS,
                    numbered=True,
                )
                if number:
                    costs[count][0].append(same)
                    costs[count][1].append(spread)
