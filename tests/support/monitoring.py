"""The files of the role letterlock_monitoring, as tests look at them."""

import json
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

FILES = Path(__file__).parents[2] / "ansible/roles/letterlock_monitoring/files"
RULES = FILES / "letterlock.rules.yml"
DASHBOARD = FILES / "letterlock-dashboard.json"

_VARIABLES = {"$__rate_interval": "10s", "$__range": "60s", "$instance": ".*"}
"""What Grafana puts in place of them."""


def rules() -> list[dict[str, Any]]:
    """Return all rules."""
    groups = YAML(typ="safe").load(RULES)["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """Return the rules that ring, by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def panels() -> list[dict[str, Any]]:
    """Return the panels of the dashboard that show something."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def filled_in(expression: str) -> str:
    """Return an expression of the dashboard as Grafana would send it."""
    for name, value in _VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def expressions() -> dict[str, str]:
    """Return every expression of both files, by where it stands."""
    found = {rule.get("alert") or rule["record"]: rule["expr"] for rule in rules()}
    for panel in panels():
        for target in panel["targets"]:
            found[f"{panel['title']} {target['refId']}"] = filled_in(target["expr"])
    return found


def hasty(text: str) -> str:
    """Return rules that take seconds for what takes minutes."""
    return re.sub(r"\b(\d+)m\b", r"\1s", text)
