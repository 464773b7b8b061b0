"""Everything of a worker put together: the one place where effects meet the gateway."""

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from time import time
from typing import NamedTuple, assert_never

import redis
from prometheus_client import Counter, Histogram

from keyservice.client import (
    CacheResult,
    ClientConfig,
    KeyServiceClient,
    Layer,
    Outcome,
    PeerClient,
    RedisOutage,
    SenderClient,
    connect,
)
from letterlock import metrics
from letterlock.aftermath import Aftermath
from letterlock.authentication import Authenticator
from letterlock.behind import Behind, ReportResult
from letterlock.callbacks import Curiosity
from letterlock.ciphertext import Spill
from letterlock.config import Config, host_and_port, read_secret
from letterlock.dkim.keys import KeyDirectory
from letterlock.dns import Resolver as DnsResolver
from letterlock.errors import ConfigError
from letterlock.gateway import Effects, Gateway
from letterlock.inbound import Inbound, Vouching
from letterlock.postfix_tables import PostfixTables, Resolver
from letterlock.reentry import ReentryPort
from letterlock.reporter import Reporter
from letterlock.roles import Role
from letterlock.submission import Submission, Submitting

IDLE_SECONDS = 7210
"""How long libmilter waits for Postfix: longer than any of Postfix's own timeouts."""


class Assembled(NamedTuple):
    """What a worker serves with."""

    gateway: Gateway
    curiosity: Curiosity
    behind: Behind


def assemble(config: Config, role: Role) -> Assembled:
    """Return what `config` describes for `role`. Raises ConfigError, TablesUnavailable."""
    secret = read_secret(config.redis.secret_file)
    tables = Resolver(PostfixTables(config.postfix.config_directory))
    behind = Behind(config.authentication.report_queue, _observe_report)
    try:
        effects = _effects(config, secret, tables)
        match role:
            case Role.INBOUND:
                vouching = _vouching(config, behind)
                gateway: Gateway = Inbound(effects, config.name, secret, _spill(config), vouching)
                is_curious = config.authentication.enabled
                curiosity = Curiosity.WHENCE if is_curious else Curiosity.NOTHING
            case Role.SUBMISSION:
                submitting = _submitting(config, tables, behind)
                gateway = Submission(effects, config.name, secret, _spill(config), submitting)
                curiosity = Curiosity.WHO
            case _:
                assert_never(role)
    except ValueError as error:  # what `config` does not know to be wrong
        raise ConfigError(f"redis.url or keyservice.socket: {error}") from None
    return Assembled(gateway, curiosity, behind)


def _effects(config: Config, secret: bytes, tables: Resolver) -> Effects:
    client = ClientConfig(
        service=config.keyservice.socket,
        redis_url=config.redis.url,
        secret=secret,
        hold=True,
        deadline=config.keyservice.deadline_seconds,
        stale_for=config.keyservice.stale_seconds,
    )
    return Effects(
        resolve=tables.resolve,
        lookup=KeyServiceClient(client, observe=_observe, observe_cache=_observe_cache).lookup,
        reentry=ReentryPort(*host_and_port(config.postfix.reentry, "postfix.reentry")),
        markers=RedisStore(connect(config.redis.url)),
        clock=time,
        random=os.urandom,
    )


def _vouching(config: Config, behind: Behind) -> Vouching:
    section = config.authentication
    # Where nothing is checked, what strangers wrote in our name goes all the same.
    questions = DnsResolver(section.nameserver) if section.enabled else None
    authenticator = Authenticator(config.name, section, questions, time)
    if not section.report:
        return Vouching(authenticator)
    return Vouching(authenticator, Reporter(PeerClient(config.keyservice.socket), behind))


def _submitting(config: Config, tables: Resolver, behind: Behind) -> Submitting:
    section = config.submission
    peers = PeerClient(config.keyservice.socket)
    senders = SenderClient(config.keyservice.socket, config.keyservice.deadline_seconds)
    return Submitting(
        tables=tables,
        sender=senders.sender,
        peers=lambda mailboxes: peers.lookup_all(mailboxes, section.lookup_seconds),
        aftermath=Aftermath(behind, peers, senders, time),
        keys=KeyDirectory(section.dkim_directory),
        signature_days=section.signature_days,
    )


def _observe_cache(result: CacheResult) -> None:
    metrics.CACHE_BY_RESULT[result].inc()


def _observe_report(result: ReportResult) -> None:
    metrics.REPORTS_BY_RESULT[result].inc()


class RedisStore:
    """`markers.Store` in Redis: down is the same as empty."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._outage = RedisOutage()

    def get(self, name: str) -> bytes | None:
        """See `markers.Store`."""
        try:
            found = self._client.get(name)
        except redis.RedisError as error:
            self._outage.failed(error)
            return None
        self._outage.over()
        return found if isinstance(found, bytes) else None

    def set(self, name: str, value: bytes, seconds: int) -> None:
        """See `markers.Store`."""
        try:
            self._client.set(name, value, ex=seconds)
        except redis.RedisError as error:
            self._outage.failed(error)
            metrics.FAILURES.labels("marker_not_kept").inc()

    def delete(self, names: Iterable[str]) -> None:
        """See `markers.Store`."""
        try:
            for name in names:  # in a cluster each is elsewhere
                self._client.delete(name)
        except redis.RedisError as error:
            self._outage.failed(error)
            metrics.FAILURES.labels("marker_not_kept").inc()


@cache
def _meters(layer: Layer, outcome: Outcome) -> tuple[Counter, Histogram]:
    # `labels` costs more than a lookup in memory.
    return (
        metrics.LOOKUPS.labels(layer.value, outcome.value),
        metrics.LOOKUP_SECONDS.labels(layer.value),
    )


def _observe(layer: Layer, outcome: Outcome, seconds: float) -> None:
    count, duration = _meters(layer, outcome)
    count.inc()
    # What comes out of memory takes less time than to write down how much.
    if layer is not Layer.MEMORY:
        duration.observe(seconds)


def _spill(config: Config) -> Spill:
    directory = Path(config.spill.directory)
    if not os.access(directory, os.W_OK | os.X_OK):
        raise ConfigError(f"spill.directory: {directory} is not a writable directory")
    return Spill(str(directory), config.spill.threshold_octets)
