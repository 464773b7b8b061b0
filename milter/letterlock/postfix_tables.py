"""Postfix's own tables, asked with Postfix's own tools: postconf(1) and postmap(1).

Tables in files are read as a whole when they change; others cost a process for each
question, so answers are kept for a minute. The daemon's account must be able to read the
tables (README, "Operating").
"""

import re
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from letterlock.aliases import FinalRecipient, Rules, final_recipients
from letterlock.errors import TablesUnavailable
from letterlock.listed_table import ListedTable, file_of

KEPT_SECONDS = 60.0
KEPT_MAX = 50_000
_TIMEOUT_SECONDS = 10.0

# postmap(1) asks these with the whole address only, as Postfix's daemons do;
# a pattern would match the partial keys too, and wrongly (regexp_table(5), "TABLE SEARCH ORDER").
_PATTERN_TABLES = frozenset({"regexp", "pcre", "cidr", "tcp"})
_PARAMETERS = (
    "alias_maps",
    "local_transport",
    "mydestination",
    "myorigin",
    "propagate_unmatched_extensions",
    "recipient_delimiter",
    "virtual_alias_maps",
)

Run = Callable[[Sequence[str], str], str]
"""Runs a command with a text on its standard input and returns what it printed."""


class PostfixTables:
    """`aliases.Tables` over the Postfix whose configuration is in `config_directory`."""

    def __init__(self, config_directory: str, run: Run | None = None) -> None:
        """Read the settings. Raises TablesUnavailable when Postfix cannot be asked."""
        self._directory = config_directory
        self._run = run or _run
        self._files: dict[str, ListedTable | None] = {}
        settings = self._settings()
        self._virtual = _split(settings["virtual_alias_maps"])
        self._aliases = _split(settings["alias_maps"])
        self._destinations = _split(settings["mydestination"])
        self._local = settings["local_transport"].partition(":")[0] == "local"
        self.rules = Rules(
            origin=settings["myorigin"],
            delimiters=settings["recipient_delimiter"],
            propagate_virtual="virtual" in _split(settings["propagate_unmatched_extensions"]),
        )

    def virtual(self, keys: Sequence[str]) -> str | None:
        """See `aliases.Tables`."""
        return self._first(self._virtual, keys)

    def local(self, keys: Sequence[str]) -> str | None:
        """See `aliases.Tables`. Only local(8) reads alias_maps."""
        return self._first(self._aliases, keys) if self._local else None

    def is_local(self, domain: str) -> bool:
        """See `aliases.Tables`."""
        if domain.lower() in {d.lower() for d in self._destinations if ":" not in d}:
            return True
        tables = [d for d in self._destinations if ":" in d]
        return self._first(tables, [domain]) is not None

    def _first(self, tables: Sequence[str], keys: Sequence[str]) -> str | None:
        # Postfix asks every table for one key before it goes on to the next key.
        answers = [self._ask(table, keys) for table in tables]
        for key in keys:
            for answer in answers:
                if key.lower() in answer:
                    return answer[key.lower()]
        return None

    def _ask(self, table: str, keys: Sequence[str]) -> dict[str, str]:
        # Daemons reach a table through proxymap(8); a program of ours opens it itself.
        table = table.removeprefix("proxy:")
        if table.partition(":")[0] in _PATTERN_TABLES:
            keys = [k for k in keys[:1] if not k.startswith("@")]
        if (rows := self._listed(table)) is not None:
            return rows
        question = "".join(f"{key.lower()}\n" for key in keys)
        return self._postmap(["-q", "-", table], question)

    def _postmap(self, arguments: Sequence[str], question: str = "") -> dict[str, str]:
        printed = self._run(["postmap", "-c", self._directory, *arguments], question)
        return dict(_pair(line) for line in printed.splitlines())

    def _listed(self, table: str) -> dict[str, str] | None:
        """Return all rows of `table` where it is a file that can be held."""
        if table not in self._files:
            path = file_of(table)
            read = partial(self._postmap, ["-s", table])
            self._files[table] = ListedTable(path, read) if path else None
        file = self._files[table]
        return file.rows() if file else None

    def _settings(self) -> dict[str, str]:
        printed = self._run(["postconf", "-c", self._directory, "-x", *_PARAMETERS], "")
        pairs = (line.partition("=") for line in printed.splitlines())
        settings = {name.strip(): value.strip() for name, _, value in pairs}
        if missing := set(_PARAMETERS) - set(settings):
            raise TablesUnavailable(f"postconf does not know {sorted(missing)}")
        return settings


class Resolver:
    """Final recipients of forward-paths, remembered for `KEPT_SECONDS`."""

    def __init__(self, tables: PostfixTables, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds, monotonic."""
        self._tables = tables
        self._clock = clock
        self._kept: dict[str, tuple[float, tuple[FinalRecipient, ...]]] = {}
        self._lock = threading.Lock()

    def resolve(self, forward_path: str) -> tuple[FinalRecipient, ...]:
        """Return what `aliases.final_recipients` says, at most `KEPT_SECONDS` old."""
        now = self._clock()
        until, finals = self._kept.get(forward_path, (now, ()))
        if now < until:
            return finals
        finals = final_recipients(forward_path, self._tables)
        with self._lock:
            if len(self._kept) >= KEPT_MAX:
                self._kept.clear()
            self._kept[forward_path] = (now + KEPT_SECONDS, finals)
        return finals


def _split(value: str) -> list[str]:
    return [item for item in re.split(r"[,\s]+", value) if item]


def _pair(line: str) -> tuple[str, str]:
    key, tab, value = line.partition("\t")
    if not tab:
        raise TablesUnavailable("postmap printed a line that is no answer")
    return key.lower(), value


def _run(command: Sequence[str], question: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 (fixed commands, no shell)
            command,
            input=question,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        raise TablesUnavailable(f"{command[0]} could not be run") from None
    # postmap exits with 1 both for "not there" and for "cannot open"; only the second is
    # explained on standard error. A warning (a table older than its source) explains nothing.
    said = [line for line in done.stderr.splitlines() if line.strip() and "warning:" not in line]
    if done.returncode not in (0, 1) or (done.returncode == 1 and said):
        raise TablesUnavailable(f"{command[0]}: {said[-1:]}")
    return done.stdout
