"""How often one network may ask: a fixed window of a minute, counted in Redis for all instances.

Redis unavailable means that this instance counts for itself. Networks are counted rather
than addresses (IPv4 /24, IPv6 /56), because that is what one customer can choose from. Redis
gets an HMAC of the network, which it forgets after two minutes.
"""

import hmac
import threading
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import redis

from keyservice.cache import REDIS_COOLDOWN
from keyservice.circuit import Circuit

WINDOW = 60
"""Seconds."""

_NETWORKS_MAX = 10_000
"""Counted apart by one instance when Redis is away; whoever comes later shares one count."""

_IPV4_PREFIX, _IPV6_PREFIX = 24, 56


class Limits:
    """Any thread may call it."""

    def __init__(
        self,
        per_minute: int,
        client: redis.Redis | None,
        secret: bytes,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Allow `per_minute` requests to each network; `secret` hides them from Redis."""
        self._per_minute = per_minute
        self._client = client
        self._secret = secret
        self._clock = clock
        self._circuit = Circuit(REDIS_COOLDOWN)
        self._local = _LocalCounts()

    def wait(self, address: str) -> int:
        """Count one request from `address`; return how many seconds it came too early, or 0."""
        now = self._clock()
        window = int(now) // WINDOW
        network = network_of(address)
        count = self._shared_count(network, window)
        if count is None:
            count = self._local.count(network, window)
        return 0 if count <= self._per_minute else (window + 1) * WINDOW - int(now)

    def _shared_count(self, network: str, window: int) -> int | None:
        if self._client is None or not self._circuit.is_closed:
            return None
        name = hmac.digest(self._secret, b"letterlock network 1\0" + network.encode(), "sha256")
        key = f"letterlock:public:1:{window}:{name.hex()}"
        try:
            # One by one: a cluster has no pipeline that is worth its name.
            count = self._client.incr(key)
            if count == 1:
                self._client.expire(key, 2 * WINDOW)
            return int(count)
        except (redis.RedisError, OSError):
            self._circuit.trip()
            return None


class _LocalCounts:
    """Counts of the current window."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._window = 0
        self._counts: dict[str, int] = {}

    def count(self, network: str, window: int) -> int:
        with self._lock:
            if window != self._window:
                self._window, self._counts = window, {}
            if network not in self._counts and len(self._counts) >= _NETWORKS_MAX:
                network = ""
            self._counts[network] = self._counts.get(network, 0) + 1
            return self._counts[network]


def network_of(address: str) -> str:
    """Return the network of a client address; all that is no address is one network."""
    try:
        parsed: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    prefix = _IPV4_PREFIX if parsed.version == 4 else _IPV6_PREFIX
    # Without the zone of a link-local address, which is the client's to choose.
    return str(ip_network(f"{str(parsed).partition('%')[0]}/{prefix}", strict=False))
