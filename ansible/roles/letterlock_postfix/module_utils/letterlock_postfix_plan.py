"""What is to be changed in a Postfix, and what it was before; no file and no program is touched."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ansible.module_utils.letterlock_postconf import Entries, Settings, added, removed

LISTS = {"smtpd_milters", "non_smtpd_milters"}
"""Others may have their milters in them; ours is the last."""

SHARED = {"smtp/inet", "cleanup/unix"}
"""Entries that are the operator's and get options of ours; all other entries are ours whole."""

KINDS = ("main", "services", "options")


@dataclass
class Record:
    """What was set before us (None: nothing), and what we have set in its place."""

    before: dict[str, dict[str, str | None]] = field(default_factory=lambda: {k: {} for k in KINDS})
    ours: dict[str, Entries] = field(default_factory=lambda: {k: {} for k in KINDS})
    tables: list[str] = field(default_factory=list)
    """Files of ours beside main.cf."""

    @classmethod
    def of(cls, document: dict[str, Any] | None) -> Record:
        """Return what `as_document` made of it; nothing was recorded if there is none."""
        return cls(**document) if document else cls()

    def as_document(self) -> dict[str, Any]:
        """Return it for a JSON file."""
        return asdict(self)


@dataclass
class Plan:
    """Changes of one configuration directory."""

    settings: Settings = field(default_factory=Settings)
    """To be set."""

    removals: Settings = field(default_factory=Settings)
    """To be removed."""

    record: Record = field(default_factory=Record)
    """What to remember when all is done."""

    left: list[str] = field(default_factory=list)
    """What somebody has changed since; it stays as it is."""


def plan(fragments: Settings, there: Settings, record: Record) -> Plan:
    """Return how a Postfix comes to have `fragments`, and nothing of ours beside them."""
    made = Plan()
    wanted = _wanted(fragments, there)
    for kind in KINDS:
        current: Entries = getattr(there, kind)
        for name, value in getattr(wanted, kind).items():
            if current.get(name) != value:
                getattr(made.settings, kind)[name] = value
            before = record.before[kind].get(name, current.get(name))
            made.record.before[kind][name] = before
            made.record.ours[kind][name] = value
        for name, value in record.ours[kind].items():
            if name not in getattr(wanted, kind):
                _restore(made, kind, name, current.get(name), value, record.before[kind][name])
    return made


def _wanted(fragments: Settings, there: Settings) -> Settings:
    main = {name: _joined(name, value, there) for name, value in fragments.main.items()}
    services = {n: v for n, v in fragments.services.items() if n not in SHARED}
    options = {}
    for path, value in fragments.options.items():
        name, _, option = path.rpartition("/")
        if name in SHARED:
            options[f"{_standing_for(name, there)}/{option}"] = value
    return Settings(main, services, options)


def _joined(name: str, value: str, there: Settings) -> str:
    return added(there.main.get(name, ""), value) if name in LISTS else value


def _standing_for(name: str, there: Settings) -> str:
    """Return the entry that does the work of `name` here."""
    # Behind postscreen(8) sessions go on in `smtpd pass`.
    if name == "smtp/inet" and there.services.get(name, "").split()[-1:] == ["postscreen"]:
        return "smtpd/pass"
    return name


def _restore(
    made: Plan, kind: str, name: str, current: str | None, ours: str, before: str | None
) -> None:
    if current is None or current == before:
        return
    if kind == "main" and name in LISTS:
        # Somebody may have added milters since.
        others = removed(current, ours.split()[-1])
        before = others or (None if before is None else "")
    elif current != ours:
        made.left.append(name)
        return
    if before is None:
        getattr(made.removals, kind)[name] = current
    else:
        getattr(made.settings, kind)[name] = before
