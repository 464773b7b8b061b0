"""`letterlock-milter`: the daemon.

Exit status 0: stopped; 78: configuration unusable; 71: the system failed; 70: a defect.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from letterlock import listener, log, succession
from letterlock.config import Config, host_and_port, load, read_secret
from letterlock.errors import LetterlockError
from letterlock.roles import Role
from letterlock.succession import Estate
from letterlock.supervisor import Supervisor
from letterlock.worker import Descriptors, be_killed_first, keep_memory_private

EX_CONFIG = 78
"""sysexits.h."""


@click.command()
@click.option(
    "--config",
    "path",
    default="/etc/letterlock/letterlock.toml",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The configuration file.",
)
@click.option("--check", is_flag=True, help="Read the configuration, say what is wrong, stop.")
@click.option("--worker", nargs=4, type=int, hidden=True)
@click.option("--role", type=click.Choice([role.value for role in Role]), hidden=True)
def main(
    path: Path, check: bool, worker: tuple[int, int, int, int] | None, role: str | None
) -> None:
    """Encrypt mail to its recipients before Postfix stores or sends it."""
    if worker:
        be_killed_first()
    keep_memory_private()
    log.set_up()
    try:
        config = load(path)
        if check:
            _check(config)
        elif worker:
            *descriptors, slot = worker
            _work(config, Role(role), Descriptors(*descriptors), slot)
        else:
            _supervise(path, config)
    except LetterlockError as error:
        log.failure("not_started", detail=str(error))
        sys.exit(EX_CONFIG)
    except OSError as error:
        # A full disk, for one.
        detail = f"{error.filename or 'system'}: {error.strerror or error}"
        log.failure("not_started", detail=detail, **log.place_of(error))
        sys.exit(os.EX_OSERR)
    except Exception as error:  # noqa: BLE001 (not foreseen: its text may be anything)
        log.failure("not_started", **log.place_of(error))
        sys.exit(os.EX_SOFTWARE)


def _check(config: Config) -> None:
    read_secret(config.redis.secret_file)
    estate = succession.inherited()
    if estate is None:
        return
    # A supervisor asks whether it could be replaced: everything must be in place.
    from letterlock import assembly, exposition

    roles = Role.taken(config)
    listener.require_same(roles, estate.listening)
    if config.metrics != estate.metrics:
        exposition.require_free(*host_and_port(config.metrics, "metrics"))
    for role in roles:
        assembly.assemble(config, role)


def _work(config: Config, role: Role, descriptors: Descriptors, slot: int) -> None:
    # Only a worker pays for the import of the message path, and only after the
    # supervisor has set the directory in which its counters live.
    from letterlock import assembly, callbacks, session, worker

    try:
        assembled = assembly.assemble(config, role)
    except LetterlockError as error:
        worker.give_up(descriptors, str(error))
        sys.exit(EX_CONFIG)

    def start(sessions: session.Counting) -> None:
        callbacks.serve(
            assembled.gateway,
            sessions,
            descriptors.listening,
            assembly.IDLE_SECONDS,
            assembled.curiosity,
        )

    worker.stay_on_one_cpu(slot)
    worker.run(descriptors, config.drain_seconds, start, assembled.behind)


def _supervise(path: Path, config: Config) -> None:
    from letterlock import exposition

    estate = succession.inherited()
    # Before anything listens: a missing secret is said once, by the parent.
    read_secret(config.redis.secret_file)
    host, port = host_and_port(config.metrics, "metrics")
    with ExitStack() as stack:
        counters = stack.enter_context(_counters(estate))
        sockets = listener.listening_sockets(config, estate.listening if estate else None)
        listening = {role: stack.enter_context(s).fileno() for role, s in sockets.items()}
        supervisor = Supervisor(path, config, listening, counters, estate)
        exposition.serve(host, port, counters, supervisor)
        supervisor.run()
        listener.remove(sockets.values())


@contextmanager
def _counters(estate: Estate | None) -> Iterator[str]:
    """Yield the directory in which workers count; it lasts as long as the process."""
    made = os.environ.get("RUNTIME_DIRECTORY")
    directory = estate.counters if estate else tempfile.mkdtemp("", "letterlock-metrics-", made)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
