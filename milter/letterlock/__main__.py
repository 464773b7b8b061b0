"""`letterlock-milter`: the daemon. Exit status 0: stopped; 78: configuration unusable."""

import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from letterlock import listener, log
from letterlock.config import Config, host_and_port, load, read_secret
from letterlock.errors import LetterlockError
from letterlock.roles import Role
from letterlock.supervisor import Supervisor
from letterlock.worker import Descriptors, keep_memory_private

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
    keep_memory_private()
    log.set_up()
    try:
        config = load(path)
        if check:
            read_secret(config.redis.secret_file)
        elif worker:
            *descriptors, slot = worker
            _work(config, Role(role), Descriptors(*descriptors), slot)
        else:
            _supervise(path, config)
    except LetterlockError as error:
        log.failure("not_started", detail=str(error))
        sys.exit(EX_CONFIG)


def _work(config: Config, role: Role, descriptors: Descriptors, slot: int) -> None:
    # Only a worker pays for the import of the message path, and only after the
    # supervisor has set the directory in which its counters live.
    from letterlock import assembly, callbacks, session, worker

    assembled = assembly.assemble(config, role)

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

    # Before anything listens: a missing secret is said once, by the parent.
    read_secret(config.redis.secret_file)
    host, port = host_and_port(config.metrics, "metrics")
    with (
        ExitStack() as stack,
        tempfile.TemporaryDirectory(prefix="letterlock-metrics-") as directory,
    ):
        sockets = listener.listening_sockets(config)
        listening = {role: stack.enter_context(s).fileno() for role, s in sockets.items()}
        environment = os.environ | {
            "PROMETHEUS_MULTIPROC_DIR": directory,
            # glibc gives every thread an arena of its own, and libmilter has many threads.
            "MALLOC_ARENA_MAX": "2",
        }
        supervisor = Supervisor(path, listening, environment)
        exposition.serve(host, port, directory, supervisor)
        supervisor.run()
        listener.remove(config)


if __name__ == "__main__":
    main()
