"""The public listener as the daemon runs it: with sockets, connections and a child of its own.

Nothing is shared with the internal side but the database and Redis: strangers
wait for each other, never the milter for them.
"""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import redis
from prometheus_client import CollectorRegistry

from keyservice.config import Config, read_database
from keyservice.database import Database
from keyservice.listeners import listeners
from keyservice.public.limits import Limits
from keyservice.public.listener import PublicListener, public_application
from keyservice.public.results import published_counter
from keyservice.published import Published
from keyservice.vetting import Vetter
from keyservice.vetting_child import PUBLISHES


@contextmanager
def published(
    config: Config, client: redis.Redis | None, secret: bytes, registry: CollectorRegistry
) -> Iterator[None]:
    """Serve what the configuration says for as long as the block lasts; perhaps nothing.

    `client` is for the limits, as is `secret`, which Redis must not know. Raises ConfigError.
    """
    if not config.public.is_on:
        yield
        return
    shown = [name for name, domain in config.domains.items() if domain.published]
    with ExitStack() as stack:
        sockets = listeners("public", config.public, stack)
        database = stack.enter_context(closing(Database(read_database(config))))
        vetter = stack.enter_context(closing(Vetter(PUBLISHES)))
        application = public_application(
            Published(database, vetter, shown),
            Limits(config.public.requests_per_minute, client, secret),
            published_counter(registry),
            config.public.client_address_header,
        )
        stack.enter_context(PublicListener(application, sockets))
        yield
