"""Changing letterlock.toml of a stack, before the milter starts or is reloaded."""

import tomllib

from stack import Stack
from stack.daemons import section


def change(stack: Stack, table: str, **settings: object) -> None:
    """Set options of one table; all others stay as they are."""
    file = stack.layout.config / "letterlock.toml"
    tables = tomllib.loads(file.read_text())
    tables[table] |= settings
    top = {key: value for key, value in tables.items() if not isinstance(value, dict)}
    # The options without a table must come first.
    text = section("", top).removeprefix("\n[]\n")
    text += "".join(section(key, value) for key, value in tables.items() if key not in top)
    file.write_text(text)
