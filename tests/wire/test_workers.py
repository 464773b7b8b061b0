"""Several worker processes on one listening socket: they come, go and die without a loss."""

import grp
import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from fake_keyservice import MemoryOwner
from milter_load import under_load
from milter_process import MilterProcess
from milterproto import MilterClient
from stack import wait_until

ALICE = "<alice@example.test>"
FIELDS = [(b"From", b" eve@outside.test"), (b"Subject", b" hello")]


@pytest.fixture(scope="module")
def alice() -> MemoryOwner:
    return MemoryOwner("alice@example.test")


def deliver(client: MilterClient) -> int:
    return client.transact([ALICE], FIELDS, b"body\r\n").code


def worker_of(milter: MilterProcess, client: MilterClient) -> int:
    """Return the worker that serves `client`: the one that logs its mail."""
    before = len(milter.events("accepted"))
    assert 250 == deliver(client)
    wait_until(lambda: len(milter.events("accepted")) > before, "a log line")
    return int(str(milter.events("accepted")[-1]["pid"]))


def test_workers_share_the_socket(alice: MemoryOwner) -> None:
    """Sessions that are open together are spread over all workers."""
    with MilterProcess(alice, workers=3) as milter, ExitStack() as sessions:
        assert 3 == len(milter.workers)

        def all_serve() -> bool:
            # Who takes the next one is the kernel's business.
            clients = [sessions.enter_context(milter.client()) for _ in range(20)]
            assert {250} == {deliver(client) for client in clients}
            return set(milter.workers) == {event["pid"] for event in milter.events("accepted")}

        wait_until(all_serve, "a session with each")


def test_reload_under_load_refuses_no_mail(alice: MemoryOwner) -> None:
    """SIGHUP, three times: all workers are new, and no session noticed."""
    with MilterProcess(alice, workers=2) as milter:
        seen = set(milter.workers)
        with under_load(milter.client, deliver) as load:
            for number in range(1, 4):
                load.wait_for_more()
                milter.signal(signal.SIGHUP)
                wait_until(lambda n=number: len(milter.events("reloaded")) == n, "reload")
                seen |= set(milter.workers)
            load.wait_for_more()
            wait_until(lambda: len(milter.workers) == 2, "old workers gone")

        assert [] == load.failures
        assert len(seen) == 8
        assert [] == milter.events("worker_died")


def test_signals_that_come_together_are_all_obeyed(alice: MemoryOwner) -> None:
    """A reload is in work when the next signal comes; nobody dies of it."""
    with MilterProcess(alice) as milter:
        with under_load(milter.client, deliver, mtas=2) as load:

            def has_reloaded() -> bool:
                milter.signal(signal.SIGHUP)
                time.sleep(0.1)
                return len(milter.events("reloaded")) >= 2

            wait_until(has_reloaded, "reloads")
            load.wait_for_more()
        assert [] == load.failures
        milter.signal(signal.SIGHUP)
        milter.signal(signal.SIGTERM)
        wait_until(lambda: not milter.pids, "stopped")

        assert 1 == len(milter.events("stopped"))


def test_reload_takes_the_new_configuration(alice: MemoryOwner) -> None:
    """Read again by the supervisor; the number of workers shows it."""
    with MilterProcess(alice, workers=1) as milter:
        milter.write_config(workers=3)
        milter.signal(signal.SIGHUP)
        wait_until(lambda: len(milter.workers) == 3, "three workers")


def test_reload_of_a_broken_configuration_changes_nothing(alice: MemoryOwner) -> None:
    """The workers that run go on, and the log says what is wrong."""
    with MilterProcess(alice, workers=1) as milter:
        before = milter.workers
        milter.config.write_text("socket = 17\n")
        milter.signal(signal.SIGHUP)
        wait_until(lambda: bool(milter.events("reload_refused")), "refusal")

        with milter.client() as client:
            assert 250 == deliver(client)
        assert before == milter.workers


def test_restart_under_load_refuses_no_mail(alice: MemoryOwner) -> None:
    """With the service manager's socket: connections wait while nobody is there."""
    with MilterProcess(alice, workers=2, activated=True) as milter:
        with under_load(milter.client, deliver) as load:
            for number in range(2, 4):
                load.wait_for_more()
                milter.signal(signal.SIGUSR1)
                wait_until(lambda n=number: len(milter.events("serving")) == n, "restart", 60)
            load.wait_for_more()

        assert [] == load.failures
        assert 2 == len(milter.events("stopped"))


def test_the_service_managers_socket_is_used_and_kept(alice: MemoryOwner) -> None:
    """LISTEN_FDS: the daemon neither makes nor removes the file."""
    with MilterProcess(alice, activated=True) as milter:
        inode = Path(milter.socket).stat().st_ino
        with milter.client() as client:
            assert 250 == deliver(client)
        milter.signal(signal.SIGUSR1)
        wait_until(lambda: len(milter.events("serving")) == 2, "restart", 60)

        assert inode == Path(milter.socket).stat().st_ino


def test_listen_fds_of_another_process_are_not_ours(alice: MemoryOwner) -> None:
    """LISTEN_PID names somebody else: the daemon makes a socket of its own (sd_listen_fds(3))."""
    environment = {"LISTEN_FDS": "1", "LISTEN_PID": "1"}
    with MilterProcess(alice, environment=environment) as milter, milter.client() as client:
        assert 250 == deliver(client)


def test_sigterm_lets_open_transactions_finish(alice: MemoryOwner) -> None:
    """New sessions are not taken; one that is in the middle of its message ends well."""
    with MilterProcess(alice, workers=2) as milter:
        with milter.client() as client:
            client.mail()
            client.rcpt(ALICE)
            client.header(*FIELDS[1])
            milter.signal(signal.SIGTERM)
            time.sleep(2)  # longer than a worker takes to leave when nobody is there
            client.eoh()
            client.body(b"late\r\n")
            ended = client.end()
            assert 250 == ended.code
            assert b"late\r\n" in alice.decrypt(ended.body or b"")
        wait_until(lambda: not milter.pids, "stopped")

        assert [0, 0] == [event["sessions_open"] for event in milter.events("worker_left")]
        assert 1 == len(milter.events("stopped"))
        assert not Path(milter.socket).exists()


def test_a_session_that_never_ends_does_not_keep_the_daemon(alice: MemoryOwner) -> None:
    """After `drain_seconds` it is over; the MTA sees a closed connection and defers."""
    with MilterProcess(alice, drain_seconds=1.5) as milter, milter.client() as client:
        client.mail()
        milter.signal(signal.SIGTERM)
        wait_until(lambda: not milter.pids, "stopped")

        assert client.is_closed()


def test_a_killed_worker_is_replaced_and_others_live_on(alice: MemoryOwner) -> None:
    """Only its own sessions end; the next connection is served at once."""
    with MilterProcess(alice, workers=2) as milter, ExitStack() as sessions:
        served: dict[MilterClient, int] = {}

        def is_each_at_work() -> bool:
            client = sessions.enter_context(milter.client())
            served[client] = worker_of(milter, client)
            return set(served.values()) == set(milter.workers)

        wait_until(is_each_at_work, "sessions with both")
        victim, _ = milter.workers
        os.kill(victim, signal.SIGKILL)

        for client, worker in served.items():
            if worker == victim:
                assert client.is_closed()
            else:
                assert 250 == deliver(client)
        with milter.client() as client:
            assert 250 == deliver(client)
        wait_until(lambda: len(milter.workers) == 2 and victim not in milter.workers, "replacement")
        assert [victim] == [event["worker"] for event in milter.events("worker_died")]


def test_without_a_supervisor_workers_leave_when_they_are_done(alice: MemoryOwner) -> None:
    """SIGKILL to the parent orphans nobody, and the message in work is finished."""
    with MilterProcess(alice, workers=2) as milter:
        with milter.client() as client:
            client.mail()
            client.rcpt(ALICE)
            os.kill(milter.supervisor, signal.SIGKILL)
            wait_until(lambda: len(milter.workers) == 1, "the idle worker gone")
            client.header(*FIELDS[0])
            client.eoh()
            assert 250 == client.end().code
        wait_until(lambda: not milter.workers, "no worker left")


def test_the_socket_is_for_the_group_only(alice: MemoryOwner) -> None:
    """Postfix connects as a member of it; nobody else may."""
    with MilterProcess(alice, group="postfix", mode=0o660) as milter:
        found = Path(milter.socket).stat()

        assert 0o660 == stat.S_IMODE(found.st_mode)
        assert grp.getgrnam("postfix").gr_gid == found.st_gid


def test_a_stale_socket_is_replaced(alice: MemoryOwner) -> None:
    """A crash leaves the file; the next start needs nobody to clean up."""
    with MilterProcess(alice) as milter:
        milter.end()
        assert Path(milter.socket).is_socket()
        milter.start()

        with milter.client() as client:
            assert 250 == deliver(client)


def test_a_socket_that_is_served_is_not_taken(alice: MemoryOwner) -> None:
    """A second daemon refuses to start, and the first one serves on."""
    with MilterProcess(alice) as milter:
        command = [sys.executable, "-m", "letterlock", "--config", str(milter.config)]
        second = subprocess.run(command, capture_output=True, timeout=60, check=False)

        assert 78 == second.returncode
        assert b"another process serves it" in second.stderr
        with milter.client() as client:
            assert 250 == deliver(client)


def test_a_file_in_place_of_the_socket_is_left_alone(alice: MemoryOwner) -> None:
    """Nothing is removed that is no socket."""
    with MilterProcess(alice) as milter:
        file = milter.directory / "precious"
        file.write_text("precious")
        milter.write_config(socket=f"unix:{file}")
        command = [sys.executable, "-m", "letterlock", "--config", str(milter.config)]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)

        assert 78 == done.returncode
        assert "precious" == file.read_text()


def test_more_connections_than_workers_wait(alice: MemoryOwner) -> None:
    """Two hundred at once are all served, none refused."""
    with MilterProcess(alice, workers=1) as milter, ExitStack() as sessions:
        clients = [sessions.enter_context(milter.stranger()) for _ in range(200)]
        for client in clients:
            client.negotiate()
        assert {250} == {deliver(client) for client in clients}
