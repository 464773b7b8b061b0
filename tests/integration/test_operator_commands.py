"""`letterlock status` and `trace` on a real stack."""

import json
import os
import pty
import select
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

import terminals
from operators_host import PROGRAM, configs, letterlock, stopped
from stack import Owner, Stack
from stack.processes import wait_until

MAIL = b"From: eve@outside.test\r\nTo: team@example.test\r\nSubject: canary-subject\r\n\r\nhi\r\n"


def test_status_shows_what_both_daemons_did(host: Stack) -> None:
    """Totals since their start; for people, and for programs."""
    host.send(MAIL, "team@example.test")
    host.wait_until_queue_is_empty()

    done = letterlock("status", *configs(host), "--json", "--interval", "0.2")
    seen = json.loads(done.stdout)
    drawn = letterlock("status", *configs(host), "--once", "--interval", "0.2")

    assert (0, 0) == (done.returncode, drawn.returncode)
    assert 2 <= seen["milter"]["copies"]["encrypted"]["total"]
    assert 1 <= seen["milter"]["reentered"]["total"]
    assert seen["milter"]["workers"] == seen["milter"]["workers_wanted"]
    assert "encrypted" in drawn.stdout
    assert "end within 14 days" in drawn.stdout


def test_status_says_who_does_not_answer(host: Stack) -> None:
    """And shows the other one."""
    with stopped(host, "keyservice"):
        done = letterlock("status", *configs(host), "--once", "--interval", "0.2")

    assert os.EX_UNAVAILABLE == done.returncode
    assert "Key service: no answer" in done.stdout
    assert "Milter" in done.stdout


@pytest.mark.parametrize(
    ("here", "elsewhere"), [("Milter", "Key service"), ("Key service", "Milter")]
)
def test_status_of_a_host_with_one_daemon(host: Stack, here: str, elsewhere: str) -> None:
    """The other one has no configuration there, and is not missed."""
    words = configs(host)
    words[1 if elsewhere == "Milter" else 3] = "/nonexistent.toml"

    done = letterlock("status", *words, "--once", "--interval", "0.2")

    assert 0 == done.returncode
    assert here in done.stdout
    assert elsewhere not in done.stdout


def test_status_of_a_host_with_none(tmp_path: Path) -> None:
    """Names the configuration that it has looked for."""
    file = tmp_path / "letterlock.toml"
    done = letterlock("status", "--config", str(file), "--keyservice-config", "/nonexistent.toml")

    assert (os.EX_CONFIG, f"letterlock: {file}: {os.strerror(2)}\n") == (
        done.returncode,
        done.stderr,
    )


def test_status_goes_on_until_it_isstopped(host: Stack) -> None:
    """By Ctrl-C, on a terminal; then it ends as if nothing was wrong, which it is not."""
    terminal, other_end = pty.openpty()
    with subprocess.Popen(
        # A shell that started the tests in the background has it ignored.
        ["env", "--default-signal=INT", *PROGRAM, "status", *configs(host), "--interval", "0.2"],
        stdout=other_end,
        stderr=other_end,
    ) as watching:
        os.close(other_end)
        shown = b""
        # Drawn more than once.
        while shown.count(b"Milter") < 3 and select.select([terminal], [], [], 60)[0]:
            shown += os.read(terminal, 65_536)
        watching.send_signal(signal.SIGINT)
        while octets := terminals.read(terminal):
            shown += octets
    os.close(terminal)

    assert 0 == watching.returncode
    assert shown.count(b"Milter") >= 3
    assert b"Traceback" not in shown


def trace(stack: Stack, queue_id: str) -> list[dict[str, Any]]:
    """Return the traced messages, from the stack's logs."""
    logs = stack.layout.logs
    options = ["--postfix-log", str(logs / "postfix.log"), "--milter-log", str(logs / "milter.log")]
    done = letterlock("trace", queue_id, *options, "--json")
    assert "canary" not in done.stdout
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def handed_in(host: Stack) -> str:
    """Send a mail to two mailboxes; return its queue ID, once the logs have all of it."""
    queue_id = str(host.send(MAIL, "team@example.test").queue_id)
    said = [json.loads(line) for line in host.log("milter").splitlines() if '"reentered"' in line]
    (copy,) = (line["copy"] for line in said if line["queue_id"] == queue_id)
    for each in (queue_id, copy):
        wait_until(lambda ended=f"{each}: removed": ended in host.postfix_log(), "removed")
    return queue_id


def test_trace_follows_a_message_to_both_mailboxes(host: Stack, bob: Owner, alice: Owner) -> None:
    """How it was encrypted, the queue ID of the copy, and where each was delivered."""
    queue_id = handed_in(host)

    itself, copy = trace(host, queue_id)
    told = [event["what"] for event in itself["events"]]
    delivered = [e["what"] for m in (itself, copy) for e in m["events"] if e["stage"] == "delivery"]

    assert ("copy", queue_id) == (copy["relation"], copy["of"])
    assert f"re-entered as {copy['queue_id']}" in told
    assert {f"wrapped, to {owner.fingerprint}" for owner in (alice, bob)} <= set(told)
    assert ["alice@example.test", "bob@example.test"] == sorted(
        what.split()[1] for what in delivered
    )
    assert all("2.0.0 sent" in what for what in delivered)


def test_trace_reads_what_it_is_given(host: Stack) -> None:
    """Both logs in one, as another host hands them over; the same comes of it."""
    queue_id = handed_in(host)
    logs = host.layout.logs
    both = (logs / "postfix.log").read_bytes() + (logs / "milter.log").read_bytes()

    done = subprocess.run(
        [*PROGRAM, "trace", queue_id, "--postfix-log", "-", "--milter-log", "-", "--json"],
        input=both,
        capture_output=True,
        check=True,
    )

    assert trace(host, queue_id) == json.loads(done.stdout)


def test_trace_ends_with_1_where_no_log_knows_the_message(host: Stack) -> None:
    """And with 2 where a log cannot be read."""
    log = str(host.layout.logs / "milter.log")
    unknown = letterlock("trace", "4NEVERSEEN", "--postfix-log", log, "--milter-log", log)
    unread = letterlock("trace", "4NEVERSEEN", "--postfix-log", "/nonexistent", "--milter-log", log)

    assert (1, 2) == (unknown.returncode, unread.returncode)
    assert "/nonexistent" in unread.stderr
