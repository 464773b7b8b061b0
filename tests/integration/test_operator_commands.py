"""`letterlock doctor`, `status`, `trace` on a real stack: faults put in one by one, and found."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from dkim_directory import write_keys
from letterlock import postfix
from letterlock.doctor import milter_greeting
from letterlock.doctor.accounts import NotPossible, as_account
from letterlock.doctor.host import Host
from letterlock.doctor.milter_greeting import Way
from letterlock.doctor.redis_rights import ask
from stack import Owner, Stack
from stack.processes import wait_until
from stack.submission import dkim_directory, trusted_file

MAIL = b"From: eve@outside.test\r\nTo: team@example.test\r\nSubject: canary-subject\r\n\r\nhi\r\n"
_PROGRAM = [sys.executable, "-c", "from letterlock.cli import main; main()"]


def letterlock(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, as an operator does."""
    return subprocess.run([*_PROGRAM, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, alice: Owner, bob: Owner) -> Iterator[Stack]:
    """A stack of both roles, in order as far as a stack on a test machine can be."""
    aliases = {"team@example.test": "alice@example.test, bob@example.test"}
    running = Stack(tmp_path_factory.mktemp("host"), virtual_aliases=aliases, submission=True)
    with running as stack:
        stack.enrol("alice@example.test", alice.certificate)
        stack.enrol("bob@example.test", bob.certificate)
        write_keys(dkim_directory(stack.layout), "example.test")
        yield stack


def configs(stack: Stack) -> list[str]:
    """Return the options that say where the stack's configuration is."""
    config = stack.layout.config
    names = (("--config", "letterlock"), ("--keyservice-config", "keyservice"))
    return [word for option, name in names for word in (option, str(config / f"{name}.toml"))]


def findings(stack: Stack) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what doctor finds, by place and line."""
    done = letterlock("doctor", *configs(stack), "--json")
    assert done.returncode in (0, 1), done.stderr
    return {(row["where"], row["line"]): row for row in json.loads(done.stdout)}


@pytest.fixture(scope="module")
def before(host: Stack) -> dict[tuple[str, str], dict[str, Any]]:
    """What doctor finds without a fault."""
    return findings(host)


def test_a_stack_in_order_has_nothing_but_what_is_the_machines(host: Stack) -> None:
    """Whether its disk is encrypted and its clock kept is not the stack's to say."""
    machine = (str(host.layout.queue), "clock", "fs.suid_dumpable", "/dev/", "/swap")
    found = [row for row in findings(host).values() if not row["where"].startswith(machine)]

    assert [] == [row for row in found if row["severity"] != "note"]


Fault = Callable[[Stack], AbstractContextManager[None]]


@contextmanager
def _mode(path: Path, mode: int) -> Iterator[None]:
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(before)


@contextmanager
def _without(path: Path) -> Iterator[None]:
    aside = path.rename(path.with_suffix(".aside"))
    try:
        yield
    finally:
        aside.rename(path)


@contextmanager
def _stopped(stack: Stack, daemon: str) -> Iterator[None]:
    stack.stop_daemon(daemon)
    try:
        yield
    finally:
        stack.start_daemon(daemon)


@contextmanager
def _postconf(stack: Stack, option: str, setting: str) -> Iterator[None]:
    # Postfix is not told: doctor reads the files.
    etc = stack.layout.postfix / "etc"
    before = {name: (etc / name).read_bytes() for name in ("main.cf", "master.cf")}
    subprocess.run(["postconf", "-c", str(etc), option, setting], check=True)
    try:
        yield
    finally:
        for name, octets in before.items():
            (etc / name).write_bytes(octets)


@contextmanager
def _open_to_the_world(stack: Stack) -> Iterator[None]:
    with socket.socket(socket.AF_INET6) as listening:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("::", stack.layout.ports["reentry"]))
        listening.listen()
        yield


def _service(stack: Stack, port: str) -> str:
    return "{}:{}/inet".format(*stack.layout.address(port))


FAULTS: dict[str, tuple[Fault, str, str]] = {
    "milter gone": (lambda s: _stopped(s, "milter"), "unix:letterlock/milter.sock", "fault"),
    "socket hidden from postfix": (
        lambda s: _mode(s.layout.queue / "letterlock", 0o700),
        "unix:letterlock/milter.sock",
        "fault",
    ),
    "socket for everybody": (
        lambda s: _mode(s.layout.queue / "letterlock/milter.sock", 0o666),
        "{queue}/letterlock/milter.sock",
        "fault",
    ),
    "key service gone": (lambda s: _stopped(s, "keyservice"), "key service", "fault"),
    "key service for everybody": (
        lambda s: _mode(s.layout.run / "keyservice.sock", 0o666),
        "{run}/keyservice.sock",
        "breach",
    ),
    "redis gone": (lambda s: _stopped(s, "redis"), "Redis (redis://{redis}/0)", "fault"),
    "secret readable": (
        lambda s: _mode(s.layout.state / "cache.key", 0o644),
        "{state}/cache.key",
        "breach",
    ),
    "settings writable": (
        lambda s: _mode(s.layout.config / "letterlock.toml", 0o666),
        "{config}/letterlock.toml",
        "breach",
    ),
    "re-entry port open": (_open_to_the_world, "port {reentry}", "breach"),
    "always_bcc": (lambda s: _postconf(s, "-e", "always_bcc = a@b.test"), "main.cf", "breach"),
    "accept by default": (
        lambda s: _postconf(s, "-e", "milter_default_action = accept"),
        "main.cf",
        "breach",
    ),
    "no milters at the door": (
        lambda s: _postconf(s, "-P", f"{_service(s, 'smtp')}/receive_override_options=no_milters"),
        "{smtp}/inet",
        "breach",
    ),
    "no milters for sendmail": (
        lambda s: _postconf(s, "-P", "pickup/unix/receive_override_options=no_milters"),
        "pickup/unix",
        "breach",
    ),
    "no signing key": (
        lambda s: _without(dkim_directory(s.layout) / "example.test"),
        "DKIM key of example.test",
        "fault",
    ),
    "no authority": (lambda s: _without(trusted_file(s.layout)), "{trusted}", "fault"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_named(
    host: Stack, before: dict[tuple[str, str], dict[str, Any]], name: str
) -> None:
    """It appears with the fault, says what to do, and goes away with it."""
    fault, template, severity = FAULTS[name]
    layout = host.layout
    where = template.format(
        queue=layout.queue,
        run=layout.run,
        state=layout.state,
        config=layout.config,
        trusted=trusted_file(layout),
        redis="{}:{}".format(*layout.address("redis")),
        smtp="{}:{}".format(*layout.address("smtp")),
        reentry=layout.ports["reentry"],
    )

    with fault(host):
        during = findings(host)
    new = [row for key, row in during.items() if key not in before]

    assert (where, severity) in [(row["where"], row["severity"]) for row in new]
    assert all(row["line"] and row["reason"] for row in new)
    assert before.keys() == findings(host).keys()


def test_doctor_says_by_its_exit_status_whether_something_is_wrong(host: Stack) -> None:
    """With the same as text for people and as numbers for Prometheus."""
    textfile = host.layout.directory / "letterlock.prom"
    with _postconf(host, "-e", "always_bcc = a@b.test"):
        done = letterlock("doctor", *configs(host), "--textfile", str(textfile))

    assert 1 == done.returncode
    assert re.search(r"(?m)^breach  main\.cf\n +Why: .*\n +Fix: always_bcc = *$", done.stdout)
    page = textfile.read_text()
    assert re.search(r'letterlock_doctor_findings\{severity="breach"\} [1-9]', page)
    assert re.search(r"(?m)^letterlock_spool_encrypted [01]\.0$", page)


@pytest.mark.parametrize("missing", ["letterlock.toml", "postfix"])
def test_doctor_ends_with_2_where_nothing_can_be_read(missing: str, tmp_path: Path) -> None:
    """One line that names the file, or what Postfix said."""
    config = tmp_path / "letterlock.toml"
    if missing == "postfix":
        config.write_text(f'[postfix]\nconfig_directory = "{tmp_path}"\n')
    done = letterlock("doctor", "--config", str(config))

    assert (2, 1) == (done.returncode, len(done.stderr.splitlines()))
    assert str(tmp_path) in done.stderr


def test_a_milter_is_greeted_inside_the_chroot(host: Stack) -> None:
    """As smtpd(8) reaches it on Debian; a path of outside leads nowhere there."""
    settings = postfix.read(str(host.layout.postfix / "etc"))
    outside = f"unix:{host.layout.queue}/letterlock/milter.sock"

    assert "" == milter_greeting.greet(Way("unix:letterlock/milter.sock", chrooted=True), settings)
    assert "" == milter_greeting.greet(Way(outside, chrooted=False), settings)
    assert os.strerror(2) == milter_greeting.greet(Way(outside, chrooted=True), settings)


def test_work_is_done_as_another_account() -> None:
    """With its identity and groups; its error is an answer, ours to become it is not."""

    def fail() -> str:
        raise PermissionError(13, "denied")

    assert "65534 [65534]" == as_account(
        "nobody", lambda: f"{os.getuid()} {os.getgroups()}", chroot=False
    )
    assert "denied" == as_account("nobody", fail, chroot=False)
    with pytest.raises(NotPossible, match="no account"):
        as_account("no-such-account", fail, chroot=False)
    with pytest.raises(NotPossible, match=os.strerror(2)):
        as_account("nobody", fail, directory="/nonexistent", chroot=False)


def test_what_greets_like_no_milter_is_told_apart(host: Stack) -> None:
    """Something else listens at that port."""
    settings = postfix.read(str(host.layout.postfix / "etc"))
    address = "inet:{}:{}".format(*host.layout.address("smtp"))

    assert "it is no milter" == milter_greeting.greet(Way(address, chrooted=False), settings)


_ROOT = Path(__file__).parents[2]
_ACLS = dict(
    re.findall(
        r"(?m)^ACL SETUSER (\S+) reset on >\w+ (.*)$", (_ROOT / "docs/operating.md").read_text()
    )
)
ACL = _ACLS["letterlock"]


@pytest.mark.parametrize(
    ("rights", "denied", "beyond"),
    [
        (ACL, (), ()),
        (f"{ACL} -getrange", ("GETRANGE letterlock:answer:1:doctor",), ()),
        (f"{ACL} +set ~letterlock:answer:*", (), ("SET letterlock:answer:1:doctor",)),
        (ACL.replace(" +del", ""), ("DEL letterlock:copy:doctor",), ()),
        (f"{ACL} -client|tracking", ("CLIENT TRACKING",), ()),
        (f"{ACL} ~doctor-*", (), ("GETRANGE doctor-of-somebody-else",)),
        (f"{ACL} +config", (), ("CONFIG GET",)),
    ],
)
def test_redis_rights(
    host: Stack, rights: str, denied: tuple[str, ...], beyond: tuple[str, ...]
) -> None:
    """Asked of a real ACL: what the roles give is neither too little nor too much."""
    url = host.redis_url
    with redis.Redis.from_url(url) as client:
        client.execute_command(
            "ACL", "SETUSER", "milter", "reset", "on", ">word", *shlex.split(rights)
        )
        found = ask(url.replace("redis://", "redis://milter:word@"))
        client.execute_command("ACL", "DELUSER", "milter")

    assert ("", denied, beyond) == found


def test_the_acl_of_the_page_is_the_one_of_the_role() -> None:
    """By hand and by Ansible the same."""
    text = (_ROOT / "ansible/roles/letterlock_redis/vars/main.yml").read_text()
    role = " ".join(text.split())

    assert {"letterlock", "letterlock-keyservice"} == _ACLS.keys()
    for account, rules in _ACLS.items():
        assert f"{account}: >- {rules.replace(chr(34), '')}" in role


def test_this_machine_can_be_read() -> None:
    """What the rules over files take for granted: /proc and /sys are as they expect."""
    real = Host()

    assert os.getpid() in [pid for pid, _ in real.processes()]
    assert real.read("/proc/sys/kernel/core_pattern") is not None
    assert real.is_clock_synchronised() in (True, False)


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
    with _stopped(host, "keyservice"):
        done = letterlock("status", *configs(host), "--once", "--interval", "0.2")

    assert os.EX_UNAVAILABLE == done.returncode
    assert "Key service: no answer" in done.stdout
    assert "Milter" in done.stdout


def trace(stack: Stack, queue_id: str) -> list[dict[str, Any]]:
    """Return the traced messages, from the stack's logs."""
    logs = stack.layout.logs
    options = ["--postfix-log", str(logs / "postfix.log"), "--milter-log", str(logs / "milter.log")]
    done = letterlock("trace", queue_id, *options, "--json")
    assert "canary" not in done.stdout
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_trace_follows_a_message_to_both_mailboxes(host: Stack, bob: Owner, alice: Owner) -> None:
    """How it was encrypted, the queue ID of the copy, and where each was delivered."""
    sent = host.send(MAIL, "team@example.test")
    queue_id = str(sent.queue_id)
    host.wait_until_queue_is_empty()
    wait_until(lambda: host.postfix_log().count(f"{queue_id}: removed") == 1, "removed")

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


def test_trace_ends_with_1_where_no_log_knows_the_message(host: Stack) -> None:
    """And with 2 where a log cannot be read."""
    log = str(host.layout.logs / "milter.log")
    unknown = letterlock("trace", "4NEVERSEEN", "--postfix-log", log, "--milter-log", log)
    unread = letterlock("trace", "4NEVERSEEN", "--postfix-log", "/nonexistent", "--milter-log", log)

    assert (1, 2) == (unknown.returncode, unread.returncode)
    assert "/nonexistent" in unread.stderr
