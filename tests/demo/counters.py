"""The counters of both daemons, each beside the number that the mails make it be."""

from collections.abc import Sequence

from demo.mails import HOME, Mail
from demo.promises import Count
from stack import Owner, Stack

_MESSAGES = "letterlock_messages_total"


def read(
    home: Stack, away: Stack, mails: Sequence[Mail], owners: Sequence[Owner]
) -> tuple[Count, ...]:
    """Return what a monitoring system of each provider would see."""
    left = [mail for mail in mails if mail.sender.endswith(f"@{HOME}")]
    taken = [mail for mail in mails if not mail.waits and mail not in left]
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
        (
            "left in the clear: no certificate known",
            "milter",
            _MESSAGES,
            {"disposition": "passed_plain"},
            len(left),
        ),
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
    rows_away = [
        (
            "Dora's provider: mail with a certificate",
            "keyservice",
            "keyservice_reports_total",
            {"result": "noted"},
            1,
        ),
        (
            "Dora's provider: encrypted before it left",
            "milter",
            _MESSAGES,
            {"reason": "encrypted_for_peer"},
            1,
        ),
    ]
    return tuple(
        Count(meaning, _written(sample, labels), expected, stack.counter(daemon, sample, **labels))
        for stack, of in ((home, rows), (away, rows_away))
        for meaning, daemon, sample, labels, expected in of
    )


def _written(sample: str, labels: dict[str, str]) -> str:
    selectors = ", ".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{sample}{{{selectors}}}"
