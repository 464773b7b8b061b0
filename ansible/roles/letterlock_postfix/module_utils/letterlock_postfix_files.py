"""main.cf and master.cf as text: what they say, without running Postfix (postconf(5), master(5))."""

import re
from dataclasses import dataclass, field


@dataclass
class Service:
    """An entry of master.cf: its first seven fields with the command, and its `-o` options."""

    fields: list[str]
    options: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name and type, as postconf(1) has them: `smtp/inet`."""
        return "/".join(self.fields[:2])

    @property
    def program(self) -> str:
        """The daemon."""
        return self.fields[7]

    @property
    def line(self) -> str:
        """The entry on one line, as `postconf -M` takes it."""
        options = (f"-o {_quoted(f'{name}={value}')}" for name, value in self.options.items())
        return " ".join([*self.fields, *options])


def parameters(text: str) -> dict[str, str]:
    """Return what a main.cf sets; blanks within a value are one each, as Postfix takes them."""
    pairs = (line.partition("=") for line in _logical_lines(text) if "=" in line)
    return {name.strip(): " ".join(value.split()) for name, _, value in pairs}


def services(text: str) -> dict[str, Service]:
    """Return the entries of a master.cf by their names."""
    entries = map(_service, _logical_lines(text))
    return {entry.name: entry for entry in entries}


def added(value: str, item: str) -> str:
    """Return a list of milters or the like with `item` as its last, unless it is in it."""
    return value if item in re.split(r"[\s,]+", value) else f"{value} {item}".strip()


def removed(value: str, item: str) -> str:
    """Return it without `item`."""
    return " ".join(part for part in re.split(r"[\s,]+", value) if part != item)


def _logical_lines(text: str) -> list[str]:
    lines: list[str] = []
    for line in text.splitlines():
        # A comment or a blank line does not end the line that it interrupts.
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0].isspace() and lines:
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line.rstrip())
    return lines


def _service(line: str) -> Service:
    words = re.findall(r"\{[^{}]*\}|\S+", line)
    entry = Service(words[:8])
    rest = iter(words[8:])
    for word in rest:
        if word == "-o":
            name, _, value = next(rest, "").strip("{}").strip().partition("=")
            entry.options[name.strip()] = value.strip()
        else:
            # An argument of the command, as pipe(8) has them.
            entry.fields.append(word)
    return entry


def _quoted(option: str) -> str:
    return f"{{ {option} }}" if re.search(r"\s", option) else option
