"""What one supervisor leaves to the next, and what is not accepted as that."""

import sys

import pytest

from letterlock import succession
from letterlock.errors import ConfigError
from letterlock.succession import Estate

ESTATE = Estate({"inbound": 3}, (5,), (17, 18), "/run/letterlock-milter/x", "127.0.0.1:9464")


def test_an_estate_is_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the successor starts must not take itself for the heir."""
    monkeypatch.setenv("LETTERLOCK_ESTATE", succession._environment(ESTATE)["LETTERLOCK_ESTATE"])

    assert ESTATE == succession.inherited()
    assert succession.inherited() is None


@pytest.mark.parametrize(
    "text", ["", "{}", '{"listening":{},"more":1}'], ids=["none", "less", "more"]
)
def test_an_estate_of_another_version_is_refused(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """With what to do instead."""
    monkeypatch.setenv("LETTERLOCK_ESTATE", text)
    with pytest.raises(ConfigError, match="restart"):
        succession.inherited()


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("raise SystemExit(3)", "the program would end with status 3"),
        (
            'print("warning", file=sys.stderr);'
            'print(\'{"event": "not_started", "detail": "socket: wrong"}\', file=sys.stderr);'
            "sys.exit(78)",
            "socket: wrong",
        ),
    ],
    ids=["says nothing", "says why"],
)
def test_the_reason_is_the_successors_own(
    monkeypatch: pytest.MonkeyPatch, program: str, reason: str
) -> None:
    """One line for the operator, in the words of the program that would not start."""
    monkeypatch.setattr(sys, "argv", ["-c"])
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-c", f"import sys; {program}"])
    with pytest.raises(ConfigError) as raised:
        succession.require_heir(ESTATE)

    assert reason == str(raised.value)


def test_a_program_that_has_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that leads nowhere, for one."""
    monkeypatch.setattr(sys, "argv", ["/opt/letterlock/none"])
    monkeypatch.setattr(sys, "orig_argv", ["/opt/letterlock/none"])
    with pytest.raises(ConfigError, match=r"^/opt/letterlock/none: No such file"):
        succession.require_heir(ESTATE)
