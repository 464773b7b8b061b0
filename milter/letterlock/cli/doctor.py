"""`letterlock doctor`: does this host keep Letterlock's promise?"""

import os
import sys
import time
from pathlib import Path
from typing import NoReturn

import click
import msgspec
from prometheus_client import CollectorRegistry, write_to_textfile

from letterlock import config, postfix
from letterlock.config import Config
from letterlock.doctor import keyservice_file, leftovers, report
from letterlock.doctor.examination import Case, examine
from letterlock.doctor.host import Host
from letterlock.doctor.keyservice_file import KeyServiceFile
from letterlock.doctor.probes import Probes
from letterlock.errors import ConfigError
from letterlock.postfix_findings import Expected, Severity
from letterlock.queue_orphans import Orphan, QueueUnreadable, queue_directories, sweep

EXIT_FINDINGS = 1
EXIT_UNREADABLE = 2


@click.command()
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default="/etc/letterlock/letterlock.toml",
    show_default=True,
    help="The milter's configuration.",
)
@click.option(
    "--keyservice-config",
    type=click.Path(path_type=Path),
    default="/etc/letterlock/keyservice.toml",
    show_default=True,
    help="The key service's; if there is none, it runs elsewhere.",
)
@click.option(
    "--config-directory", help="Postfix's. As the milter's configuration says, unless given."
)
@click.option(
    "--milter",
    default=Expected().milter,
    show_default=True,
    help="Part of Letterlock's address in smtpd_milters.",
)
@click.option(
    "--submission",
    default=Expected().submission,
    show_default=True,
    help="The same for its submission role.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--textfile",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write numbers for Prometheus there as well (node_exporter, textfile collector).",
)
def doctor(
    config_path: Path,
    keyservice_config: Path,
    config_directory: str | None,
    milter: str,
    submission: str,
    as_json: bool,
    textfile: Path | None,
) -> None:
    """Name everything on this host by which mail could be stored in plaintext, forged or lost.

    Looks at Postfix's settings, whether the milter answers from Postfix's chroot, who reaches
    the re-entry port, spool, swap and core dumps, permissions, Redis and its ACL, the key
    service, the resolver, the clock and signing keys. Nothing is changed. Run it as root.

    A breach: mail can be stored in plaintext, disclosed or lost. A fault: something does not
    work, and mail waits or soon may. A note: look at it once.

    Exit status: 0 none (notes aside), 1 some, 2 the settings cannot be read.
    """
    milter_config, keyservice = _configuration(config_path, keyservice_config)
    directory = config_directory or milter_config.postfix.config_directory
    try:
        settings = postfix.read(directory)
    except postfix.PostfixUnreadable as error:
        _end(str(error))
    expected = Expected(milter, submission, milter_config.postfix.reentry)
    socket = milter_config.keyservice.socket
    case = Case(
        settings=settings,
        expected=expected,
        config=milter_config,
        config_path=str(config_path),
        keyservice=keyservice,
        keyservice_path=str(keyservice_config),
        service=f"unix:{socket}" if socket.startswith("/") else socket,
    )
    if os.geteuid() != 0:
        click.echo("letterlock doctor: not root: not all can be looked at, or reached", err=True)
    host = Host()
    found = examine(case, Probes(host))
    click.echo(msgspec.json.encode(found).decode() if as_json else report.as_text(found))
    if textfile is not None:
        orphans = _orphans(directory)
        is_encrypted = leftovers.is_spool_encrypted(host, case.queue)
        _write(textfile, report.as_metrics(found, orphans, is_spool_encrypted=is_encrypted))
    if any(finding.severity is not Severity.NOTE for finding in found):
        sys.exit(EXIT_FINDINGS)


def _configuration(path: Path, keyservice_path: Path) -> tuple[Config, KeyServiceFile | None]:
    if keyservice_path.exists() and not path.exists():
        _end(f"{path} is not there: doctor looks at hosts with a milter; see letterlock status")
    try:
        return config.load(path), keyservice_file.load(keyservice_path)
    except ConfigError as error:
        _end(str(error))


def _orphans(config_directory: str) -> list[Orphan]:
    try:
        queues = queue_directories(config_directory)
        return [each for queue in queues for each in sweep(queue, time.time(), remove=False)]
    except (postfix.PostfixUnreadable, QueueUnreadable) as error:
        _end(str(error))


def _write(path: Path, metrics: CollectorRegistry) -> None:
    try:
        # Whole or not at all.
        write_to_textfile(str(path), metrics)
    except OSError as error:
        _end(f"{path}: {error.strerror}")


def _end(line: str) -> NoReturn:
    click.echo(f"letterlock doctor: {line}", err=True)
    sys.exit(EXIT_UNREADABLE)
