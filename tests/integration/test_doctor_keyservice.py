"""`letterlock doctor` on a host that has only a key service: faults put in, and found."""

import re
import shlex
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from keyservice_process import KeyServiceProcess, RedisProcess
from operators_host import Findings, found_by, letterlock, mode, redis_acls

ACCOUNT = "letterlock-keyservice"


@dataclass(frozen=True, slots=True)
class Separate:
    """Such a host."""

    service: KeyServiceProcess
    redis: RedisProcess

    def doctor(self, *options: str) -> CompletedProcess[str]:
        """Run it there; of a milter and of Postfix there is nothing."""
        config = self.service.directory / "letterlock.toml"
        files = ("--config", str(config), "--keyservice-config", str(self.service.config))
        return letterlock("doctor", *files, *options)

    def findings(self) -> Findings:
        return found_by(self.doctor("--json"))

    def allow(self, rules: str) -> None:
        """Give the key service's account in Redis these rights."""
        with self.redis.client() as client:
            client.execute_command(
                "ACL", "SETUSER", ACCOUNT, "reset", "on", ">word", *shlex.split(rules)
            )


@pytest.fixture(scope="module")
def separate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Separate]:
    """One in order, as far as that can be on a test machine."""
    with RedisProcess(tmp_path_factory.mktemp("redis")) as redis:
        service = KeyServiceProcess(
            tmp_path_factory.mktemp("keyservice"),
            redis_url=redis.url.replace("unix://", f"unix://{ACCOUNT}:word@"),
            tcp=True,
        )
        service.config.chmod(0o640)
        host = Separate(service, redis)
        host.allow(redis_acls()[ACCOUNT])
        with service:
            yield host


def test_a_host_in_order_has_nothing_but_what_is_the_machines(separate: Separate) -> None:
    """Whether its clock is kept and its swap encrypted; no fault, and one line on what it is."""
    done = separate.doctor("--json")
    found = {where for where, _ in found_by(done)}

    assert 0 == done.returncode
    assert [] == [where for where in found if where != "clock" and not where.startswith("/dev/")]
    assert [
        f"letterlock doctor: {separate.service.directory}/letterlock.toml is not there:"
        " only the key service is looked at"
    ] == done.stderr.splitlines()


@contextmanager
def _stopped(host: Separate) -> Iterator[None]:
    host.service.stop()
    try:
        yield
    finally:
        host.service.start()


@contextmanager
def _without_redis(host: Separate) -> Iterator[None]:
    host.redis.stop()
    try:
        yield
    finally:
        host.redis.start()
        host.allow(redis_acls()[ACCOUNT])


@contextmanager
def _denied(host: Separate, right: str) -> Iterator[None]:
    host.allow(f"{redis_acls()[ACCOUNT]} -{right}")
    try:
        yield
    finally:
        host.allow(redis_acls()[ACCOUNT])


@contextmanager
def _open_to_the_world(address: str) -> Iterator[None]:
    with socket.socket(socket.AF_INET6) as listening:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("::", int(address.rpartition(":")[2])))
        listening.listen()
        yield


Fault = Callable[[Separate], AbstractContextManager[None]]

FAULTS: dict[str, tuple[Fault, str, str]] = {
    "gone": (_stopped, "key service", "fault"),
    "for everybody": (lambda h: mode(h.service.socket, 0o666), "{socket}", "breach"),
    "secret readable": (lambda h: mode(h.service.secret_file, 0o644), "{secret}", "breach"),
    "settings writable": (lambda h: mode(h.service.config, 0o662), "{config}", "breach"),
    "password readable": (lambda h: mode(h.service.config, 0o644), "{config}", "fault"),
    "port open": (lambda h: _open_to_the_world(h.service.tcp), "port {tcp}", "fault"),
    "page open": (lambda h: _open_to_the_world(h.service.metrics), "port {metrics}", "fault"),
    "redis denies": (lambda h: _denied(h, "set"), "Redis (unix://{redis})", "fault"),
    "redis gone": (_without_redis, "Redis (unix://{redis})", "fault"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_named(separate: Separate, name: str) -> None:
    """It appears with the fault, alone, and says what to do."""
    fault, template, severity = FAULTS[name]
    service = separate.service
    where = template.format(
        socket=service.socket,
        secret=service.secret_file,
        config=service.config,
        tcp=service.tcp.rpartition(":")[2],
        metrics=service.metrics.rpartition(":")[2],
        redis=separate.redis.socket,
    )

    before = separate.findings()
    with fault(separate):
        during = separate.findings()

    new = [row for key, row in during.items() if key not in before]
    assert {(where, severity)} == {(row["where"], row["severity"]) for row in new}
    assert all(row["line"] and row["reason"] for row in new)


def test_there_are_no_numbers_of_a_queue(separate: Separate, tmp_path: Path) -> None:
    """Prometheus is told what was found, and nothing of what is not there; so are people."""
    textfile = tmp_path / "letterlock.prom"
    done = separate.doctor("--textfile", str(textfile))
    page = textfile.read_text()

    assert (0, False) == (done.returncode, "spool" in done.stdout)
    assert {"letterlock_doctor_findings", "letterlock_doctor_last_run_timestamp_seconds"} == set(
        re.findall(r"(?m)^(letterlock_\w+)", page)
    )
    assert 'letterlock_doctor_findings{severity="breach"} 0.0' in page
