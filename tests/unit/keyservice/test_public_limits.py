"""Who asks too often waits, per network, with Redis and without."""

import pytest
import redis

from keyservice.public.limits import Limits, network_of

SECRET = b"s" * 32


class Clock:
    """Time as a test sets it."""

    now = 1_000_020.0

    def __call__(self) -> float:
        return self.now


class DeadRedis:
    """Counts how often it is asked, and never answers."""

    asked = 0

    def incr(self, name: str) -> int:
        self.asked += 1
        raise redis.ConnectionError


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/56"),
        ("2001:db8:1:1ff::1", "2001:db8:1:100::/56"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("fe80::1%eth0", "fe80::/56"),
        ("", "unknown"),
        ("not an address", "unknown"),
        ("192.0.2.1, 192.0.2.2", "unknown"),
    ],
)
def test_networks_are_what_one_customer_has(address: str, network: str) -> None:
    """IPv4 /24, IPv6 /56; what is no address shares one count."""
    assert network == network_of(address)


def test_the_one_too_many_waits_until_the_window_ends() -> None:
    """And asks again then; another network never notices."""
    clock = Clock()
    limits = Limits(2, None, SECRET, clock)

    assert [0, 0, 60] == [limits.wait(f"192.0.2.{host}") for host in range(3)]
    assert 0 == limits.wait("198.51.100.1")
    clock.now += 59
    assert 1 == limits.wait("192.0.2.9")
    clock.now += 1
    assert 0 == limits.wait("192.0.2.9")


def test_without_redis_each_instance_counts_for_itself() -> None:
    """Redis is tried once, then left alone for a while: its outage costs one request."""
    dead = DeadRedis()
    limits = Limits(1, dead, SECRET, Clock())  # type: ignore[arg-type]

    assert [0, 60, 60] == [limits.wait("192.0.2.1") for _ in range(3)]
    assert 1 == dead.asked


def test_the_count_of_networks_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has very many networks at hand gets one common count for the later ones."""
    monkeypatch.setattr("keyservice.public.limits._NETWORKS_MAX", 3)
    limits = Limits(1, None, SECRET, Clock())

    assert [0, 0, 0, 0, 60] == [limits.wait(f"198.51.{net}.1") for net in range(5)]
    assert 60 == limits.wait("198.51.0.2")
