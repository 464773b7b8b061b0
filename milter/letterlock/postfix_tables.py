"""Postfix's own tables, asked with Postfix's own tools: postconf(1) and postmap(1).

Tables in files are read as a whole when they change; others cost a process for each
question, so answers are kept for a minute. The daemon's account must be able to read the
tables (README, "Operating").
"""

import re
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from letterlock.aliases import FinalRecipient, Rules, final_recipients, search_keys
from letterlock.errors import TablesUnavailable
from letterlock.kept import Kept
from letterlock.listed_table import ListedTable, file_of

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
    "smtpd_sender_login_maps",
    "virtual_alias_maps",
)

# postconf(5): braces keep together what blanks and commas would separate (inline:{ a=b, c=d }).
_ELEMENT = re.compile(r"(?:[^,\s{}]|\{(?:[^{}]|\{[^{}]*\})*\})+")

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
        self._logins = _split(settings["smtpd_sender_login_maps"])
        self._destinations = _split(settings["mydestination"])
        self._local = settings["local_transport"].partition(":")[0] == "local"
        self.rules = Rules(
            origin=_origin(settings["myorigin"]),
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

    def login_owners(self, address: str) -> tuple[str, ...] | None:
        """Return who may send as `address`; None if smtpd_sender_login_maps does not say.

        The setting of main.cf: what `-o` in master.cf sets for one service is not read, so
        it has to stand in main.cf to count here. Raises TablesUnavailable.
        """
        if not self._logins:
            return None
        is_local = self.is_local(address.rpartition("@")[2])
        value = self._first(self._logins, search_keys(address, self.rules, is_local=is_local))
        return None if value is None else tuple(_split(value))

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
    """What `PostfixTables` says about addresses, kept for a minute."""

    def __init__(self, tables: PostfixTables, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds, monotonic."""
        self.rules = tables.rules
        self._finals = Kept(lambda path: final_recipients(path, tables), clock)
        self._owners = Kept(tables.login_owners, clock)

    def resolve(self, forward_path: str) -> tuple[FinalRecipient, ...]:
        """Return what `aliases.final_recipients` says."""
        return self._finals(forward_path)

    def login_owners(self, address: str) -> tuple[str, ...] | None:
        """Return what `PostfixTables.login_owners` says."""
        return self._owners(address)


def _split(value: str) -> list[str]:
    return _ELEMENT.findall(value)


def _origin(value: str) -> str:
    # Debian's Postfix takes a file name for its first line; postconf does not.
    if not value.startswith("/"):
        return value
    try:
        return Path(value).read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError):
        raise TablesUnavailable("the file that myorigin names cannot be read") from None


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
        raise TablesUnavailable(said[-1] if said else f"{command[0]} ended with {done.returncode}")
    return done.stdout
