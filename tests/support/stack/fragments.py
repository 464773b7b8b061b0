"""The files of postfix-conf/, filled in."""

import re
from collections.abc import Mapping
from pathlib import Path

FRAGMENTS = Path(__file__).parents[3] / "postfix-conf"


def fragment(name: str, placeholders: Mapping[str, str]) -> str:
    """Return a file of postfix-conf/ with its placeholders filled in."""
    text = (FRAGMENTS / f"{name}.in").read_text()
    for placeholder, value in placeholders.items():
        text = text.replace(f"@{placeholder}@", value)
    # A placeholder that stayed would be taken for a value by Postfix.
    if left := re.findall(r"(?m)^[^#\n]*(@[A-Z_]+@)", text):
        raise ValueError(f"{name}.in: nothing given for {left}")
    return text


def merged(lines: str, ours: str) -> str:
    """Return `lines` of a master.cf with the services of `ours` added or in their place."""
    replaced = set(re.findall(r"(?m)^(\S+ +(?:inet|unix)) ", re.sub(" +", " ", ours)))
    kept = [x for x in lines.splitlines() if " ".join(x.split()[:2]) not in replaced]
    return "\n".join([*kept, ours])
