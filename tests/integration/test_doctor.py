"""`letterlock doctor` on a real stack: faults put in one by one, and found."""

import os
import re
import resource
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from keyservice.client import Outcome
from keyservice_process import wait_until
from letterlock import postfix
from letterlock.doctor import accounts, milter_greeting
from letterlock.doctor.accounts import NotPossible, as_account
from letterlock.doctor.host import Host
from letterlock.doctor.milter_greeting import Way
from letterlock.doctor.probes import outcome_of, rights_in_redis, signing_complaint
from letterlock.doctor.redis_rights import KEYSERVICE, MILTER, Client
from letterlock.doctor.storage import Rest, rest_of
from operators_host import (
    PROGRAM,
    ROOT,
    Findings,
    configs,
    found_by,
    letterlock,
    mode,
    redis_acls,
    stopped,
)
from ports import free_port
from stack import Stack
from stack.submission import dkim_directory, trusted_file


def as_nobody(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it in the name of an account that need not be able to read this checkout."""
    program = (
        "from letterlock.cli import main; from letterlock.cli.lazy_group import commands_of; "
        "commands_of(main); import os; os.setgroups([]); os.setgid(65534); os.setuid(65534); main()"
    )
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def findings(stack: Stack) -> Findings:
    """Return what doctor finds, by place and line."""
    return found_by(letterlock("doctor", *configs(stack), "--json"))


def findings_behind(stack: Stack, *mounts: str) -> Findings:
    """Return what doctor finds where `mounts`, commands for a shell, have been done.

    Nobody but doctor sees them.
    """
    words = [*PROGRAM, "doctor", *configs(stack), "--json"]
    script = " && ".join((*mounts, f"exec {shlex.join(words)}"))
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    return found_by(subprocess.run(command, capture_output=True, text=True, check=False))


@pytest.fixture(scope="module")
def before(host: Stack) -> Findings:
    """What doctor finds without a fault."""
    return findings(host)


def test_a_stack_in_order_has_nothing_but_what_is_the_machines(host: Stack) -> None:
    """Whether its disk is encrypted and its clock kept is not the stack's to say."""
    machine = (str(host.layout.queue), "clock", "fs.suid_dumpable", "/dev/", "/swap")
    found = [row for row in findings(host).values() if not row["where"].startswith(machine)]

    assert [] == [row for row in found if row["severity"] != "note"]


Fault = Callable[[Stack], AbstractContextManager[None]]


@contextmanager
def _without(path: Path) -> Iterator[None]:
    aside = path.rename(path.with_suffix(".aside"))
    try:
        yield
    finally:
        aside.rename(path)


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
def _settings(stack: Stack, old: str, new: str) -> Iterator[None]:
    # The milter is not told: doctor reads the file.
    path = stack.layout.config / "letterlock.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    try:
        yield
    finally:
        path.write_text(text)


@contextmanager
def _may_dump_core(stack: Stack) -> Iterator[None]:
    # Ours forbid it to themselves for good, so it is one that looks like them to doctor.
    words = ["--config", str(stack.layout.config / "letterlock.toml"), "--worker"]
    with subprocess.Popen(
        [sys.executable, "-c", "input()", *words],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_CORE, (4096, resource.getrlimit(resource.RLIMIT_CORE)[1])
        ),
    ):
        yield


@contextmanager
def _open_to_the_world(stack: Stack, port: str = "reentry") -> Iterator[None]:
    with socket.socket(socket.AF_INET6) as listening:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("::", stack.layout.ports[port]))
        listening.listen()
        yield


def _service(stack: Stack, port: str) -> str:
    return "{}:{}/inet".format(*stack.layout.address(port))


FAULTS: dict[str, tuple[Fault, str, str]] = {
    "milter gone": (lambda s: stopped(s, "milter"), "unix:letterlock/milter.sock", "fault"),
    "socket hidden from postfix": (
        lambda s: mode(s.layout.queue / "letterlock", 0o700),
        "unix:letterlock/milter.sock",
        "fault",
    ),
    "socket for everybody": (
        lambda s: mode(s.layout.queue / "letterlock/milter.sock", 0o666),
        "{queue}/letterlock/milter.sock",
        "fault",
    ),
    "key service gone": (lambda s: stopped(s, "keyservice"), "key service", "fault"),
    "key service for everybody": (
        lambda s: mode(s.layout.run / "keyservice.sock", 0o666),
        "{run}/keyservice.sock",
        "breach",
    ),
    "redis gone": (lambda s: stopped(s, "redis"), "Redis (redis://{redis}/0)", "fault"),
    "secret readable": (
        lambda s: mode(s.layout.state / "cache.key", 0o644),
        "{state}/cache.key",
        "breach",
    ),
    "settings writable": (
        lambda s: mode(s.layout.config / "letterlock.toml", 0o666),
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
    "a signing key readable": (
        lambda s: mode(next((dkim_directory(s.layout) / "example.test").glob("*.pem")), 0o644),
        "DKIM key of example.test",
        "fault",
    ),
    "secret gone": (
        lambda s: _without(s.layout.state / "cache.key"),
        "{state}/cache.key",
        "fault",
    ),
    "password readable": (
        lambda s: _settings(s, 'url = "redis://', 'url = "redis://milter:word@'),
        "{config}/letterlock.toml",
        "fault",
    ),
    "password of Redis wrong": (
        lambda s: _settings(s, 'url = "redis://', 'url = "redis://milter:word@'),
        "Redis (redis://{redis}/0)",
        "fault",
    ),
    "a milter behind ours": (
        lambda s: _postconf(s, "-e", "smtpd_milters = $letterlock_milter inet:127.0.0.1:9"),
        "{smtp}/inet",
        "breach",
    ),
    "no re-entry server": (
        lambda s: _postconf(s, "-MX", _service(s, "reentry")),
        "master.cf",
        "breach",
    ),
    "header fields cut": (
        lambda s: _postconf(s, "-e", "header_size_limit = 4096"),
        "main.cf",
        "breach",
    ),
    "page for everybody": (
        lambda s: _open_to_the_world(s, "milter_metrics"),
        "port {milter_metrics}",
        "fault",
    ),
    "tables that cannot be asked": (
        lambda s: _postconf(s, "-e", "virtual_alias_maps = hash:/nonexistent/table"),
        "virtual_alias_maps, alias_maps",
        "fault",
    ),
    "no DNS": (
        lambda s: _settings(
            s, "enabled = false", f'enabled = true\nnameserver = "127.0.0.1:{free_port()}"'
        ),
        "nameserver 127.0.0.1:",
        "fault",
    ),
    "core dumps": (_may_dump_core, "process ", "breach"),
    "no authority": (lambda s: _without(trusted_file(s.layout)), "{trusted}", "fault"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_named(host: Stack, before: Findings, name: str) -> None:
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
        **{port: layout.ports[port] for port in ("reentry", "milter_metrics")},
    )

    with fault(host):
        during = findings(host)
    new = [row for key, row in during.items() if key not in before]

    found = [row["where"] for row in new if row["severity"] == severity]
    assert [one for one in found if one == where or (where[-1] in ": " and one.startswith(where))]
    assert all(row["line"] and row["reason"] for row in new)
    # A milter that has begun anew answers before all of its workers serve.
    wait_until(lambda: before.keys() == findings(host).keys(), "as before")


def test_swap_that_is_not_encrypted_is_found(host: Stack, tmp_path: Path) -> None:
    """As bad as the disk that it is on."""
    file = tmp_path / "swaps"
    file.write_text(f"Filename Type Size Used Priority\n{tmp_path}/swap file 1024 0 -2\n")
    expected = {
        Rest.PLAIN: ["breach"],
        Rest.UNKNOWN: ["note"],
        Rest.MEMORY: [],
        Rest.ENCRYPTED: [],
    }[rest_of(Host(), str(tmp_path))]

    found = findings_behind(host, f"mount --bind {file} /proc/swaps")

    assert expected == [
        row["severity"] for (where, _), row in found.items() if where == f"{tmp_path}/swap"
    ]


@pytest.mark.parametrize(("dumpable", "expected"), [("0", []), ("2", ["breach"])])
def test_core_dumps_of_postfix_are_found(
    host: Stack, tmp_path: Path, dumpable: str, expected: list[str]
) -> None:
    """The kernel's settings decide; they are everybody's, so only doctor sees these."""
    (tmp_path / "dumpable").write_text(dumpable)
    (tmp_path / "pattern").write_text("core")

    found = findings_behind(
        host,
        f"mount --bind {tmp_path}/dumpable /proc/sys/fs/suid_dumpable",
        f"mount --bind {tmp_path}/pattern /proc/sys/kernel/core_pattern",
    )

    severities = [row["severity"] for (at, _), row in found.items() if at == "fs.suid_dumpable"]
    assert expected == severities


def test_a_spool_in_memory_is_no_finding(host: Stack) -> None:
    """The same directory as before, and another file system on it."""
    queue = str(host.layout.queue)

    assert queue not in {
        where for where, _ in findings_behind(host, f"mount -t tmpfs tmpfs {queue}")
    }


def test_whoever_is_not_root_is_told_of_no_fault_that_there_is_none_of(host: Stack) -> None:
    """What he may not try is a note, and one line says so."""
    machine = (str(host.layout.queue), "clock", "fs.suid_dumpable", "/dev/", "/swap")
    done = as_nobody("doctor", *configs(host), "--json")
    found = [row for (where, _), row in found_by(done).items() if not where.startswith(machine)]

    assert [] == [row for row in found if row["severity"] != "note"]
    assert {"Redis", "key service", "DKIM keys"} <= {row["where"] for row in found}
    assert "letterlock doctor: not root: not all can be looked at, or reached\n" == done.stderr


def test_whoever_may_not_connect_is_told_so(host: Stack) -> None:
    """Not that the key service is gone; nor that a message is unknown, which he may not see."""
    service = f"unix:{host.layout.run}/keyservice.sock"
    refused = as_nobody("list", "--service", service)
    unseen = as_nobody("trace", "4NEVERSEEN", "--postfix-log", "/dev/null")

    words = f"{os.strerror(13)}; run it as root, or in the socket's group"
    assert (os.EX_NOPERM, f"letterlock: key service at {service}: {words}\n") == (
        refused.returncode,
        refused.stderr,
    )
    assert unseen.returncode in (1, 2)
    assert "journal" in unseen.stderr


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
    done = letterlock(
        "doctor", "--config", str(config), "--keyservice-config", str(tmp_path / "keyservice.toml")
    )

    assert (2, 1) == (done.returncode, len(done.stderr.splitlines()))
    assert str(tmp_path) in done.stderr


def test_a_milter_is_greeted_inside_the_chroot(host: Stack) -> None:
    """As smtpd(8) reaches it on Debian; a path of outside leads nowhere there."""
    settings = postfix.read(str(host.layout.postfix / "etc"))
    outside = f"unix:{host.layout.queue}/letterlock/milter.sock"

    assert "" == milter_greeting.greet(Way("unix:letterlock/milter.sock", chrooted=True), settings)
    assert "" == milter_greeting.greet(Way(outside, chrooted=False), settings)
    assert os.strerror(2) == milter_greeting.greet(Way(outside, chrooted=True), settings)


def test_what_the_milter_needs_is_tried_as_its_account(
    host: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root reaches everything; a socket or a key that only root reaches is of no use."""
    service = f"unix:{host.layout.run}/keyservice.sock"
    as_root = outcome_of(service, "example.test"), complaint_of(host)
    monkeypatch.setattr(accounts, "MILTER_ACCOUNT", "nobody")
    as_nobody = outcome_of(service, "example.test"), complaint_of(host)

    assert (Outcome.NOT_FOUND, "") == as_root
    assert Outcome.UNAVAILABLE is as_nobody[0]
    assert "Permission denied" in as_nobody[1]


def complaint_of(stack: Stack) -> str:
    """Return why mail of the stack's domain cannot be signed."""
    return signing_complaint(str(dkim_directory(stack.layout)), "example.test")


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


_ACL = redis_acls()["letterlock"]
_ACL_OF_KEYSERVICE = redis_acls()["letterlock-keyservice"]


@pytest.mark.parametrize(
    ("client", "rights", "denied", "beyond"),
    [
        (MILTER, _ACL, (), ()),
        (MILTER, f"{_ACL} -getrange", ("GETRANGE letterlock:answer:1:doctor",), ()),
        (MILTER, f"{_ACL} +set ~letterlock:answer:*", (), ("SET letterlock:answer:1:doctor",)),
        (MILTER, _ACL.replace(" +del", ""), ("DEL letterlock:copy:doctor",), ()),
        (MILTER, f"{_ACL} -client|tracking", ("CLIENT TRACKING",), ()),
        (MILTER, f"{_ACL} ~doctor-*", (), ("GETRANGE doctor-of-somebody-else",)),
        (MILTER, f"{_ACL} +config", (), ("CONFIG GET",)),
        (KEYSERVICE, _ACL_OF_KEYSERVICE, (), ()),
        (KEYSERVICE, f"{_ACL_OF_KEYSERVICE} -set", ("SET letterlock:answer:1:doctor",), ()),
        (KEYSERVICE, f"{_ACL_OF_KEYSERVICE} -expire", ("EXPIRE letterlock:public:1:doctor",), ()),
        (KEYSERVICE, f"{_ACL_OF_KEYSERVICE} ~*", (), ("GETRANGE doctor-of-somebody-else",)),
    ],
)
def test_redis_rights(
    host: Stack, client: Client, rights: str, denied: tuple[str, ...], beyond: tuple[str, ...]
) -> None:
    """Asked of a real ACL, as an account: what the roles give is not too little nor too much."""
    url = host.redis_url
    with redis.Redis.from_url(url) as server:
        server.execute_command(
            "ACL", "SETUSER", "daemon", "reset", "on", ">word", *shlex.split(rights)
        )
        found = rights_in_redis(
            replace(client, account="nobody"), url.replace("redis://", "redis://daemon:word@")
        )
        server.execute_command("ACL", "DELUSER", "daemon")
        server.delete("letterlock:public:1:doctor")

    assert ("", denied, beyond) == found


def test_the_acl_of_the_page_is_the_one_of_the_role() -> None:
    """By hand and by Ansible the same."""
    text = (ROOT / "ansible/roles/letterlock_redis/vars/main.yml").read_text()
    # What a cluster takes beyond that is its own business: docs/scaling.md.
    role = " ".join(text.replace("{{ letterlock_redis_for_cluster }}", "").split())

    acls = redis_acls()
    assert {"letterlock", "letterlock-keyservice"} == acls.keys()
    for account, rules in acls.items():
        assert f"{account}: >- {rules.replace(chr(34), '')}" in role


def test_this_machine_can_be_read() -> None:
    """What the rules over files take for granted: /proc and /sys are as they expect."""
    real = Host()

    assert os.getpid() in [pid for pid, _ in real.processes()]
    assert real.read("/proc/sys/kernel/core_pattern") is not None
    assert real.is_clock_synchronised() in (True, False)
