"""What `redis.url` may say."""

import pytest

from keyservice.redis_cluster import topology
from keyservice.redis_servers import Kind, Servers


@pytest.mark.parametrize(
    ("url", "kind", "addresses", "service"),
    [
        ("unix:///run/redis/redis.sock", Kind.STANDALONE, (), ""),
        ("rediss://a:b@h:1/0?ssl_ca_certs=/x", Kind.STANDALONE, (), ""),
        ("redis+sentinel://h:1,[::1]:2/name", Kind.SENTINEL, (("h", 1), ("::1", 2)), "name"),
        ("rediss+sentinel://a:b@h:1/name?db=2", Kind.SENTINEL, (("h", 1),), "name"),
        ("redis+cluster://h:1,i:2", Kind.CLUSTER, (("h", 1), ("i", 2)), ""),
        ("rediss+cluster://h:1/?ssl_ca_certs=/x", Kind.CLUSTER, (("h", 1),), ""),
        ("redis+cluster://h:1?protocol=3", Kind.CLUSTER, (("h", 1),), ""),
    ],
)
def test_one_many_and_watched(
    url: str, kind: Kind, addresses: tuple[tuple[str, int], ...], service: str
) -> None:
    """By the scheme."""
    servers = Servers.parse(url)

    assert (kind, addresses, service) == (servers.kind, servers.addresses, servers.service)
    servers.client({}).close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://example.org",
        "http+cluster://h:1",
        "redis+sentinels://h:1/name",
        "redis+sentinel://h:1",
        "redis+sentinel://h/name",
        "redis+cluster://h:1/name",
        "redis+cluster://",
        "redis+cluster://h:1,",
        "unix+cluster:///x",
        "redis+cluster://h:1?db=2",
    ],
)
def test_nonsense_is_refused(url: str) -> None:
    """When the configuration is read."""
    with pytest.raises(ValueError, match=r"\w"):
        Servers.parse(url)


def test_a_node_that_does_not_know_its_name_is_where_it_was_found() -> None:
    """And the order of what CLUSTER SLOTS says means nothing; its replicas neither."""
    one = [[5, 9, [b"", 2, b"id", []]], [0, 4, [b"h", 1, b"id"], [b"r", 3, b"id"]]]
    other = [[0, 4, [b"h", 1, b"id"]], [5, 9, [None, 2, b"id"]]]

    assert ((0, 4, "h", 1), (5, 9, "me", 2)) == topology(one, "me") == topology(other, "me")
