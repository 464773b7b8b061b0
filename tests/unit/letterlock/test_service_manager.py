"""What the service manager is told, and where it puts secrets."""

import socket
from pathlib import Path

import pytest

from letterlock import service_manager


@pytest.mark.parametrize("is_abstract", [False, True], ids=["path", "abstract"])
def test_it_is_told_where_it_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_abstract: bool
) -> None:
    """One datagram with all assignments."""
    name = f"{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}" if is_abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if is_abstract else name)
        service_manager.tell("READY=1", "STATUS=serves")

        assert b"READY=1\nSTATUS=serves" == manager.recv(100)


def test_without_a_service_manager_nothing_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither without the variable, nor if nobody listens any more."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    service_manager.tell("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    service_manager.tell("READY=1")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 15.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": ""}, None),
    ],
    ids=["nobody waits", "each minute", "for another process", "empty"],
)
def test_the_watchdog_is_told_often_enough(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: float | None
) -> None:
    """sd_watchdog_enabled(3) asks for half of its time; a quarter leaves room for a busy host."""
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert expected == service_manager.watchdog_seconds()


def test_a_credential_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LoadCredential=: the file itself need not be readable to the daemon."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "cache.key").write_text("secret\n")

    found = service_manager.credential(Path("/etc/letterlock/cache.key"))

    assert tmp_path / "cache.key" == found


@pytest.mark.parametrize("content", [None, "", "\n"], ids=["none", "empty", "blank"])
def test_a_credential_that_is_not_there_leaves_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    """Then the error names the file that the operator knows. Blank: SetCredential= of our units."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    if content is not None:
        (tmp_path / "cache.key").write_text(content)

    file = Path("/etc/letterlock/cache.key")
    assert file == service_manager.credential(file)
