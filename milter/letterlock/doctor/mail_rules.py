"""What is looked at of a host with Postfix and a milter, wherever the key service is."""

from collections.abc import Iterator
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
from letterlock.doctor.keyservice_rules import KeyService
from letterlock.doctor.probes import Probes
from letterlock.postfix import Settings
from letterlock.postfix_findings import Expected, Finding
from letterlock.postfix_rules import delivered_domains, unserved


@dataclass(frozen=True, slots=True)
class MailHost:
    """What is known of it before it is looked at."""

    config_directory: str
    """Postfix's."""

    settings: Settings
    expected: Expected
    config: Config
    config_path: str
    keyservice: KeyService | None
    """None: it runs elsewhere."""

    @property
    def queue(self) -> str:
        """Postfix's queue_directory."""
        return self.settings.parameters.get("queue_directory", "/var/spool/postfix")

    @property
    def service(self) -> str:
        """Where the key service answers the milter: unix:PATH or http://HOST:PORT."""
        socket = self.config.keyservice.socket
        return f"unix:{socket}" if socket.startswith("/") else socket


def as_milter(mail: MailHost, probes: Probes) -> dict[str, Iterator[Finding]]:
    """Return what is tried as the milter's account, by what it is about. Raise NotPossible."""
    return {
        "DKIM keys": _signing(mail, probes),
        "Redis": _redis(mail, probes),
        "key service": _lookups(mail, probes),
        "virtual_alias_maps, alias_maps": _tables(mail, probes),
    }


def _signing(mail: MailHost, probes: Probes) -> Iterator[Finding]:
    file = mail.keyservice.file if mail.keyservice else None
    authority = file.client_ca.trusted_file if file else ""
    yield from signing.trusted(mail.settings, mail.expected, probes.host, authority)
    if not mail.config.submission.is_on:
        return
    own = file.domains if file else delivered_domains(mail.settings)
    directory = mail.config.submission.dkim_directory
    yield from signing.keys(sorted(own), lambda domain: probes.signing_complaint(directory, domain))


def _redis(mail: MailHost, probes: Probes) -> Iterator[Finding]:
    client, url = redis_rights.MILTER, mail.config.redis.url
    yield from redis_rights.allowed(client, url, probes.ask_redis(client, url))


def _lookups(mail: MailHost, probes: Probes) -> Iterator[Finding]:
    outcomes = {
        domain: probes.lookup(mail.service, domain)
        for domain in delivered_domains(mail.settings) or ["localhost"]
    }
    answers = Outcome.UNAVAILABLE not in outcomes.values()
    yield from surroundings.key_service(answers=answers, where=mail.service)
    if answers and mail.settings.parameters:
        yield from unserved([d for d, outcome in outcomes.items() if outcome is Outcome.OUTSIDE])


def _tables(mail: MailHost, probes: Probes) -> Iterator[Finding]:
    directory = mail.config.postfix.config_directory
    yield from surroundings.tables(probes.tables_complaint(directory))


def rules(mail: MailHost, probes: Probes) -> Iterator[Finding]:
    """All else, first what is tried as Postfix."""
    yield from milter_greeting.reachable(mail.settings, mail.expected, probes.greet)
    listening = listeners.listeners(probes.host)
    yield from listeners.reentry(listening, mail.expected.reentry)
    yield from listeners.for_this_host(listening, mail.config.metrics, "metrics")
    yield from leftovers.spool(probes.host, mail.queue)
    yield from leftovers.core_dumps(probes.host, mail.config_path)
    yield from _files(mail, probes)
    yield from _services(mail, probes)


def _files(mail: MailHost, probes: Probes) -> Iterator[Finding]:
    config = mail.config
    yield from permissions.secrets(probes.host, [config.redis.secret_file])
    yield from permissions.settings(probes.host, [mail.config_path])
    yield from permissions.passwords(probes.host, [mail.config_path])
    can_refuse = "can have mail encrypted, and refused, in Postfix' name"
    sockets = [
        (config.socket.removeprefix("unix:"), can_refuse),
        (config.submission.socket.removeprefix("unix:"), can_refuse),
        (mail.service.removeprefix("unix:"), permissions.MAY_ENROL),
    ]
    yield from permissions.sockets(probes.host, [s for s in sockets if s[0].startswith("/")])


def _services(mail: MailHost, probes: Probes) -> Iterator[Finding]:
    page, workers = probes.page(mail.config.metrics), None
    if page is not None:
        running = page.total("letterlock_workers")
        workers = int(running), int(page.total("letterlock_workers_wanted"))
    yield from surroundings.page("milter", mail.config.metrics, "letterlock", workers)
    if (section := mail.config.authentication).enabled:
        complaint = probes.dns_complaint(section.nameserver, mail.config.name)
        yield from surroundings.nameserver(section.nameserver, complaint)
