"""Settings as a TOML document (TOML 1.0)."""

import json
from collections.abc import Iterator, Mapping


def letterlock_toml(settings: Mapping[str, object]) -> str:
    """Return `settings` as a document; what is None is left out."""
    return "\n".join(_table(settings, ())) + "\n"


def _table(settings: Mapping[str, object], name: tuple[str, ...]) -> Iterator[str]:
    if name:
        yield f"\n[{'.'.join(map(_text, name))}]"
    tables = {k: v for k, v in settings.items() if isinstance(v, Mapping)}
    for key, value in settings.items():
        if key not in tables and value is not None:
            yield f"{_text(key)} = {_text(value)}"
    for key, table in tables.items():
        yield from _table(table, (*name, str(key)))


def _text(value: object) -> str:
    # JSON's strings, numbers, booleans and arrays of them are TOML's, but for DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        """Return the filter under its name."""
        return {"letterlock_toml": letterlock_toml}
