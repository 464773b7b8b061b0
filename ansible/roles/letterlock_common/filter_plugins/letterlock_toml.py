"""Settings as a TOML document (TOML 1.0)."""

import json
import re
from collections.abc import Iterator, Mapping


def letterlock_toml(settings: Mapping[str, object]) -> str:
    """Return `settings` as a document; what is None is left out."""
    return "\n".join(_table(settings, ())).lstrip("\n") + "\n"


def _table(settings: Mapping[str, object], name: tuple[str, ...]) -> Iterator[str]:
    tables = {k: v for k, v in settings.items() if isinstance(v, Mapping)}
    values = {k: v for k, v in settings.items() if k not in tables and v is not None}
    # A table that only holds others need not be named; an empty one says that it is there.
    if name and (values or not tables):
        yield f"\n[{'.'.join(map(_key, name))}]"
    for key, value in values.items():
        yield f"{_key(key)} = {_text(value)}"
    for key, table in tables.items():
        yield from _table(table, (*name, str(key)))


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _text(name)


def _text(value: object) -> str:
    # JSON's strings, numbers, booleans and arrays of them are TOML's, but for DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        """Return the filter under its name."""
        return {"letterlock_toml": letterlock_toml}
