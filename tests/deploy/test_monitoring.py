"""The rules for Prometheus: promtool takes them, each alert rings when it must and is explained."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from ruamel.yaml import YAML

from monitoring import RULES, alerts, dashboard, panels

ROOT = Path(__file__).parents[2]
ALERTS = alerts()
CHAPTERS = re.findall(
    r"^### (Letterlock\w+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE
)
CASES = YAML(typ="safe").load(Path(__file__).with_name("alerts.yml"))
MINUTES = {"m": 1, "h": 60}


def promtool(*arguments: object) -> str:
    """Return what promtool says; it must have nothing to complain about."""
    command = ["promtool", *map(str, arguments)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert 0 == done.returncode, done.stdout
    return done.stdout


def minutes(duration: str) -> int:
    return int(duration[:-1]) * MINUTES[duration[-1]]


def rendered(text: str, labels: dict[str, str], value: str) -> str:
    """Return a text of an alert as Prometheus writes it."""
    text = re.sub(r"{{ \$labels\.(\w+) }}", lambda found: labels[found[1]], text)
    return re.sub(r"{{[^}]*\$value[^}]*}}", lambda _: value, text)


def alert_test(name: str, series: dict[str, str], at: int, expected: list[object]) -> object:
    """Return a test in promtool's form: at minute `at` an alert fires, or nothing does."""
    return {
        "interval": "1m",
        "input_series": [{"series": key, "values": values} for key, values in series.items()],
        "alert_rule_test": [{"eval_time": f"{at}m", "alertname": name, "exp_alerts": expected}],
    }


def test_promtool_has_nothing_to_correct() -> None:
    """Syntax, and everything that its linter knows."""
    promtool("check", "rules", "--lint=all", RULES)


def test_each_alert_has_a_case() -> None:
    """None rings for the first time on an operator's telephone."""
    assert sorted(ALERTS) == sorted(CASES)


@pytest.mark.parametrize("name", CASES)
def test_an_alert_rings_when_it_must_and_not_before(name: str, tmp_path: Path) -> None:
    """With what is wrong, after its `for:`; and never with what only looks like it."""
    rule, case = ALERTS[name], CASES[name]
    labels = rule["labels"] | case["labels"]
    texts = rule["annotations"]
    fires = {
        "exp_labels": {key: value for key, value in labels.items() if value},
        "exp_annotations": {
            key: rendered(text, labels, case.get("value", "")) for key, text in texts.items()
        },
    }
    at, pause = minutes(case["at"]), minutes(rule["for"])
    tests = [
        alert_test(name, case["wrong"], at, [fires]),
        alert_test(name, case["right"], at, []),
    ]
    if pause:
        tests.append(alert_test(name, case["wrong"], at - 1, []))
    file = tmp_path / "tests.json"  # which is YAML, too
    file.write_text(json.dumps({"rule_files": [str(RULES)], "tests": tests}))

    promtool("test", "rules", file)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_bad_it_is_and_what_to_do(name: str) -> None:
    """Severity, how long it may last, texts, and a chapter of the runbook."""
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert {"summary", "description", "runbook_url"} == rule["annotations"].keys()
    assert f"docs/runbook.md#{name.lower()}" == rule["annotations"]["runbook_url"]
    assert 1 == CHAPTERS.count(name)


def test_the_runbook_has_a_chapter_for_alerts_only() -> None:
    """One that was renamed would lead nowhere."""
    assert sorted(ALERTS) == sorted(CHAPTERS)


def test_the_dashboard_is_what_its_script_makes() -> None:
    """Nobody has edited the result."""
    command = [sys.executable, ROOT / "ansible/write-dashboard", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert ("", 0) == (done.stderr, done.returncode)


def test_the_dashboard_has_the_form_that_grafana_reads() -> None:
    """Its own library reads it and writes the same: nothing unknown, nothing missing."""
    read = Dashboard.from_json(dashboard())

    assert dashboard() == json.loads(JSONEncoder().encode(read))


def test_the_dashboard_can_be_imported_anywhere() -> None:
    """A name that stays, and whatever Prometheus the operator has."""
    board = dashboard()
    sources = {target["datasource"]["uid"] for panel in panels() for target in panel["targets"]}
    [source] = [each for each in board["templating"]["list"] if each["type"] == "datasource"]

    assert ("letterlock", {"$datasource"}) == (board["uid"], sources)
    assert ("datasource", "prometheus") == (source["name"], source["query"])


def test_the_picture_shows_each_panel() -> None:
    """It was drawn anew after the dashboard was changed: docs/draw-dashboard."""
    picture = (ROOT / "docs/dashboard.svg").read_text()

    assert [] == [panel["title"] for panel in panels() if panel["title"] not in picture]
