"""The whole of `letterlock doctor`: every rule, over one host."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from keyservice.client import Outcome
from letterlock.config import Config
from letterlock.doctor import (
    leftovers,
    listeners,
    milter_greeting,
    permissions,
    redis_rights,
    signing,
    surroundings,
)
from letterlock.doctor.accounts import NotPossible
from letterlock.doctor.keyservice_file import KeyServiceFile
from letterlock.doctor.probes import Probes
from letterlock.postfix import Settings
from letterlock.postfix_findings import Expected, Finding, Severity
from letterlock.postfix_rules import delivered_domains, findings, unserved

_WEIGHTS = {severity: weight for weight, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True)
class Case:
    """What is known of the host before it is looked at."""

    settings: Settings
    expected: Expected
    config: Config
    config_path: str
    keyservice: KeyServiceFile | None
    """None: the key service runs elsewhere."""

    keyservice_path: str
    service: str
    """Where it answers: unix:PATH or http://HOST:PORT."""

    @property
    def queue(self) -> str:
        """Postfix's queue_directory."""
        return self.settings.parameters.get("queue_directory", "/var/spool/postfix")


Rules = Callable[[Case, Probes], Iterator[Finding]]


def examine(case: Case, probes: Probes) -> list[Finding]:
    """Return all that is to be corrected or looked at, the worst first."""
    found = findings(case.settings, case.expected)
    # First what forks (`accounts`), while nothing has started a thread.
    found += _way_in(case, probes)
    for where, rules in _AS_MILTER.items():
        found += _tried(where, rules, case, probes)
    for rules in (_leftovers, _files, _services):
        found += rules(case, probes)
    return sorted(found, key=lambda finding: _WEIGHTS[finding.severity])


def _tried(where: str, rules: Rules, case: Case, probes: Probes) -> Iterator[Finding]:
    try:
        yield from rules(case, probes)
    except NotPossible as error:
        reason = f"not tried, because only the milter's account can tell: {error}"
        yield Finding(where, "sudo letterlock doctor", reason, Severity.NOTE)


def _way_in(case: Case, probes: Probes) -> Iterator[Finding]:
    yield from milter_greeting.reachable(case.settings, case.expected, probes.greet)
    listening = listeners.listeners(probes.host)
    yield from listeners.reentry(listening, case.expected.reentry)
    yield from listeners.for_this_host(listening, case.config.metrics, "metrics")
    if case.keyservice is None:
        return
    for address in filter(None, (case.keyservice.metrics, case.keyservice.tcp)):
        yield from listeners.for_this_host(listening, address, "the key service")


def _leftovers(case: Case, probes: Probes) -> Iterator[Finding]:
    yield from leftovers.spool(probes.host, case.queue)
    yield from leftovers.swap(probes.host)
    yield from leftovers.core_dumps(probes.host, case.config_path)


def _files(case: Case, probes: Probes) -> Iterator[Finding]:
    config, keyservice = case.config, case.keyservice or KeyServiceFile()
    secrets = {config.redis.secret_file: None}
    if case.keyservice is not None:
        secrets |= {keyservice.redis.secret_file: None, keyservice.client_ca.passphrase_file: None}
    yield from permissions.secrets(probes.host, secrets)
    paths = (case.config_path, case.keyservice_path if case.keyservice is not None else "")
    yield from permissions.settings(probes.host, paths)
    yield from permissions.passwords(probes.host, paths)
    can_refuse = "can have mail encrypted, and refused, in Postfix' name"
    sockets = [
        (config.socket.removeprefix("unix:"), can_refuse),
        (config.submission.socket.removeprefix("unix:"), can_refuse),
        (case.service.removeprefix("unix:"), "can enrol a certificate of his for anybody"),
    ]
    yield from permissions.sockets(probes.host, [s for s in sockets if s[0].startswith("/")])


def _redis(case: Case, probes: Probes) -> Iterator[Finding]:
    yield from redis_rights.allowed(case.config.redis.url, probes.ask_redis(case.config.redis.url))


def _tables(case: Case, probes: Probes) -> Iterator[Finding]:
    directory = case.config.postfix.config_directory
    yield from surroundings.tables(probes.tables_complaint(directory))


def _lookups(case: Case, probes: Probes) -> Iterator[Finding]:
    outcomes = {
        domain: probes.lookup(case.service, domain)
        for domain in delivered_domains(case.settings) or ["localhost"]
    }
    answers = Outcome.UNAVAILABLE not in outcomes.values()
    yield from surroundings.key_service(answers=answers, where=case.service)
    if answers and case.settings.parameters:
        yield from unserved([d for d, outcome in outcomes.items() if outcome is Outcome.OUTSIDE])


def _services(case: Case, probes: Probes) -> Iterator[Finding]:
    yield from _milter(case, probes)
    if (section := case.config.authentication).enabled:
        complaint = probes.dns_complaint(section.nameserver, case.config.name)
        yield from surroundings.nameserver(section.nameserver, complaint)
    if case.keyservice is not None:
        if address := case.keyservice.metrics:
            page = None if probes.page(address) is None else (0, 0)
            yield from surroundings.page("key service", address, "letterlock-keyservice", page)
        discovery = case.keyservice.discovery
        if discovery.needs_dnssec:
            yield from surroundings.resolver(discovery, probes.prove(discovery))
    yield from surroundings.clock(is_synchronised=probes.host.is_clock_synchronised())


def _milter(case: Case, probes: Probes) -> Iterator[Finding]:
    page, workers = probes.page(case.config.metrics), None
    if page is not None:
        running = page.total("letterlock_workers")
        workers = int(running), int(page.total("letterlock_workers_wanted"))
    yield from surroundings.page("milter", case.config.metrics, "letterlock", workers)


def _signing(case: Case, probes: Probes) -> Iterator[Finding]:
    authority = case.keyservice.client_ca.trusted_file if case.keyservice else ""
    yield from signing.trusted(case.settings, case.expected, probes.host, authority)
    if not case.config.submission.is_on:
        return
    own = case.keyservice.domains if case.keyservice else delivered_domains(case.settings)
    directory = case.config.submission.dkim_directory
    yield from signing.keys(sorted(own), lambda domain: probes.signing_complaint(directory, domain))


_AS_MILTER: dict[str, Rules] = {
    "DKIM keys": _signing,
    "Redis": _redis,
    "key service": _lookups,
    "virtual_alias_maps, alias_maps": _tables,
}
"""What is tried as the milter's account, by what it is about."""
