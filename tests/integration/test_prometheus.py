"""A real Prometheus scrapes a real stack: what rules and dashboard ask for is there, and rings."""

import re
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from monitoring import RULES, expressions, hasty
from ports import free_port
from prometheus_process import Prometheus
from stack import Owner, Stack, wait_until

MAIL = b"From: eve@outside.test\r\nTo: alice@example.test\r\nSubject: hello\r\n\r\nhello\r\n"
EXPRESSIONS = expressions()
_METRIC = re.compile(r"(?<![:\w])((?:letterlock|keyservice)_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, alice: Owner) -> Iterator[Stack]:
    """A stack with all that can be counted: both roles, and a public listener."""
    stack = Stack(tmp_path_factory.mktemp("s"), submission=True, stale_seconds=0)
    with (stack.layout.config / "keyservice.toml").open("a") as file:
        file.write(f'\n[public]\ntcp = "127.0.0.1:{free_port()}"\n')
    with stack:
        stack.enrol("alice@example.test", alice.certificate)
        yield stack


@pytest.fixture(scope="module")
def prometheus(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It has scraped everything, and goes on."""
    jobs = {
        f"letterlock-{name}": stack.metrics_url(name).split("/")[2]
        for name in ("milter", "keyservice")
    }
    with Prometheus(tmp_path_factory.mktemp("p"), jobs, hasty(RULES.read_text())) as prometheus:
        doctor(stack, prometheus.textfiles / "letterlock.prom")
        wait_until(lambda: all_up(prometheus), "first scrapes")
        yield prometheus


def doctor(stack: Stack, textfile: Path) -> None:
    """Have `letterlock doctor` look at the stack."""
    config = stack.layout.config
    options = {
        "--config": config / "letterlock.toml",
        "--keyservice-config": config / "keyservice.toml",
        "--textfile": textfile,
    }
    words = [str(word) for option in options.items() for word in option]
    command = [sys.executable, "-c", "from letterlock.cli import main; main()", "doctor", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert textfile.exists(), done.stderr


def pages(stack: Stack, prometheus: Prometheus) -> dict[str, bytes]:
    """What is exposed, by whom."""
    found = {"doctor": (prometheus.textfiles / "letterlock.prom").read_bytes()}
    for name in ("milter", "keyservice"):
        with urlopen(stack.metrics_url(name), timeout=10) as reply:
            found[name] = reply.read()
    return found


def test_all_is_scraped(prometheus: Prometheus) -> None:
    """Both daemons, and the host. Now and then one takes too long for it on a busy machine."""
    wait_until(lambda: all_up(prometheus), "all up")


def all_up(prometheus: Prometheus) -> bool:
    """Whether the last scrape of each went well, and the doctor's findings are among them."""
    targets = [(target["health"], target["lastError"]) for target in prometheus.targets()]
    return [("up", "")] * 3 == targets and bool(prometheus.query("letterlock_doctor_findings"))


@pytest.mark.parametrize("name", ["milter", "keyservice", "doctor"])
def test_promtool_finds_nothing_to_correct(stack: Stack, prometheus: Prometheus, name: str) -> None:
    """Names, units and help texts are as Prometheus wants them."""
    page = pages(stack, prometheus)[name]
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=page, capture_output=True, check=False
    )

    assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_is_understood(prometheus: Prometheus, name: str) -> None:
    """Of each rule and each panel; a panel that is wrong would stay empty without a word."""
    prometheus.query(EXPRESSIONS[name])


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_what_an_expression_asks_for_is_exposed(prometheus: Prometheus, name: str) -> None:
    """Each metric, and each value of a label that is looked for: all are there from the start."""
    for metric, matchers in _METRIC.findall(EXPRESSIONS[name]):
        series = prometheus.series(metric)
        assert series, metric
        for label, _, pattern in _MATCHER.findall(matchers):
            values = {one.get(label, "") for one in series}
            for wanted in pattern.split("|"):
                assert any(re.fullmatch(wanted, value) for value in values), (label, wanted)


def test_mail_is_seen(stack: Stack, prometheus: Prometheus) -> None:
    """A copy that was encrypted is counted where the dashboard looks."""
    stack.send(MAIL, "alice@example.test")
    asked = 'sum(letterlock_messages_total{disposition="encrypted"})'

    wait_until(lambda: ["1"] == [row["value"][1] for row in prometheus.query(asked)], "one message")


def test_a_key_service_that_is_gone_rings_and_is_heard_no_more(
    stack: Stack, prometheus: Prometheus
) -> None:
    """With seconds for minutes; from the daemon that is down, and from the milter that asks."""
    expected = {"LetterlockKeyServiceDown", "LetterlockKeyServiceUnreachable"}
    wait_until(lambda: not expected & prometheus.firing(), "silence before")
    stack.stop_daemon("keyservice")

    def rings() -> bool:
        with pytest.raises(smtplib.SMTPResponseException):
            stack.send(MAIL, "bob@example.test")
        return expected <= prometheus.firing()

    wait_until(rings, "alerts", 120)
    stack.start_daemon("keyservice")
    wait_until(lambda: not expected & prometheus.firing(), "silence", 120)
