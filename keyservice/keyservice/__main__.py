"""`letterlock-keyservice`: configuration, log, metrics, then serve until told to stop."""

import logging
import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path

import click
import redis
import uvicorn
from prometheus_client import CollectorRegistry, disable_created_metrics, start_http_server
from sqlalchemy.exc import SQLAlchemyError

from keyservice import listeners, log, succession
from keyservice.answers import Answers
from keyservice.cache import AnswerCache, connect
from keyservice.client_ca.serving import client_certificates
from keyservice.config import Config, host_and_port, load, read_database, read_secret
from keyservice.daemon import Daemon
from keyservice.database import Database, require_known
from keyservice.discovery import Discovery
from keyservice.enrolment import Enrolments
from keyservice.errors import ConfigError, DatabaseUnavailable
from keyservice.failures import is_outage
from keyservice.intake import Intake
from keyservice.judge import Judge
from keyservice.mail_door import MailDoor
from keyservice.metrics import (
    CertificatesExpiring,
    CertificateStates,
    ClientAuthoritiesExpiring,
    ClientCertificatesExpiring,
    Metrics,
)
from keyservice.moving import move
from keyservice.notices import Notices
from keyservice.overview import WARNINGS, Overview
from keyservice.peers import Peers
from keyservice.public.serving import published
from keyservice.replacement import DAY
from keyservice.reports import Reports
from keyservice.revetting import Revetting
from keyservice.rulebook import Rulebook
from keyservice.senders import Senders
from keyservice.server import Parts, application
from keyservice.settings import MailboxSettings
from keyservice.submissions import Submissions
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
@click.option(
    "--copy-from",
    "former",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Copy a database of SQLite into the configured one, which must be empty, and stop.",
)
def main(path: Path, check: bool, former: Path | None) -> None:
    """Serve certificates and policy to the milter and to the operator's command."""
    # A core would hold what passes through; secret keys that were refused, for one.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # there is nothing to reload as yet
    log.set_up()
    try:
        config = load(path)
        secret = read_secret(config) if config.redis.url else b""
        if former is not None:
            _copy_from(former, config)
            return
        _require_usable(config)
        begins_anew = not check and _serve(config, secret)
    except ConfigError as error:
        logging.getLogger("keyservice").error("not_started", extra={"detail": str(error)})  # noqa: TRY400 (our own text)
        sys.exit(os.EX_CONFIG)
    except DatabaseUnavailable as error:
        logging.getLogger("keyservice").error("not_started", extra={"detail": str(error)})  # noqa: TRY400 (our own text)
        sys.exit(os.EX_TEMPFAIL)
    except Exception:
        # By its type and place, and what it means, if that is known: see `log`.
        logging.getLogger("keyservice").exception("not_started")
        sys.exit(os.EX_SOFTWARE)
    if begins_anew:
        succession.succeed()


def _require_usable(config: Config) -> None:
    """Raise ConfigError for all that can be told before anything is touched, or asked."""
    _redis(config)
    where = read_database(config)
    if isinstance(where, Path):
        require_known(where)


def _serve(config: Config, secret: bytes) -> bool:
    """Serve until told to stop, or to begin anew; then return True. Raises ConfigError."""
    os.umask(0o077)  # the database names who receives mail here
    # uvicorn, after its own shutdown, raises the signal again: let that unwind the stack.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    listeners.require_units(
        {"keyservice": config, "public": config.public, "socketmap": config.socketmap}
    )
    with ExitStack() as stack:
        sockets = listeners.listeners("keyservice", config, stack)
        registry = CollectorRegistry()
        metrics = Metrics(registry)
        database = stack.enter_context(closing(Database(read_database(config))))
        vetter = stack.enter_context(closing(Vetter()))
        discovery = Discovery(config.discovery, metrics)
        cache = _cache(config, secret, metrics)
        answers = Answers(database, config.domains, cache, metrics, rulebook=_rulebook(config))
        enrolments = Enrolments(database, answers, Judge(vetter, metrics))
        settings = MailboxSettings(database, answers)
        overview = Overview(database, answers, settings)
        registry.register(CertificateStates(overview.states))
        registry.register(CertificatesExpiring(overview.expiring))
        _serve_metrics(config, registry)
        stack.enter_context(Revetting(enrolments, database))
        stack.enter_context(_notices(config, database, metrics))
        stack.enter_context(published(config, _redis(config), secret, registry))
        strangers = stack.enter_context(closing(Vetter()))
        intake = Intake(database, answers, Judge(strangers, metrics))
        peers = Peers(database, answers, discovery.discoverer, intake)
        reports = Reports(database, answers, intake, config.domains, metrics)
        issued, client_cas = stack.enter_context(
            client_certificates(config, database, metrics.observe_socketmap)
        )
        registry.register(ClientCertificatesExpiring(lambda: issued.expiring(WARNINGS)))
        registry.register(ClientAuthoritiesExpiring(lambda: client_cas.expiring(WARNINGS)))
        parts = Parts(
            answers,
            enrolments,
            settings,
            overview,
            peers,
            reports,
            Senders(database, answers, settings),
            Submissions(database, answers, settings, intake, metrics),
            discovery,
            client_certificates=issued,
            client_cas=client_cas,
        )
        daemon = _daemon(parts, database)
        signal.signal(signal.SIGHUP, daemon.reload)
        daemon.run(sockets=sockets)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return daemon.begins_anew


def _copy_from(former: Path, config: Config) -> None:
    os.umask(0o077)
    with (
        closing(Database(former)) as source,
        closing(Database(read_database(config))) as target,
    ):
        for table, rows in move(source, target).items():
            click.echo(f"{table}: {rows}")


def _rulebook(config: Config) -> Rulebook:
    discovery = config.discovery
    return Rulebook(
        frozenset(config.domains),
        discovery.mode,
        discovery.first_contact,
        discovery.hold_days * DAY,
    )


def _cache(config: Config, secret: bytes, metrics: Metrics) -> AnswerCache | None:
    client = _redis(config)
    if client is None:
        return None
    return AnswerCache(client, secret, observe=metrics.observe_cache)


def _redis(config: Config) -> redis.Redis | None:
    if not config.redis.url:
        return None
    try:
        return connect(config.redis.url)
    except ValueError as error:
        raise ConfigError(f"redis.url: {error}") from None


def _notices(config: Config, database: Database, metrics: Metrics) -> Notices | nullcontext[None]:
    if not config.notices.smtp:
        return nullcontext()
    address = host_and_port(config.notices.smtp, "notices.smtp")
    return Notices(
        database,
        tuple(config.domains),
        lambda: MailDoor(*address),
        config.notices.sender,
        metrics.observe_notice,
    )


def _serve_metrics(config: Config, registry: CollectorRegistry) -> None:
    if not config.metrics:
        return
    host, port = host_and_port(config.metrics, "metrics")
    # When a counter was made: a series for each of them, and nothing to see.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    try:
        start_http_server(port, host, registry)
    except OSError as error:
        raise ConfigError(f"metrics: {config.metrics}: {error.strerror}") from None


def _daemon(parts: Parts, database: Database) -> Daemon:
    return Daemon(
        uvicorn.Config(
            application(parts),
            log_config=None,
            access_log=False,
            lifespan="on",
            server_header=False,
            limit_concurrency=_CONNECTIONS_MAX,
            timeout_graceful_shutdown=5,
        ),
        _well(parts.overview, database),
    )


def _well(overview: Overview, database: Database) -> Callable[[], None]:
    def require_well() -> None:
        try:
            overview.require_readable()
        except SQLAlchemyError as error:
            # A new start would not bring a server back, and end what is under way.
            if not (database.is_shared and is_outage(error)):
                raise

    return require_well


if __name__ == "__main__":
    main()
