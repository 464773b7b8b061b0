"""Where Redis is: one server, one that Sentinels name, or a cluster.

`redis://`, `rediss://` and `unix://` as redis-py has them, and

    redis+sentinel://[USER:PASSWORD@]HOST:PORT,HOST:PORT/SERVICE[?OPTIONS]
    redis+cluster://[USER:PASSWORD@]HOST:PORT,HOST:PORT[?OPTIONS]

where `rediss+` means TLS. The Sentinels themselves are spoken to with the same TLS, and as
`sentinel_username` with `sentinel_password` if these are among the options.
"""

from enum import Enum
from typing import Any, NamedTuple, assert_never
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.connection import SSLConnection, parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from keyservice.redis_cluster import ClusterClient, Topology, topology

Options = dict[str, Any]
"""Arguments of a `redis.Connection`."""


_FORM = (
    "expected redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://, and in a"
    " password %2F for /, %3A for : and %40 for @"
)


class BadURL(ValueError):
    """It makes no sense; the text says what was expected, and quotes nothing: it has a password."""


class Kind(Enum):
    """How many servers there are, and who says which one counts."""

    STANDALONE = "standalone"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


class Servers(NamedTuple):
    """Where to connect. Holds passwords."""

    kind: Kind
    url: str
    """Of the one server, or of the first one that is named."""

    addresses: tuple[tuple[str, int], ...] = ()
    service: str = ""

    @classmethod
    def parse(cls, url: str) -> "Servers":
        """Return what `url` says; raises BadURL."""
        try:
            return cls._parsed(url)
        except BadURL:
            raise
        except ValueError:
            raise BadURL(_FORM) from None

    @classmethod
    def _parsed(cls, url: str) -> "Servers":
        scheme, _, rest = url.partition("://")
        plain, _, kind = scheme.partition("+")
        if not kind:
            _parts(url)
            return cls(Kind.STANDALONE, url)
        if plain not in ("redis", "rediss") or kind not in ("sentinel", "cluster"):
            raise BadURL("no scheme that is known")
        authority, _, tail = rest.partition("/")
        if not tail:
            authority, _, query = authority.partition("?")
            service = ""
        else:
            service, _, query = tail.partition("?")
        credentials, _, hosts = authority.rpartition("@")
        addresses = tuple(_address(host) for host in hosts.split(","))
        if (kind == "sentinel") != bool(service):
            raise BadURL("redis+sentinel:// ends with the name of the service, others do not")
        first = f"{plain}://{credentials}{'@' * bool(credentials)}{hosts.split(',')[0]}/?{query}"
        if _parts(first).get("db") and kind == "cluster":
            raise BadURL("a cluster has one database, without a number")
        return cls(Kind(kind), first, addresses, service)

    def client(self, options: Options) -> redis.Redis:
        """Return a client; nothing is sent yet, and nothing will be retried."""
        match self.kind:
            case Kind.STANDALONE:
                return redis.Redis.from_url(self.url, **options, **_once())
            case Kind.SENTINEL:
                return redis.Redis.from_pool(self._master(options))
            case Kind.CLUSTER:
                return ClusterClient(self.addresses, {**options, **self._given()})
            case _:
                assert_never(self.kind)

    def connections(self, options: Options) -> tuple[list[Any], Topology]:
        """Return an unused connection to each server that is written to.

        Which these are in a cluster, is asked now, and what it said returned, too.
        """
        match self.kind:
            case Kind.STANDALONE:
                pool = redis.ConnectionPool.from_url(self.url, **options, **_once())
                return [pool.make_connection()], ()
            case Kind.SENTINEL:
                return [self._master(options).make_connection()], ()
            case Kind.CLUSTER:
                return self._masters(options)
            case _:
                assert_never(self.kind)

    def _given(self) -> Options:
        """Return the options in the URL, which win over ours."""
        given = _parts(self.url)
        if given.pop("connection_class", None) is SSLConnection:
            given["ssl"] = True
        for name in ("host", "port", "sentinel_username", "sentinel_password"):
            given.pop(name, None)
        return given

    def _master(self, options: Options) -> SentinelConnectionPool:
        given = {**options, **self._given(), **_once()}
        about = _parts(self.url)
        asking = {
            name: value
            for name, value in given.items()
            if name == "ssl" or name.startswith(("ssl_", "socket_"))
        }
        for name in ("username", "password"):
            if word := about.get(f"sentinel_{name}"):
                asking[name] = word
        sentinel = Sentinel(self.addresses, sentinel_kwargs=asking | _once())  # type: ignore[no-untyped-call]  # redis-py
        return SentinelConnectionPool(self.service, sentinel, **given)  # type: ignore[no-untyped-call]  # redis-py

    def _masters(self, options: Options) -> tuple[list[Any], Topology]:
        given = {**options, **self._given(), **_once()}
        failure: Exception = redis.ConnectionError("no node of the cluster can be reached")
        for host, port in self.addresses:
            with redis.Redis(host=host, port=port, **given) as node:
                try:
                    slots = node.execute_command("CLUSTER", "SLOTS")
                    told = topology(slots, host)
                except (redis.RedisError, OSError) as error:
                    failure = error
                    continue
            masters = sorted({(h, p) for _, _, h, p in told})
            return [
                redis.Redis(host=h, port=p, **given).connection_pool.make_connection()
                for h, p in masters
            ], told
        raise failure


def _parts(url: str) -> Options:
    return dict(parse_url(url))  # type: ignore[no-untyped-call]  # redis-py


def _once() -> Options:
    # redis-py retries three times with pauses unless told otherwise: an outage would cost
    # each recipient seconds.
    return {"retry": Retry(NoBackoff(), 0)}


def _address(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.port is None:
        raise BadURL("expected HOST:PORT,HOST:PORT")
    return parts.hostname, parts.port
