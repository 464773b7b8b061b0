"""A real Prometheus on loopback that scrapes and rings, with Debian's node exporter beside it."""

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from ports import free_port
from stack import wait_until

SCRAPE_SECONDS = 1
_RULES = "rules.yml"


class Prometheus:
    """Scrapes `jobs` (HOST:PORT by name) every second, and applies `rules`, which are YAML.

    A context manager. Files NAME.prom in `textfiles` are scraped as job `letterlock-host`.
    """

    def __init__(self, directory: Path, jobs: Mapping[str, str], rules: str) -> None:
        self.textfiles = directory / "textfiles"
        self.textfiles.mkdir()
        self._directory = directory
        self._port, exporter = free_port(), free_port()
        self._processes: list[subprocess.Popen[bytes]] = []
        (directory / _RULES).write_text(rules)
        jobs = {**jobs, "letterlock-host": f"127.0.0.1:{exporter}"}
        config = {
            "global": {
                "scrape_interval": f"{SCRAPE_SECONDS}s",
                "scrape_timeout": f"{SCRAPE_SECONDS}s",
                "evaluation_interval": f"{SCRAPE_SECONDS}s",
            },
            "rule_files": [_RULES],
            "scrape_configs": [
                {"job_name": name, "static_configs": [{"targets": [address]}]}
                for name, address in jobs.items()
            ],
        }
        (directory / "prometheus.yml").write_text(json.dumps(config))  # which is YAML, too
        self._commands = [
            [
                "prometheus-node-exporter",
                f"--web.listen-address=127.0.0.1:{exporter}",
                "--collector.disable-defaults",
                "--collector.textfile",
                f"--collector.textfile.directory={self.textfiles}",
            ],
            [
                "prometheus",
                f"--web.listen-address=127.0.0.1:{self._port}",
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'data'}",
            ],
        ]

    def __enter__(self) -> Self:
        """Start both; return when Prometheus is ready."""
        with (self._directory / "log").open("ab") as log:
            for command in self._commands:
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
                self._processes.append(process)
        try:
            wait_until(self._is_ready, "Prometheus", log=self._directory / "log")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End both."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(60)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return what an expression comes to now, as rows of `metric` and `value`.

        Raises ValueError with Prometheus' complaint.
        """
        found: list[dict[str, Any]] = self._ask("query", {"query": expression})["result"]
        return found

    def lines(self, expression: str, seconds: float, step: float) -> list[dict[str, Any]]:
        """Return what it came to in the last `seconds`, as rows of `metric` and `values`."""
        now = time.time()
        asked = {"query": expression, "start": now - seconds, "end": now, "step": step}
        found: list[dict[str, Any]] = self._ask("query_range", asked)["result"]
        return found

    def series(self, metric: str) -> list[dict[str, str]]:
        """Return the labels of all series of a metric."""
        found: list[dict[str, str]] = self._ask("series", {"match[]": metric})
        return found

    def firing(self) -> set[str]:
        """Return the alerts that ring."""
        rows = self.query('ALERTS{alertstate="firing"}')
        return {row["metric"]["alertname"] for row in rows}

    def targets(self) -> Sequence[Mapping[str, Any]]:
        """Return what is scraped, with the `health` and `lastError` of each."""
        found: Sequence[Mapping[str, Any]] = self._ask("targets", {})["activeTargets"]
        return found

    def _ask(self, what: str, arguments: Mapping[str, object]) -> Any:
        url = f"http://127.0.0.1:{self._port}/api/v1/{what}?{urlencode(arguments)}"
        try:
            with urlopen(url, timeout=10) as reply:
                return json.load(reply)["data"]
        except HTTPError as error:
            with error:
                raise ValueError(error.read().decode()) from None

    def _is_ready(self) -> bool:
        assert all(process.poll() is None for process in self._processes), "it has ended"
        try:
            with urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=2):
                return True
        except (HTTPError, URLError, OSError):
            return False
