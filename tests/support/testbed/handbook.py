"""Documents as they are typed: their blocks, with the reader's own names, on a host."""

import re
import shlex
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from testbed.host import Host

_ROOT = Path(__file__).parents[3]
_HEADING = re.compile(r"#+ (.*)")
_FENCE = re.compile(r" *```(\w*)")

_TYPED = """\
exec 2>&1
if [ -f ~/.typed ]; then . ~/.typed; fi
cd {directory}
set -eua
{text}
set +a
export -p >~/.typed
"""


@dataclass(frozen=True, slots=True)
class Block:
    """What is between two fences."""

    heading: str
    """The last one before it."""

    language: str
    text: str


@dataclass
class Page:
    """A document of this tree, read from its beginning to its end."""

    name: str
    names: Mapping[str, str]
    """What the reader writes in place of the names in it."""

    text: str = field(init=False)
    left: list[Block] = field(init=False)
    """What nobody has read as yet."""

    def __post_init__(self) -> None:
        """Read the file."""
        text = (_ROOT / self.name).read_text()
        for theirs, ours in self.names.items():
            text = text.replace(theirs, ours)
        self.text = text
        self.left = list(_blocks(text))

    def next(self, heading: str, language: str = "sh") -> str:
        """Return the next block under a heading."""
        for block in self.left:
            if (block.heading, block.language) == (heading, language):
                self.left.remove(block)
                return block.text
        raise AssertionError(f"{self.name}: no more {language} under {heading}")

    def word(self, begin: str) -> str:
        """Return the one piece of code in a sentence that begins so."""
        (found,) = set(re.findall(rf"`({re.escape(begin)}[^`]*)`", self.text))
        return str(found)


@dataclass(frozen=True, slots=True)
class Terminal:
    """A shell of root's on a host; what it was told is remembered, as in one session."""

    host: Host

    def type(self, text: str, stdin: str = "", *, directory: str = "~") -> str:
        """Return what a block wrote, errors among it; raise CommandFailed if a line fails."""
        script = _TYPED.format(directory=directory, text=text)
        return self.host.run(f"bash -c {shlex.quote(script)}", stdin)

    def set_options(self, file: str, text: str, section: str = "") -> None:
        """Write options into an annotated configuration: each takes the place of its comment."""
        content = self.host.run(f"cat {file}")
        for line in filter(None, text.splitlines()):
            if line.startswith("["):
                section = line
            else:
                content = _with_option(content, section, line)
        # As an editor does it, the file keeps its mode.
        self.host.run(f"cat >{file}", content)


def _with_option(content: str, section: str, line: str) -> str:
    before, heading, after = content.partition(f"{section}\n") if section else ("", "", content)
    assert heading or not section, f"no {section}"
    name = line.partition(" = ")[0]
    after, count = re.subn(rf"(?m)^#{name} = .*$", lambda _: line, after, count=1)
    assert count, f"no {name} in {section}"
    return before + heading + after


def _blocks(text: str) -> Iterator[Block]:
    heading = language = ""
    lines: list[str] | None = None
    for line in text.splitlines():
        fence = _FENCE.fullmatch(line)
        if fence and lines is None:
            language, lines = fence[1], []
        elif fence and lines is not None:
            yield Block(heading, language, textwrap.dedent("\n".join(lines)))
            lines = None
        elif lines is not None:
            lines.append(line)
        elif found := _HEADING.fullmatch(line):
            heading = found[1]
