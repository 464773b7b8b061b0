"""A private Redis: loopback, nothing written unless asked to."""

from contextlib import closing

import redis

from stack.layout import Layout
from stack.processes import Session, spawn, wait_for


def url(layout: Layout) -> str:
    """Return the URL under which the stack's Redis is reached."""
    return "redis://{}:{}/0".format(*layout.address("redis"))


def start(layout: Layout) -> Session:
    """Start it and return when it answers."""
    host, port = layout.address("redis")
    config = layout.config / "redis.conf"
    config.write_text(
        f"bind {host}\nport {port}\nprotected-mode yes\ndaemonize no\n"
        f'save ""\nappendonly no\ndir {layout.redis}\n'
    )
    log = layout.logs / "redis.log"
    session = spawn("redis", ["redis-server", str(config)], log, layout.ledger, {})
    wait_for(session, lambda: _answers(layout), log)
    return session


def _answers(layout: Layout) -> bool:
    with closing(redis.Redis.from_url(url(layout), socket_timeout=2)) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
