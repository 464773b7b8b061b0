"""`letterlock doctor`: does this host keep Letterlock's promise?"""

import os
import sys
import time
from pathlib import Path
from typing import NoReturn, assert_never

import click
import msgspec
from prometheus_client import CollectorRegistry, write_to_textfile

from letterlock import config, postfix
from letterlock.doctor import keyservice_file, leftovers, report
from letterlock.doctor.examination import Case, examine
from letterlock.doctor.host import Host
from letterlock.doctor.keyservice_rules import KeyService
from letterlock.doctor.mail_rules import MailHost
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
    help="The milter's configuration; without one only the key service is looked at.",
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
    service, the resolver, the clock and signing keys; where there is only a key service, at
    what that needs. Nothing is changed. Run it as root.

    A breach: mail can be stored in plaintext, disclosed or lost. A fault: something does not
    work, and mail waits or soon may. A note: look at it once.

    Exit status: 0 none (notes aside), 1 some, 2 the settings cannot be read.
    """
    host = Host()
    try:
        case = _case(config_path, keyservice_config, config_directory, (milter, submission))
        if os.geteuid() != 0:
            _say("not root: not all can be looked at, or reached")
        found = examine(case, Probes(host))
    except (ConfigError, postfix.PostfixUnreadable) as error:
        _end(str(error))
    click.echo(msgspec.json.encode(found).decode() if as_json else report.as_text(found))
    if textfile is not None:
        _write(textfile, report.as_metrics(found, _spool(case, host)))
    if any(finding.severity is not Severity.NOTE for finding in found):
        sys.exit(EXIT_FINDINGS)


def _case(
    path: Path, keyservice_path: Path, config_directory: str | None, sockets: tuple[str, str]
) -> Case:
    """Return which host this is. Raises ConfigError, PostfixUnreadable."""
    file = keyservice_file.load(keyservice_path)
    keyservice = None if file is None else KeyService(file, str(keyservice_path))
    if keyservice is not None and not path.exists():
        _say(f"{path} is not there: only the key service is looked at")
        return keyservice
    milter = config.load(path)
    directory = config_directory or milter.postfix.config_directory
    return MailHost(
        config_directory=directory,
        settings=postfix.read(directory),
        expected=Expected(*sockets, milter.postfix.reentry),
        config=milter,
        config_path=str(path),
        keyservice=keyservice,
    )


def _spool(case: Case, host: Host) -> report.Spool | None:
    match case:
        case KeyService():
            return None
        case MailHost():
            is_encrypted = leftovers.is_spool_encrypted(host, case.queue)
            return report.Spool(is_encrypted, _orphans(case.config_directory))
        case _:
            assert_never(case)


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
    _say(line)
    sys.exit(EXIT_UNREADABLE)


def _say(line: str) -> None:
    click.echo(f"letterlock doctor: {line}", err=True)
