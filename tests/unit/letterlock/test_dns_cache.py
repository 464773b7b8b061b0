"""Memory of the DNS does not grow, whatever strangers have us look up."""

from letterlock.dns_cache import DnsCache


def test_what_was_not_used_for_longest_goes_first():
    """4096 entries; names that every mail needs stay."""
    cache = DnsCache(lambda: 0.0)
    for number in range(4096):
        cache.put(number, (b"x",), 60)
    assert (b"x",) == cache.get(0)

    cache.put("new", (b"x",), 60)

    assert (b"x",) == cache.get(0)
    assert None is cache.get(1)


def test_long_answers_are_not_kept():
    """Else 4096 of them were a quarter of a gigabyte."""
    cache = DnsCache(lambda: 0.0)

    cache.put("long", (b"x" * 5000,), 60)

    assert None is cache.get("long")


def test_nothing_is_kept_for_longer_than_an_hour_and_no_absence_longer_than_five_minutes():
    """A key is withdrawn, a record is added: whoever does it does not wait for a week."""
    now = [0.0]
    cache = DnsCache(lambda: now[0])
    cache.put("record", (b"x",), 86_400)
    cache.put("none", (), 86_400)

    now[0] = 299.0
    assert () == cache.get("none")
    now[0] = 300.0
    assert None is cache.get("none")
    now[0] = 3599.0
    assert (b"x",) == cache.get("record")
    now[0] = 3600.0
    assert None is cache.get("record")


def test_what_holds_for_no_time_is_not_kept():
    """A TTL of 0 (RFC 1035 §3.2.1)."""
    cache = DnsCache(lambda: 0.0)

    cache.put("name", (b"x",), 0)

    assert None is cache.get("name")
