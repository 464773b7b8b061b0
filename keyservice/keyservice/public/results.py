"""What became of a public request: closed sets for the metric, and the counter itself."""

from collections.abc import Callable
from enum import Enum

from prometheus_client import CollectorRegistry, Counter


class Protocol(Enum):
    """By which somebody asked. Also the metric label."""

    WKD = "wkd"
    HKP = "hkp"
    VKS = "vks"
    NICKNYM = "nicknym"


class Result(Enum):
    """What he got. Also the metric label."""

    FOUND = "found"
    NOT_FOUND = "not_found"
    REFUSED = "refused"
    """A question that cannot be answered as it was put."""

    LIMITED = "limited"
    FAILED = "failed"


Observe = Callable[[Protocol, Result], None]


def protocol_of(path: str) -> Protocol:
    """Return by which protocol `path` is asked for."""
    for prefix, protocol in _PREFIXES.items():
        if path.startswith(prefix):
            return protocol
    return Protocol.NICKNYM


def result_of(status: int) -> Result:
    """Return what a status code says."""
    match status:
        case 404:
            return Result.NOT_FOUND
        case 429:
            return Result.LIMITED
        case _ if status < 400:
            return Result.FOUND
        case _ if status < 500 or status == 501:
            return Result.REFUSED
        case _:
            return Result.FAILED


def published_counter(registry: CollectorRegistry) -> Observe:
    """Return what counts into `keyservice_published_total`, each label there from the start."""
    counter = Counter(
        "keyservice_published",
        "Public requests, if there is a public listener.",
        ["protocol", "result"],
        registry=registry,
    )
    for protocol in Protocol:
        for result in Result:
            counter.labels(protocol.value, result.value)

    def observe(protocol: Protocol, result: Result) -> None:
        counter.labels(protocol.value, result.value).inc()

    return observe


_PREFIXES = {
    "/.well-known/openpgpkey": Protocol.WKD,
    "/pks": Protocol.HKP,
    "/vks": Protocol.VKS,
}
