"""`letterlock status`: what both daemons do at the moment."""

import os
import sys
import time
from pathlib import Path

import click
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from letterlock import config, daemon_page
from letterlock.cli.output import console, print_json
from letterlock.daemon_page import Page, PageUnreadable
from letterlock.doctor import keyservice_file
from letterlock.errors import ConfigError
from letterlock.status import (
    Count,
    KeyServiceStatus,
    Latency,
    Looks,
    MilterStatus,
    Status,
    keyservice_status,
    milter_status,
)

_PAGE_SECONDS = 5.0


@click.command()
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default="/etc/letterlock/letterlock.toml",
    show_default=True,
    help="The milter's configuration, which says where its page is; without one it is elsewhere.",
)
@click.option(
    "--keyservice-config",
    type=click.Path(path_type=Path),
    default="/etc/letterlock/keyservice.toml",
    show_default=True,
    help="The key service's; the same.",
)
@click.option(
    "--interval",
    metavar="SECONDS",
    type=click.FloatRange(0.2, 60),
    default=2.0,
    show_default=True,
    help="Between two looks; what is given per second is measured over it.",
)
@click.option("--once", is_flag=True, help="Print it once and end, as in a pipe.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, once.")
def status(
    config_path: Path, keyservice_config: Path, interval: float, once: bool, as_json: bool
) -> None:
    """Show what the milter and the key service do, until Ctrl-C.

    Copies by what happened to them, what was deferred and why, who answered lookups, how long
    things take, and certificates that end soon. `doctor` says whether anything is wrong.

    Exit status: 0, or 69 if a daemon of this host does not answer (with --once or --json).
    """
    try:
        watch = _Watch(_addresses(config_path, keyservice_config))
        # What is not a terminal is never drawn anew.
        if as_json or once or not sys.stdout.isatty():
            time.sleep(interval)
            seen = watch.look()
            print_json(seen) if as_json else console().print(watch.drawn(seen))
            sys.exit(0 if watch.has_all(seen) else os.EX_UNAVAILABLE)
        _live(watch, interval)
    except ConfigError as error:
        click.echo(f"letterlock: {error}", err=True)
        sys.exit(os.EX_CONFIG)


def _addresses(config_path: Path, keyservice_config: Path) -> tuple[str, str]:
    """Return where both pages are; empty: that daemon is not on this host."""
    keyservice = keyservice_file.load(keyservice_config)
    if keyservice is not None and not config_path.exists():
        return "", keyservice.metrics
    return config.load(config_path).metrics, keyservice.metrics if keyservice else ""


class _Watch:
    """Looks at both pages again and again."""

    def __init__(self, addresses: tuple[str, str]) -> None:
        self._addresses = addresses
        self._before, self._at = self._pages(), time.monotonic()

    def look(self) -> Status:
        pages, now = self._pages(), time.monotonic()
        seconds = now - self._at
        milter, keyservice = (
            Looks(page, before, seconds) if page else None
            for page, before in zip(pages, self._before, strict=True)
        )
        self._before, self._at = pages, now
        return Status(
            seconds=round(seconds, 3),
            milter=milter_status(milter) if milter else None,
            keyservice=keyservice_status(keyservice) if keyservice else None,
        )

    def _pages(self) -> list[Page | None]:
        return [_page(address) for address in self._addresses]

    def has_all(self, seen: Status) -> bool:
        """Whether the daemons of this host have answered."""
        milter, keyservice = self._addresses
        return not (milter and not seen.milter) and not (keyservice and not seen.keyservice)

    def drawn(self, seen: Status) -> Group:
        """Return both tables, or that of the daemon which is on this host."""
        milter, keyservice = self._addresses
        tables = [_milter(seen.milter)] if milter else []
        return Group(*tables, *([_keyservice(seen.keyservice)] if keyservice else []))


def _page(address: str) -> Page | None:
    if not address:
        return None
    try:
        return daemon_page.fetch(address, _PAGE_SECONDS)
    except PageUnreadable:
        return None


def _live(watch: _Watch, interval: float) -> None:
    with Live(console=console(), screen=True, auto_refresh=False) as live:
        try:
            while True:
                live.update(watch.drawn(watch.look()), refresh=True)
                time.sleep(interval)
        except KeyboardInterrupt:
            return


def _milter(seen: MilterStatus | None) -> Table | Text:
    if seen is None:
        return Text("Milter: no answer (letterlock doctor)", style="bold red")
    workers = f"{seen.workers} of {seen.workers_wanted} workers, {seen.worker_deaths} died"
    table = _table(f"Milter {seen.version}: {workers}")
    _counts(table, "copies", seen.copies)
    _counts(table, "deferred, rejected", seen.not_accepted)
    _counts(table, "failures", seen.failures)
    _counts(table, "lookups", seen.lookups)
    _counts(table, "", {"re-entered copies": seen.reentered, "octets received": seen.octets})
    for phase, latency in seen.latency.items():
        table.add_row("seconds", phase, _spread(latency), "")
    return table


def _keyservice(seen: KeyServiceStatus | None) -> Table | Text:
    if seen is None:
        return Text("Key service: no answer (letterlock doctor)", style="bold red")
    table = _table(f"Key service {seen.version}")
    _counts(table, "lookups", seen.lookups)
    for state, number in seen.certificates.items():
        table.add_row("certificates", state, str(number), "")
    for days, number in sorted(seen.expiring.items(), key=lambda row: int(row[0])):
        style = "bold red" if number and days == "3" else ""
        table.add_row("certificates", f"end within {days} days", str(number), "", style=style)
    table.add_row("certificates", "conflicts seen", str(seen.conflicts), "")
    _counts(table, "cache", seen.cache)
    _counts(table, "discoveries", seen.discoveries)
    table.add_row("seconds", "lookup", _spread(seen.latency), "")
    return table


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for name in ("", ""):
        table.add_column(name)
    for name in ("in all", "a second"):
        table.add_column(name, justify="right")
    return table


def _counts(table: Table, what: str, counts: dict[str, Count]) -> None:
    for name, count in counts.items():
        table.add_row(what, name, str(count.total), f"{count.per_second:.1f}")


def _spread(latency: Latency) -> str:
    if latency.p50 is None or latency.p99 is None:
        return ""
    return f"{latency.p50:.4f} (p99 {latency.p99:.4f})"
