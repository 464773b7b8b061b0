"""Postfix's settings as postconf(1) prints them, parsed into values. Pure but for `read`."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

_TIMEOUT_SECONDS = 30.0
# postconf(5): lists are separated by blanks or commas, and braces keep an element together.
_ELEMENT = re.compile(r"\{[^{}]*\}|[^\s,{}]+")


class PostfixUnreadable(Exception):
    """postconf(1) could not be run on the directory; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Service:
    """One line of master.cf (master(5))."""

    name: str
    type: str
    program: str
    chrooted: bool
    overrides: Mapping[str, str]
    """What its `-o` options set."""

    @property
    def title(self) -> str:
        """How postconf(1) names it."""
        return f"{self.name}/{self.type}"


@dataclass(frozen=True, slots=True)
class Settings:
    """What is in effect in one Postfix instance."""

    parameters: Mapping[str, str]
    """Every parameter of main.cf, defaults included, other parameters filled in."""

    services: tuple[Service, ...]
    warnings: tuple[str, ...] = ()
    """What postconf(1) complained about."""

    @classmethod
    def parse(
        cls, parameters: str, fields: str, overrides: str, warnings: Sequence[str] = ()
    ) -> Self:
        """Return what `postconf -x`, `postconf -F` and `postconf -xP` have printed."""
        options: dict[str, dict[str, str]] = {}
        for path, value in _pairs(overrides):
            title, _, name = path.rpartition("/")
            options.setdefault(title, {})[name] = value
        columns: dict[str, dict[str, str]] = {}
        for path, value in _pairs(fields):
            title, _, column = path.rpartition("/")
            columns.setdefault(title, {})[column] = value
        services = (_service(row, options.get(title, {})) for title, row in columns.items())
        return cls(dict(_pairs(parameters)), tuple(services), tuple(warnings))

    def of(self, service: Service, parameter: str) -> str:
        """Return the value that `parameter` has in `service`."""
        return service.overrides.get(parameter, self.parameters.get(parameter, ""))

    def service(self, name: str) -> Service | None:
        """Return the first service of that name, whatever its type."""
        return next((s for s in self.services if s.name == name), None)


@dataclass(frozen=True, slots=True)
class MilterEntry:
    """One element of smtpd_milters: where it listens, and what is set for it alone."""

    address: str
    settings: Mapping[str, str]


def elements(value: str) -> list[str]:
    """Split the value of a parameter that is a list."""
    return _ELEMENT.findall(value)


def milters(value: str) -> list[MilterEntry]:
    """Parse smtpd_milters or non_smtpd_milters (MILTER_README, "Per-milter settings")."""
    return [_milter(element) for element in elements(value)]


def read(config_directory: str) -> Settings:
    """Return the settings of the instance in `config_directory`. Raises PostfixUnreadable."""
    parameters, said = _postconf(config_directory, "-x")
    fields, _ = _postconf(config_directory, "-F")
    overrides, _ = _postconf(config_directory, "-xP")
    return Settings.parse(parameters, fields, overrides, said)


def _postconf(config_directory: str, option: str) -> tuple[str, list[str]]:
    command = ["postconf", "-c", config_directory, option]
    try:
        done = subprocess.run(  # noqa: S603 (fixed command, no shell)
            command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PostfixUnreadable(f"postconf could not be run: {error}") from None
    if done.returncode:
        raise PostfixUnreadable(done.stderr.strip() or f"postconf ended with {done.returncode}")
    return done.stdout, done.stderr.splitlines()


def _pairs(text: str) -> list[tuple[str, str]]:
    lines = (line.partition("=") for line in text.splitlines())
    return [(name.strip(), value.strip()) for name, _, value in lines]


def _service(row: Mapping[str, str], overrides: Mapping[str, str]) -> Service:
    program = row.get("command", "").split(maxsplit=1)[:1]
    return Service(
        name=row.get("service", ""),
        type=row.get("type", ""),
        program="".join(program),
        chrooted=row.get("chroot") == "y",
        overrides=overrides,
    )


def _milter(element: str) -> MilterEntry:
    # `name = value` may have blanks around the sign, which a list splits at.
    text = re.sub(r"\s*=\s*", "=", element.strip("{} "))
    address, *settings = elements(text) or [""]
    pairs = (setting.partition("=") for setting in settings)
    return MilterEntry(address, {name: value for name, _, value in pairs})
