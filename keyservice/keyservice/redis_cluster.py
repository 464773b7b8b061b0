"""A Redis cluster: which of its servers has what, and a client that follows."""

import threading
from typing import Any, NoReturn

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisClusterException
from redis.retry import Retry

Topology = tuple[tuple[int, int, str, int], ...]
"""First and last slot, host and port of their master."""

_REDIRECTIONS = 1
"""A slot has moved, or its master has changed: asked again once. A second time is a miss."""


_PATIENCE = 0.25
"""Seconds."""


class ClusterClient(redis.Redis):
    """A cluster of which nothing is asked before the first command. Any thread may call it."""

    def __init__(self, addresses: tuple[tuple[str, int], ...], options: dict[str, Any]) -> None:
        super().__init__()
        self._addresses = addresses
        self._options = options
        self._lock = threading.Lock()
        self._cluster: RedisCluster | None = None

    def pipeline(self, *_: Any, **__: Any) -> NoReturn:
        """Nobody needs one: its commands would go to several servers."""
        raise NotImplementedError

    def execute_command(self, *words: Any, **options: Any) -> Any:
        """Send one command about one name. Raises redis.RedisError, OSError."""
        try:
            return self._connected().execute_command(*words, **options)  # type: ignore[no-untyped-call]  # redis-py
        except RedisClusterException as error:  # which is no RedisError
            raise redis.ConnectionError("the cluster does not have that slot") from error

    def close(self) -> None:
        """Close all connections."""
        super().close()
        if self._cluster is not None:
            self._cluster.close()

    def _connected(self) -> RedisCluster:
        # Not one after the other, each for the time that a cluster takes that does not answer.
        if not self._lock.acquire(timeout=_PATIENCE):
            raise redis.TimeoutError("somebody else is connecting")
        try:
            if self._cluster is None:
                nodes = [ClusterNode(*address) for address in self._addresses]  # type: ignore[no-untyped-call]  # redis-py
                self._cluster = RedisCluster(
                    startup_nodes=nodes,
                    retry=Retry(NoBackoff(), _REDIRECTIONS),
                    # Of the slots whose master is gone nothing can be had; of the others it can.
                    require_full_coverage=False,
                    **self._options,
                )
            return self._cluster
        finally:
            self._lock.release()


def topology(slots: Any, asked: str) -> Topology:
    """Return what CLUSTER SLOTS says; a server that does not know its own name is `asked`."""
    return tuple(
        sorted(
            (int(row[0]), int(row[1]), _text(row[2][0]) or asked, int(row[2][1])) for row in slots
        )
    )


def _text(word: bytes | str | None) -> str:
    return word.decode() if isinstance(word, bytes) else word or ""
