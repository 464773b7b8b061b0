"""What can be seen of a running stack: stored mail, the queue, logs and counters."""

import json
import subprocess
from pathlib import Path
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from stack import redis_server
from stack.layout import Layout
from stack.processes import wait_until


class View:
    """Looks, and changes nothing."""

    layout: Layout

    def maildir(self, address: str) -> list[bytes]:
        """Return the messages stored for `address`, oldest first, as Dovecot stored them."""
        local, _, domain = address.rpartition("@")
        folder = self.layout.mail / domain / local / "Maildir"
        files = [f for part in ("new", "cur") for f in (folder / part).glob("*")]
        return [f.read_bytes() for f in sorted(files, key=lambda f: f.stat().st_mtime_ns)]

    def wait_for_mail(self, address: str, count: int = 1, seconds: float = 90) -> list[bytes]:
        """Return the messages of `address` as soon as there are at least `count`."""
        wait_until(
            lambda: len(self.maildir(address)) >= count,
            f"{count} messages for {address}, got {len(self.maildir(address))}",
            seconds,
            self.layout.logs / "postfix.log",
        )
        return self.maildir(address)

    def wait_until_queue_is_empty(self, seconds: float = 90) -> None:
        """Return when Postfix has nothing left to deliver."""
        wait_until(lambda: not self.queue(), "queue empty", seconds, self.log_file("postfix"))

    def queue(self) -> list[dict[str, object]]:
        """Return what `postqueue -j` lists."""
        etc = str(self.layout.postfix / "etc")
        done = subprocess.run(["postqueue", "-c", etc, "-j"], capture_output=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def queue_files(self) -> list[Path]:
        """Return every file in which Postfix keeps a message, listed by postqueue or not."""
        folders = ("maildrop", "incoming", "active", "deferred", "hold", "corrupt")
        found = (self.layout.queue / folder for folder in folders)
        return [path for folder in found for path in folder.rglob("*") if path.is_file()]

    def log_file(self, name: str) -> Path:
        """Return the log of one daemon."""
        return self.layout.logs / f"{name}.log"

    def log(self, name: str) -> str:
        """Return what one daemon has logged so far."""
        return self.log_file(name).read_text(errors="replace")

    def postfix_log(self) -> str:
        """Return Postfix's log."""
        return self.log("postfix")

    def metrics_url(self, name: str) -> str:
        """Return where `milter` or `keyservice` shows its counters."""
        return "http://{}:{}/metrics".format(*self.layout.address(f"{name}_metrics"))

    @property
    def redis_url(self) -> str:
        """Where Redis is reached."""
        return redis_server.url(self.layout)

    def counter(self, name: str, sample: str, **labels: str) -> float:
        """Return the sum of all samples of `milter` or `keyservice` that carry `labels`."""
        with urlopen(self.metrics_url(name), timeout=10) as reply:
            text = reply.read().decode()
        samples = (s for family in text_string_to_metric_families(text) for s in family.samples)
        return sum(
            s.value for s in samples if s.name == sample and labels.items() <= s.labels.items()
        )
