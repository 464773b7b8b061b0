"""Everything of a worker put together: the one place where effects meet the gateway."""

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from time import time

import redis
from prometheus_client import Counter, Histogram

from keyservice.client import ClientConfig, KeyServiceClient, Layer, Outcome, connect
from letterlock import metrics
from letterlock.ciphertext import Spill
from letterlock.config import Config, host_and_port, read_secret
from letterlock.errors import ConfigError
from letterlock.gateway import Effects, Gateway
from letterlock.postfix_tables import PostfixTables, Resolver
from letterlock.reentry import ReentryPort

IDLE_SECONDS = 7210
"""How long libmilter waits for Postfix: longer than any of Postfix's own timeouts."""


def gateway(config: Config) -> Gateway:
    """Return the gateway that `config` describes. Raises ConfigError, TablesUnavailable."""
    secret = read_secret(config.redis.secret_file)
    client = ClientConfig(
        service=config.keyservice.socket,
        redis_url=config.redis.url,
        secret=secret,
        hold=True,
        deadline=config.keyservice.deadline_seconds,
        stale_for=config.keyservice.stale_seconds,
    )
    tables = PostfixTables(config.postfix.config_directory)
    try:
        effects = Effects(
            resolve=Resolver(tables).resolve,
            lookup=KeyServiceClient(client, observe=_observe).lookup,
            reentry=ReentryPort(*host_and_port(config.postfix.reentry, "postfix.reentry")),
            markers=RedisStore(connect(config.redis.url)),
            clock=time,
            random=os.urandom,
        )
    except ValueError as error:
        raise ConfigError(f"redis.url or keyservice.socket: {error}") from None
    return Gateway(effects, config.name, secret, _spill(config))


class RedisStore:
    """`markers.Store` in Redis: down is the same as empty."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def get(self, name: str) -> bytes | None:
        """See `markers.Store`."""
        try:
            found = self._client.get(name)
        except redis.RedisError:
            return None
        return found if isinstance(found, bytes) else None

    def set(self, name: str, value: bytes, seconds: int) -> None:
        """See `markers.Store`."""
        try:
            self._client.set(name, value, ex=seconds)
        except redis.RedisError:
            metrics.FAILURES.labels("marker_not_kept").inc()

    def delete(self, names: Iterable[str]) -> None:
        """See `markers.Store`."""
        try:
            self._client.delete(*names)
        except redis.RedisError:
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
