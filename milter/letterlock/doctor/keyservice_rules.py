"""What is looked at of a key service that runs on this host, whether there is mail or not."""

from collections.abc import Iterator
from dataclasses import dataclass

from keyservice.client import Outcome
from letterlock.doctor import leftovers, listeners, permissions, redis_rights, surroundings
from letterlock.doctor.keyservice_file import KeyServiceFile
from letterlock.doctor.probes import Probes
from letterlock.postfix_findings import Finding

_ASKS = "can say by which address it asks, and guess as often as it likes"
_LEARNS = "learns which client certificates are in force"


@dataclass(frozen=True, slots=True)
class KeyService:
    """What is known of it before it is looked at."""

    file: KeyServiceFile
    path: str
    """Of that file."""


def redis(keyservice: KeyService, probes: Probes) -> Iterator[Finding]:
    """Its Redis, if it has one. Raises NotPossible."""
    client, url = redis_rights.KEYSERVICE, keyservice.file.redis.url
    if url:
        yield from redis_rights.allowed(client, url, probes.ask_redis(client, url))


def lookup(keyservice: KeyService, probes: Probes) -> Iterator[Finding]:
    """It answers on its socket, of a domain that is its own. Raises NotPossible."""
    service = f"unix:{keyservice.file.socket}"
    outcome = probes.lookup(service, next(iter(keyservice.file.domains), "localhost"))
    yield from surroundings.key_service(answers=outcome is not Outcome.UNAVAILABLE, where=service)


def rules(keyservice: KeyService, probes: Probes) -> Iterator[Finding]:
    """All that needs no other account."""
    file, path, host = keyservice.file, keyservice.path, probes.host
    listening = listeners.listeners(host)
    for address in file.ports:
        yield from listeners.for_this_host(listening, address, "the key service")
    yield from leftovers.core_dumps_of_keyservice(host, path)
    yield from permissions.secrets(host, file.secrets)
    yield from permissions.settings(host, [path])
    yield from permissions.passwords(host, [path])
    powers = {
        file.socket: permissions.MAY_ENROL,
        file.public.socket: _ASKS,
        file.socketmap.socket: _LEARNS,
    }
    yield from permissions.sockets(host, powers.items())
    yield from _services(file, probes)


def _services(file: KeyServiceFile, probes: Probes) -> Iterator[Finding]:
    if file.metrics:
        page = None if probes.page(file.metrics) is None else (0, 0)
        yield from surroundings.page("key service", file.metrics, "letterlock-keyservice", page)
    if file.discovery.needs_dnssec:
        yield from surroundings.resolver(file.discovery, probes.prove(file.discovery))
