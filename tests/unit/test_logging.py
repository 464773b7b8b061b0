"""docs/logging.md names every event of both daemons, with its level and its fields."""

import ast
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from keyservice.log import JSONFormatter

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "logging.md").read_text()

_LEVELS = {
    "outcome": "info",
    "failure": "error",
    "info": "info",
    "warning": "warning",
    "error": "error",
    "exception": "error",
}
_EXCEPTION = frozenset({"exception", "at"})
"""What `log.place_of` and the formatters make of an exception."""


LENT = frozenset({"redis_failed", "tracking_lost", "library"})
"""What the milter uses of the key service, and libraries, write lines of their own."""


class Event(NamedTuple):
    """What one place in the code writes."""

    name: str
    level: str
    fields: frozenset[str]


def events(package: Path) -> Iterator[Event]:
    """Every call that writes a line, in all modules of a package."""
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and _is_log(node.func):
                yield from _of(node, path)


def _is_log(function: ast.expr) -> bool:
    if not isinstance(function, ast.Attribute) or function.attr not in _LEVELS | {"log": ""}:
        return False
    where = ast.unparse(function.value)
    return where == "log" or where.startswith("logging.getLogger(")


def _of(call: ast.Call, path: Path) -> Iterator[Event]:
    assert isinstance(call.func, ast.Attribute)
    arguments = list(call.args)
    level = _LEVELS.get(call.func.attr, "")
    if not level:  # log.log(level, …)
        arguments.pop(0)
    names = _constants(arguments[0])
    assert names, f"{path}:{call.lineno}: the event is not a constant"
    fields = set(_EXCEPTION) if call.func.attr == "exception" else set()
    for keyword in call.keywords:
        match keyword.arg, keyword.value:
            case ("exc_info", _):
                fields |= _EXCEPTION
            case ("extra", ast.Dict(keys=keys)):
                fields |= {name for key in keys if key for name in _constants(key)}
            case (None, ast.Call()):
                fields |= _EXCEPTION  # **place_of(error)
            case (None, _):
                fields |= {"detail"} | _EXCEPTION  # one or the other
            case ("extra", _):
                raise AssertionError(f"{path}:{call.lineno}: the fields are not a literal")
            case (str(name), _):
                fields.add(name)
    yield from (Event(name, level, frozenset(fields)) for name in names)


def _constants(node: ast.expr) -> list[str]:
    if isinstance(node, ast.IfExp):
        return [*_constants(node.body), *_constants(node.orelse)]
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def documented(section: str) -> dict[str, tuple[set[str], set[str]]]:
    """Each event of a section's table, with its levels and fields."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \|(.*?)\|", text, re.MULTILINE)
    assert len(rows) == len({name for name, _, _ in rows})
    return {
        name: (set(levels.split(", ")), set(re.findall(r"`(\w+)`", fields)))
        for name, levels, fields in rows
    }


@pytest.mark.parametrize(
    ("section", "package"),
    [("The milter", "milter/letterlock"), ("The key service", "keyservice/keyservice")],
    ids=["milter", "key service"],
)
def test_every_event_is_documented(section: str, package: str) -> None:
    """With all its fields, and nothing that is no event."""
    rows = documented(section)
    found: dict[str, tuple[set[str], set[str]]] = {}
    for event in events(ROOT / package):
        levels, fields = found.setdefault(event.name, (set(), set()))
        if event.level:
            levels.add(event.level)
        fields |= event.fields
    lent = LENT if section == "The milter" else {"library"}

    assert sorted(found) == sorted(set(rows) - lent)
    for name, (levels, fields) in found.items():
        assert (levels or rows[name][0], fields) == rows[name], name


def test_lines_of_the_two_daemons_have_one_form() -> None:
    """The same first fields, whoever writes."""
    record = logging.LogRecord("keyservice.x", logging.INFO, "f", 1, "serving", None, None)
    ours = json.loads(JSONFormatter().format(record))
    program = "from letterlock import log; log.set_up(); log.outcome('serving')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    theirs = json.loads(done.stderr)

    assert ["time", "level", "pid", "event"] == list(ours) == list(theirs)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", ours["time"])


@pytest.mark.parametrize("module", ["letterlock.log", "keyservice.log"])
def test_the_journal_learns_the_priority(module: str) -> None:
    """`journalctl -p err` finds what went wrong; elsewhere a line is JSON and nothing else."""
    program = (
        f"import logging; from {module} import set_up; set_up();"
        "logging.getLogger('keyservice.x').error('failed', extra={'detail': 'x'})"
    )
    read, write = os.pipe()
    stream = os.fstat(write)
    environment = os.environ | {"JOURNAL_STREAM": f"{stream.st_dev}:{stream.st_ino}"}
    subprocess.run([sys.executable, "-c", program], stderr=write, check=True, env=environment)
    os.close(write)
    with os.fdopen(read, "rb") as lines:
        line = lines.read()

    assert line.startswith(b'<3>{"time"')
    assert ("failed", "x") == (json.loads(line[3:])["event"], json.loads(line[3:])["detail"])


@pytest.mark.parametrize("module", ["letterlock.log", "keyservice.log"])
def test_what_libraries_say_is_marked(module: str) -> None:
    """Their words are theirs; they cannot be taken for an event of ours."""
    program = (
        f"import logging; from {module} import set_up; set_up();"
        "logging.getLogger('asyncio').warning('accepted')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    line = json.loads(done.stderr)

    assert ("library", "asyncio", "accepted") == (line["event"], line["logger"], line["detail"])
