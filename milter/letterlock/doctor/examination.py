"""The whole of `letterlock doctor`: every rule that applies to a host, over it."""

from collections.abc import Iterator, Mapping
from typing import assert_never

from letterlock.doctor import keyservice_rules, leftovers, mail_rules, surroundings
from letterlock.doctor.accounts import NotPossible
from letterlock.doctor.keyservice_rules import KeyService
from letterlock.doctor.mail_rules import MailHost
from letterlock.doctor.probes import Probes
from letterlock.postfix_findings import Finding, Severity
from letterlock.postfix_rules import findings

_WEIGHTS = {severity: weight for weight, severity in enumerate(Severity)}

Case = MailHost | KeyService
"""A host with a milter, or one that has only a key service."""


def examine(case: Case, probes: Probes) -> list[Finding]:
    """Return all that is to be corrected or looked at, the worst first."""
    # What both daemons have in common, a secret for one, is looked at twice.
    found = dict.fromkeys(_all(case, probes))
    return sorted(found, key=lambda finding: _WEIGHTS[finding.severity])


def _all(case: Case, probes: Probes) -> Iterator[Finding]:
    match case:
        case MailHost():
            yield from _of_mail_host(case, probes)
        case KeyService():
            yield from _of_keyservice(case, probes)
        case _:
            assert_never(case)
    yield from surroundings.clock(is_synchronised=probes.host.is_clock_synchronised())


def _of_mail_host(mail: MailHost, probes: Probes) -> Iterator[Finding]:
    keyservice = mail.keyservice
    yield from findings(mail.settings, mail.expected)
    # First what forks (`accounts`), while nothing has started a thread.
    yield from _tried(mail_rules.as_milter(mail, probes))
    if keyservice is not None:
        yield from _tried({"Redis": keyservice_rules.redis(keyservice, probes)})
    yield from mail_rules.rules(mail, probes)
    yield from leftovers.swap(probes.host, has_mail=True)
    if keyservice is not None:
        yield from keyservice_rules.rules(keyservice, probes)


def _of_keyservice(keyservice: KeyService, probes: Probes) -> Iterator[Finding]:
    tried = {
        "Redis": keyservice_rules.redis(keyservice, probes),
        # Where there is a milter, it is asked what that needs to know.
        "key service": keyservice_rules.lookup(keyservice, probes),
    }
    yield from _tried(tried)
    yield from keyservice_rules.rules(keyservice, probes)
    yield from leftovers.swap(probes.host, has_mail=False)


def _tried(rules: Mapping[str, Iterator[Finding]]) -> Iterator[Finding]:
    for where, found in rules.items():
        try:
            yield from found
        except NotPossible as error:
            reason = f"not tried, because only the daemon's account can tell: {error}"
            yield Finding(where, "sudo letterlock doctor", reason, Severity.NOTE)
