"""The counters of both daemons, each beside the number that the mails make it be."""

from collections.abc import Sequence

from demo.mails import Mail
from demo.promises import Count
from stack import Owner, Stack

_MESSAGES = "letterlock_messages_total"


def read(stack: Stack, mails: Sequence[Mail], owners: Sequence[Owner]) -> tuple[Count, ...]:
    """Return what a monitoring system would see."""
    taken = [mail for mail in mails if not mail.waits]
    wrapped = sum(len(mail.to) for mail in taken if not mail.arrives_encrypted)
    header = sum(len(mail.to) for mail in taken if mail.arrives_encrypted)
    waiting = sum(len(mail.to) for mail in mails if mail.waits)
    further = sum(len(mail.to) - 1 for mail in taken)
    rows = [
        ("copies encrypted", "milter", _MESSAGES, {"reason": "wrapped"}, wrapped),
        (
            "came encrypted: header fields locked",
            "milter",
            _MESSAGES,
            {"reason": "arrived_encrypted_header"},
            header,
        ),
        (
            "put off: no certificate",
            "milter",
            _MESSAGES,
            {"disposition": "deferred", "reason": "no_certificate"},
            waiting,
        ),
        ("stored in the clear", "milter", _MESSAGES, {"disposition": "passed_plain"}, 0),
        (
            "further copies (several recipients)",
            "milter",
            "letterlock_reentered_copies_total",
            {"result": "accepted"},
            further,
        ),
        (
            "certificates in use",
            "keyservice",
            "keyservice_certificates",
            {"state": "in_use"},
            len(owners),
        ),
    ]
    return tuple(
        Count(meaning, _written(sample, labels), expected, stack.counter(daemon, sample, **labels))
        for meaning, daemon, sample, labels, expected in rows
    )


def _written(sample: str, labels: dict[str, str]) -> str:
    selectors = ", ".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{sample}{{{selectors}}}"
