"""`letterlock-keyservice`: configuration, log, metrics, then serve until told to stop."""

import os
import resource
import socket
import sys
from pathlib import Path

import click
import uvicorn
from prometheus_client import CollectorRegistry, start_http_server

from keyservice import log
from keyservice.cache import AnswerCache, connect
from keyservice.config import Config, host_and_port, load, read_secret
from keyservice.database import Database
from keyservice.errors import ConfigError
from keyservice.listeners import listen_tcp, listen_unix
from keyservice.metrics import CertificateStates, Metrics
from keyservice.overview import Overview
from keyservice.revetting import Revetting
from keyservice.server import application
from keyservice.service import KeyService
from keyservice.vetting import Vetter

_CONNECTIONS_MAX = 256


@click.command()
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=Path("/etc/letterlock/keyservice.toml"),
    show_default=True,
)
@click.option("--check", is_flag=True, help="Say whether the configuration can be used, and stop.")
def main(path: Path, check: bool) -> None:
    """Serve certificates and policy to the milter and to the operator's command."""
    # A core would hold what passes through; secret keys that were refused, for one.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        config = load(path)
        secret = read_secret(config) if config.redis.url else b""
        if not check:
            _serve(config, secret)
    except ConfigError as error:
        click.echo(f"letterlock-keyservice: {error}", err=True)
        sys.exit(os.EX_CONFIG)


def _serve(config: Config, secret: bytes) -> None:
    log.set_up()
    os.umask(0o077)  # the database names who receives mail here
    sockets = _listeners(config)
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    database = Database(Path(config.database))
    vetter = Vetter()
    service = KeyService(database, config.domains, vetter, _cache(config, secret, metrics), metrics)
    overview = Overview(database, service)
    registry.register(CertificateStates(overview.states))
    _serve_metrics(config, registry)
    revetting = Revetting(service)
    revetting.start()
    try:
        _uvicorn(service, overview).run(sockets=sockets)
    finally:
        revetting.stop()
        vetter.close()
        database.close()
        Path(config.socket).unlink(missing_ok=True)


def _listeners(config: Config) -> list[socket.socket]:
    sockets = [listen_unix(Path(config.socket), config.socket_group)]
    if config.tcp:
        sockets.append(listen_tcp(*host_and_port(config.tcp, "tcp")))
    return sockets


def _cache(config: Config, secret: bytes, metrics: Metrics) -> AnswerCache | None:
    if not config.redis.url:
        return None
    try:
        client = connect(config.redis.url)
    except ValueError as error:
        raise ConfigError(f"redis.url: {error}") from None
    return AnswerCache(client, secret, observe=metrics.observe_cache)


def _serve_metrics(config: Config, registry: CollectorRegistry) -> None:
    if not config.metrics:
        return
    host, port = host_and_port(config.metrics, "metrics")
    try:
        start_http_server(port, host, registry)
    except OSError as error:
        raise ConfigError(f"metrics: {config.metrics}: {error.strerror}") from None


def _uvicorn(service: KeyService, overview: Overview) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            application(service, overview),
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            limit_concurrency=_CONNECTIONS_MAX,
            timeout_graceful_shutdown=5,
        )
    )


if __name__ == "__main__":
    main()
