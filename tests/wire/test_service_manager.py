"""Both daemons under a service manager: what it is told, and a reload that begins anew."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import uvicorn

from fake_keyservice import MemoryOwner
from keyservice.client import Mailbox
from keyservice.daemon import Daemon
from keyservice_process import KeyServiceProcess
from milter_process import MilterProcess
from milterproto import MilterClient
from notified import Notified
from ports import free_port
from stack import wait_until

ALICE = "<alice@example.test>"
FIELDS = [(b"From", b" eve@outside.test"), (b"Subject", b" hello")]
MAILBOX = Mailbox.parse("nobody@example.org")
ACTIVATE = Path(__file__).parents[1] / "support" / "activate.py"


@pytest.fixture(scope="module")
def alice() -> MemoryOwner:
    return MemoryOwner("alice@example.test")


def deliver(client: MilterClient) -> int:
    return client.transact([ALICE], FIELDS, b"body\r\n").code


def reload(milter: MilterProcess) -> None:
    """Have it reload, and return when it has."""
    before = len(milter.events("reloaded"))
    milter.signal(signal.SIGHUP)
    wait_until(lambda: len(milter.events("reloaded")) > before, "reload", log=milter.log_file)


def test_the_milter_tells_how_it_is(alice: MemoryOwner) -> None:
    """Ready, reloading and ready again under the same process ID, stopping."""
    with Notified() as manager, MilterProcess(alice, environment=manager.environment) as milter:
        manager.wait_for("READY=1")
        supervisor = milter.supervisor
        reload(milter)
        manager.wait_for("READY=1", 2)
        milter.signal(signal.SIGTERM)
        wait_until(lambda: not milter.pids, "stopped")
        manager.wait_for("STOPPING=1")

        said = [text for text in manager.told if not text.startswith(("STATUS", "MONO", "EXTEND"))]
        assert ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"] == said
        assert "STATUS=1 of 1 workers serve" in manager.told
        assert any(text.startswith("MONOTONIC_USEC=") for text in manager.told)
        assert any(text.startswith("EXTEND_TIMEOUT_USEC=") for text in manager.told)
        assert [supervisor] * 2 == [
            event["pid"] for name in ("serving", "reloaded") for event in milter.events(name)
        ]


def test_a_worker_that_is_stuck_is_replaced(alice: MemoryOwner) -> None:
    """And while a role has no worker that shows signs of life, the watchdog hears nothing."""
    impatient = textwrap.dedent("""\
        from letterlock import supervisor, worker_process
        worker_process._SILENT_SECONDS = 10.0
        supervisor._RESPAWN_SECONDS = 4.0
        from letterlock.__main__ import main
        main()
    """)
    program = (sys.executable, "-c", impatient)
    with (
        Notified(watchdog_seconds=1.0) as manager,
        MilterProcess(alice, program=program, environment=manager.environment) as milter,
    ):

        def named(event: str) -> list[object]:
            return [each["worker"] for each in milter.events(event)]

        manager.wait_for("WATCHDOG=1", 2)
        [victim] = milter.workers
        os.kill(victim, signal.SIGSTOP)
        wait_until(lambda: victim in named("worker_stuck"), "stuck")
        heard = manager.told.count("WATCHDOG=1")
        wait_until(lambda: len(milter.workers) == 1, "replacement")
        manager.wait_for("WATCHDOG=1", heard + 1)

        assert victim in named("worker_died")
        with milter.client() as client:
            assert 250 == deliver(client)


def test_the_kernel_ends_workers_before_their_supervisor(alice: MemoryOwner) -> None:
    """At the cap on memory (proc(5), oom_score_adj): they can be replaced."""
    with MilterProcess(alice, workers=2) as milter:

        def badness(pid: int) -> int:
            return int(Path(f"/proc/{pid}/oom_score_adj").read_text())

        own = badness(os.getpid())
        assert [own, 500, 500] == [badness(pid) for pid in (milter.supervisor, *milter.workers)]


def test_a_long_session_lives_through_reloads(alice: MemoryOwner) -> None:
    """Its worker takes its time, which `drain_seconds` does not end: others serve meanwhile."""
    with MilterProcess(alice, drain_seconds=0.5) as milter:
        [old] = milter.workers
        with milter.client() as client:
            client.mail()
            reload(milter)
            reload(milter)
            time.sleep(1.5)  # longer than a worker takes that was told to leave
            client.rcpt(ALICE)
            client.header(*FIELDS[1])
            client.eoh()
            assert 250 == client.end().code
            assert old in milter.workers
            wait_until(lambda: len(milter.workers) == 2, "the one between them gone")
            assert old in milter.workers
        wait_until(lambda: old not in milter.workers, "the old worker gone")

        assert 1 == len(milter.workers)


def test_who_has_not_said_a_word_lives_through_a_reload(alice: MemoryOwner) -> None:
    """A Postfix without CPU time: its connection is in a worker's hands, and no session yet."""
    with MilterProcess(alice) as milter, milter.stranger() as client:
        time.sleep(0.3)  # by now it is accepted; if not, it will be by the next worker
        reload(milter)
        time.sleep(1.5)
        client.negotiate()
        assert 250 == deliver(client)


def test_a_stop_ends_workers_of_before_too(alice: MemoryOwner) -> None:
    """`drain_seconds` counts for them as well then."""
    with MilterProcess(alice, drain_seconds=0.5) as milter, milter.client() as client:
        client.mail()
        reload(milter)
        wait_until(lambda: len(milter.workers) == 2, "old and new")
        milter.signal(signal.SIGTERM)
        wait_until(lambda: not milter.pids, "stopped")

        assert client.is_closed()
        assert 1 == len(milter.events("stopped"))


def test_counters_go_on_over_a_reload(alice: MemoryOwner) -> None:
    """What the old workers counted is not lost, nor what they count while they leave."""
    with MilterProcess(alice) as milter:

        def encrypted() -> float:
            url = f"http://127.0.0.1:{milter.ports['milter_metrics']}/metrics"
            lines = urllib.request.urlopen(url, timeout=10).read().decode().splitlines()
            name = 'letterlock_messages_total{disposition="encrypted",reason="wrapped"} '
            return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))

        with milter.client() as client:
            deliver(client)
            reload(milter)
            deliver(client)
        with milter.client() as client:
            deliver(client)

        wait_until(lambda: encrypted() == 3, "counted")


@contextmanager
def release(directory: Path, number: int, code: str = "") -> Iterator[None]:
    """Make a release of the program, and lead the link `current` to it."""
    program = directory / f"r{number}" / "bin" / "letterlock-milter"
    program.parent.mkdir(parents=True)
    lines = [f"#!{sys.executable}", "import os", f"os.environ['RELEASE'] = '{number}'", code]
    program.write_text("\n".join([*lines, "from letterlock.__main__ import main", "main()", ""]))
    program.chmod(0o755)
    link = directory / "next"
    link.symlink_to(f"r{number}")
    link.rename(directory / "current")
    yield


def environment(pid: int) -> list[str]:
    """Return what a process was started with; nothing if it has gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_text().split("\0")
    return []


def test_a_reload_takes_the_new_program(alice: MemoryOwner, tmp_path: Path) -> None:
    """The link to the release leads elsewhere: an upgrade, and back, without a restart."""
    program = (str(tmp_path / "current" / "bin" / "letterlock-milter"),)
    with release(tmp_path, 1), MilterProcess(alice, program=program) as milter:

        def releases() -> set[str]:
            fields = {field for pid in milter.workers for field in environment(pid)}
            return {field for field in fields if field.startswith("RELEASE=")}

        wait_until(lambda: bool(milter.events("serving")), "serving", log=milter.log_file)
        assert {"RELEASE=1"} == releases()
        with release(tmp_path, 2):
            reload(milter)
            wait_until(lambda: {"RELEASE=2"} == releases(), "the new release")
        with milter.client() as client:
            assert 250 == deliver(client)


def test_a_program_that_would_not_start_is_not_taken(alice: MemoryOwner, tmp_path: Path) -> None:
    """It is tried before anything ends."""
    program = (str(tmp_path / "current" / "bin" / "letterlock-milter"),)
    with release(tmp_path, 1), MilterProcess(alice, program=program) as milter:
        wait_until(lambda: bool(milter.events("serving")), "serving", log=milter.log_file)
        before = milter.workers
        with release(tmp_path, 2, code="raise SystemExit(3)"):
            milter.signal(signal.SIGHUP)
            wait_until(lambda: bool(milter.events("reload_refused")), "refusal")

        [refusal] = milter.events("reload_refused")
        assert "the program would end with status 3" == refusal["detail"]
        assert before == milter.workers
        with milter.client() as client:
            assert 250 == deliver(client)


def test_a_reload_that_cannot_work_says_why(alice: MemoryOwner) -> None:
    """What only shows when workers start is found out before, too; each time in one line."""
    with MilterProcess(alice) as milter, socket.create_server(("127.0.0.1", 0)) as taken:
        before = milter.workers
        cases = {
            "spill.directory: ": {"spill": str(milter.directory / "none")},
            "sockets: the configuration wants inbound and submission": {
                "spill": str(milter.spill),
                "submission": 1,
            },
            "metrics: 127.0.0.1:": {"submission": 0},
        }
        for number, (beginning, changes) in enumerate(cases.items(), 1):
            if beginning.startswith("metrics"):
                milter.ports["milter_metrics"] = taken.getsockname()[1]
            milter.write_config(**changes)
            milter.signal(signal.SIGHUP)
            wait_until(lambda n=number: len(milter.events("reload_refused")) == n, "refusal")
            detail = milter.events("reload_refused")[-1]["detail"]
            assert str(detail).startswith(beginning), detail

        assert before == milter.workers


def test_the_key_service_tells_how_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ready, reloading and ready again under the same process ID, stopping."""
    with Notified(watchdog_seconds=1.0) as manager:
        for name, value in manager.environment.items():
            monkeypatch.setenv(name, value)
        with KeyServiceProcess(tmp_path) as service:
            assert service.process is not None
            manager.wait_for("WATCHDOG=1", 2)
            service.process.send_signal(signal.SIGHUP)
            manager.wait_for("READY=1", 2)
            wait_until(service.is_ready, "answers")
        manager.wait_for("STOPPING=1")

        said = [text for text in manager.told if text.endswith("ING=1") or text == "READY=1"]
        assert ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"] == said


def test_a_request_that_comes_late_is_answered_while_the_key_service_reloads(
    tmp_path: Path,
) -> None:
    """Its connection was accepted when the old program closed its sockets."""
    with KeyServiceProcess(tmp_path) as service, socket.socket(socket.AF_UNIX) as peer:

        def is_closed() -> bool:
            with socket.socket(socket.AF_UNIX) as another:
                return another.connect_ex(str(service.socket)) != 0

        peer.settimeout(60)
        peer.connect(str(service.socket))
        time.sleep(0.3)  # by now it is accepted
        assert service.process is not None
        service.process.send_signal(signal.SIGHUP)
        wait_until(is_closed, "the old program's end", log=service.log)
        time.sleep(0.4)
        peer.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

        assert peer.recv(100).startswith(b"HTTP/1.1 200 ")


def test_the_key_service_refuses_a_configuration_that_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on with what it has, and says why."""
    with Notified() as manager:
        monkeypatch.setenv("NOTIFY_SOCKET", manager.environment["NOTIFY_SOCKET"])
        with KeyServiceProcess(tmp_path) as service:
            service.domains = {"example.org": {"header_policy": "none"}}
            service.write_config()
            assert service.process is not None
            service.process.send_signal(signal.SIGHUP)
            manager.wait_for("READY=1", 2)

            assert service.is_ready()
            [refusal] = [t for t in service.log.read_text().splitlines() if "reload_refused" in t]
            assert "header_policy" in refusal


def test_the_watchdog_hears_nothing_while_the_database_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One line says so; when it answers again, all is well."""
    failing = threading.Event()

    def require_well() -> None:
        if failing.is_set():
            raise OSError(28, "No space left on device")

    async def application(scope: object, receive: object, send: object) -> None: ...

    port = free_port()
    config = uvicorn.Config(application, port=port, lifespan="off", log_config=None)  # type: ignore[arg-type]  # it is never asked
    with Notified(watchdog_seconds=0.2) as manager:
        for name, value in manager.environment.items():
            monkeypatch.setenv(name, value)
        daemon = Daemon(config, require_well)
        thread = threading.Thread(target=daemon.run)
        thread.start()
        manager.wait_for("WATCHDOG=1", 2)
        failing.set()
        wait_until(lambda: "unwell" in caplog.messages, "unwell")
        time.sleep(0.5)  # what was said before it has arrived
        heard = manager.told.count("WATCHDOG=1")
        time.sleep(0.5)  # ten times as long as it waits from one to the next
        assert heard == manager.told.count("WATCHDOG=1")
        failing.clear()
        manager.wait_for("WATCHDOG=1", heard + 1)
        daemon.should_exit = True
        thread.join()

    assert 1 == caplog.messages.count("unwell")


@contextmanager
def activated(service: KeyServiceProcess, *names: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the service with its sockets made by another process; end both."""
    paths = {"keyservice": service.socket, "public": service.directory / "public.sock"}
    pairs = ",".join(f"{name}={paths[name]}" for name in names)
    command = [sys.executable, str(ACTIVATE), pairs, *service.command()]
    with service.log.open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ask_without_end(service: KeyServiceProcess, is_over: threading.Event) -> list[str]:
    """Ask from several threads; return what went wrong, when it is over."""
    wrong: list[str] = []

    def ask() -> None:
        # They wait for as long as the service takes to start, on whichever machine.
        client = service.client(deadline=120.0)
        while not is_over.is_set():
            answer = client.lookup(MAILBOX)
            if answer.reason is not None:
                wrong.append(answer.reason)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    is_over.wait()
    for thread in threads:
        thread.join()
    return wrong


def test_no_lookup_is_lost_while_the_key_service_begins_anew(tmp_path: Path) -> None:
    """With the service manager's socket: they wait, for a reload and for a restart."""
    service = KeyServiceProcess(tmp_path)
    with activated(service, "keyservice") as manager:

        def starts() -> int:
            return service.log.read_text().count('"serving"')

        wait_until(lambda: starts() == 1, "serving", log=service.log)
        running = int(subprocess.check_output(["pgrep", "-P", str(manager.pid)]))
        is_over = threading.Event()
        wrong: list[str] = []
        load = threading.Thread(target=lambda: wrong.extend(ask_without_end(service, is_over)))
        load.start()
        os.kill(running, signal.SIGHUP)
        wait_until(lambda: starts() == 2, "reload", 120, service.log)
        assert Path(f"/proc/{running}").exists()
        os.kill(manager.pid, signal.SIGUSR1)
        wait_until(lambda: starts() == 3, "restart", 120, service.log)
        time.sleep(0.5)
        is_over.set()
        load.join()

        assert [] == wrong
        assert service.socket.is_socket()


@pytest.mark.parametrize(
    ("units", "sections"),
    [
        (("keyservice", "public"), {}),
        (("keyservice",), {"public": {"socket": "/run/letterlock/public.sock"}}),
    ],
    ids=["one too many", "one is missing"],
)
def test_sockets_that_do_not_fit_the_configuration_are_named(
    tmp_path: Path, units: tuple[str, ...], sections: dict[str, dict[str, object]]
) -> None:
    """One line, with the units to look at."""
    service = KeyServiceProcess(tmp_path, sections=sections)
    with activated(service, *units):
        wait_until(lambda: "not_started" in service.log.read_text(), "refusal", log=service.log)

        [line] = service.log.read_text().splitlines()
        assert "see letterlock-*.socket" in line
        assert "public" in line
