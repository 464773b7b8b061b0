"""Two roles in one daemon: each has a socket and workers of its own; neither harms the other."""

import grp
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

import pytest

from fake_keyservice import MemoryOwner
from letterlock.roles import Role
from milter_load import under_load
from milter_process import MilterProcess
from milterproto import Ended, MilterClient
from stack import wait_until
from submission_keyservice import SubmissionKeyService

ALICE, BOB = "<alice@example.test>", "<bob@example.test>"
FIELDS = [(b"From", b" bob@example.test"), (b"Subject", b" hello")]
LOGIN = {b"{auth_authen}": b"bob@example.test"}
INBOUND, SUBMISSION = Role.INBOUND, Role.SUBMISSION


@pytest.fixture(scope="module")
def alice() -> MemoryOwner:
    return MemoryOwner("alice@example.test")


@pytest.fixture
def milter(alice: MemoryOwner) -> Iterator[MilterProcess]:
    with both(alice) as milter:
        yield milter


def both(alice: MemoryOwner, **options: object) -> MilterProcess:
    """Return a daemon with both roles; the first has two workers, if not told otherwise."""
    settings = {"workers": 2, "submission": 1, "keyservice": SubmissionKeyService} | options
    return MilterProcess(alice, **settings)  # type: ignore[arg-type]


def connect(milter: MilterProcess, role: Role) -> MilterClient:
    """Return a session in which Bob has logged in, if that is possible."""
    client = milter.client(role=role)
    client.sender = BOB
    client.identity = LOGIN if role is SUBMISSION else {}
    return client


def deliver(client: MilterClient) -> int:
    """Hand in a mail of Bob's to Alice."""
    return send(client).code


def send(client: MilterClient) -> Ended:
    return client.transact([ALICE], FIELDS, b"body\r\n")


def is_serving(milter: MilterProcess, role: Role) -> bool:
    """Whether a new session gets its mail through."""
    with connect(milter, role) as client:
        return deliver(client) == 250


def test_each_socket_is_for_its_own_mail(milter: MilterProcess, alice: MemoryOwner) -> None:
    """What may be sent by anybody on one needs a login on the other, and is cleaned there."""
    with connect(milter, INBOUND) as from_outside, connect(milter, SUBMISSION) as ours:
        received, handed_in = send(from_outside), send(ours)
        ours.identity = {}
        anonymous = send(ours)

    assert (250, 250, 530) == (received.code, handed_in.code, anonymous.code)
    assert b"auth=pass" not in alice.decrypt(received.body or b"")
    assert b"auth=pass" in alice.decrypt(handed_in.body or b"")
    assert b"Message-ID" in alice.decrypt(handed_in.body or b"")


def test_each_has_workers_of_its_own(alice: MemoryOwner) -> None:
    """As many as the configuration says, and none does the other's work."""
    with both(alice, workers=1, submission=3) as milter, ExitStack() as sessions:
        served = {}
        for role in Role:
            clients = [sessions.enter_context(connect(milter, role)) for _ in range(20)]
            before = len(milter.events("accepted"))
            assert {250} == {deliver(client) for client in clients}
            wait_until(lambda n=before: len(milter.events("accepted")) == n + 20, "said")  # type: ignore[misc]
            served[role] = {event["pid"] for event in milter.events("accepted")[before:]}

        assert (1, 3) == tuple(len(milter.workers_of(role)) for role in Role)
        for role in Role:
            assert served[role] <= set(milter.workers_of(role))


def test_one_page_counts_both(milter: MilterProcess) -> None:
    """Prometheus scrapes the supervisor."""
    for role in Role:
        assert is_serving(milter, role)
    with urlopen(f"http://127.0.0.1:{milter.ports['milter_metrics']}/metrics", timeout=10) as page:
        text = page.read().decode()

    (counted,) = (
        line for line in text.splitlines() if "messages_total{" in line and '"wrapped"' in line
    )
    assert 2.0 == float(counted.split()[-1])


def test_both_sockets_are_for_the_group_only(alice: MemoryOwner) -> None:
    """Whoever reaches the second one may say who he is."""
    with both(alice, group="postfix", mode=0o660) as milter:
        for path in milter.sockets.values():
            found = Path(path).stat()
            assert 0o660 == stat.S_IMODE(found.st_mode)
            assert grp.getgrnam("postfix").gr_gid == found.st_gid


def test_reload_under_load_refuses_no_mail(milter: MilterProcess) -> None:
    """Of either role: all workers are new, and no session noticed."""
    before = set(milter.workers)
    with ExitStack() as loads:
        running = [
            loads.enter_context(
                under_load(lambda role=role: connect(milter, role), deliver, mtas=2)  # type: ignore[misc]
            )
            for role in Role
        ]
        for number in (1, 2):
            for load in running:
                load.wait_for_more(10)
            milter.signal(signal.SIGHUP)
            wait_until(lambda n=number: len(milter.events("reloaded")) == n, "reload")  # type: ignore[misc]
        for load in running:
            load.wait_for_more(10)

    assert [[], []] == [load.failures for load in running]
    wait_until(lambda: len(milter.workers) == 3, "old workers gone")
    assert (2, 1) == tuple(len(milter.workers_of(role)) for role in Role)
    assert not before & set(milter.workers)
    assert [] == milter.events("worker_died")


def test_reload_takes_new_numbers_of_workers(milter: MilterProcess) -> None:
    """Each role's own."""
    milter.write_config(workers=1, submission=2)
    milter.signal(signal.SIGHUP)
    numbers = lambda: tuple(len(milter.workers_of(role)) for role in Role)  # noqa: E731

    wait_until(lambda: numbers() == (1, 2), "one and two workers")


@pytest.mark.parametrize("has", [True, False])
def test_a_role_neither_comes_nor_goes_with_a_reload(alice: MemoryOwner, has: bool) -> None:
    """It is refused in words that say what to do, and the workers that run go on."""
    with both(alice, submission=int(has)) as milter:
        before = set(milter.workers)
        milter.write_config(submission=int(not has))
        milter.signal(signal.SIGHUP)
        wait_until(lambda: bool(milter.events("reload_refused")), "refusal", log=milter.log_file)
        (refused,) = milter.events("reload_refused")

        assert "submission.socket" in str(refused["detail"])
        assert before == set(milter.workers)
        for role in milter.sockets:
            assert is_serving(milter, role)
        # Taken back, a reload does what it should.
        milter.write_config(submission=int(has))
        milter.signal(signal.SIGHUP)
        wait_until(lambda: bool(milter.events("reloaded")), "reload", log=milter.log_file)


@pytest.mark.parametrize("victim", list(Role), ids=lambda role: role.value)
def test_a_killed_worker_harms_nobody_of_the_other_role(alice: MemoryOwner, victim: Role) -> None:
    """Not even its sessions; and connections to its own role wait until there is another."""
    (other,) = set(Role) - {victim}
    with both(alice, workers=1) as milter, connect(milter, other) as bystander:
        bystander.mail()
        assert 250 == bystander.rcpt(ALICE).code
        with connect(milter, victim) as client:
            client.mail()
            (pid,) = milter.workers_of(victim)
            os.kill(pid, signal.SIGKILL)
            assert client.is_closed()
        assert is_serving(milter, victim)
        for name, value in FIELDS:
            bystander.header(name, value)
        bystander.eoh()
        bystander.body(b"body\r\n")
        ended = bystander.end()
        wait_until(lambda: bool(milter.workers_of(victim)), "replacement")

        assert 250 == ended.code
        assert [pid] == [event["worker"] for event in milter.events("worker_died")]


def test_sigterm_lets_transactions_of_both_finish(milter: MilterProcess) -> None:
    """Then both sockets are gone."""
    with connect(milter, INBOUND) as one, connect(milter, SUBMISSION) as other:
        for client in (one, other):
            client.mail()
            client.rcpt(ALICE)
        milter.signal(signal.SIGTERM)
        for client in (one, other):
            for name, value in FIELDS:
                client.header(name, value)
            client.eoh()
            client.body(b"late\r\n")
            assert 250 == client.end().code
    wait_until(lambda: not milter.pids, "stopped")

    assert [0] * 3 == [event["sessions_open"] for event in milter.events("worker_left")]
    assert [] == [path for path in milter.sockets.values() if Path(path).exists()]


def test_stale_sockets_of_both_are_replaced(milter: MilterProcess) -> None:
    """A crash leaves the files."""
    milter.end()
    assert all(Path(path).is_socket() for path in milter.sockets.values())
    milter.start()

    assert all(is_serving(milter, role) for role in Role)


def test_the_roles_do_not_share_a_socket(milter: MilterProcess) -> None:
    """Mail from outside would be taken for a user's."""
    milter.write_config(socket=f"unix:{milter.sockets[SUBMISSION]}")

    assert "submission.socket: must be another than socket" in not_started(milter)


def not_started(milter: MilterProcess) -> str:
    """Return what a further daemon says that cannot use its configuration."""
    command = [sys.executable, "-m", "letterlock", "--config", str(milter.config)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert 78 == done.returncode, done.stderr
    return done.stderr.decode()


# The service manager's sockets.


@pytest.mark.parametrize("order", [(INBOUND, SUBMISSION), (SUBMISSION, INBOUND)])
def test_sockets_are_told_apart_by_their_names(alice: MemoryOwner, order: tuple[Role, ...]) -> None:
    """FileDescriptorName=, whatever the order in which they come; a restart keeps them."""
    milter = both(alice, activated=True)
    milter.names = {role.value: role for role in order}
    with milter:
        for generation in (1, 2):
            with connect(milter, SUBMISSION) as ours, connect(milter, INBOUND) as from_outside:
                ours.identity = {}
                assert (530, 250) == (deliver(ours), deliver(from_outside))
            if generation == 1:
                milter.signal(signal.SIGUSR1)
                wait_until(lambda: len(milter.events("serving")) == 2, "restart", 60)

        assert all(Path(path).is_socket() for path in milter.sockets.values())


@pytest.mark.parametrize(
    ("names", "submission"),
    [
        (["inbound"], 1),
        (["submission"], 1),
        (["inbound", "submission"], 0),
        (["inbound", "inbound2"], 1),
        (["letterlock.socket", "letterlock-submission.socket"], 1),
        (["inbound", "submission", "third"], 1),
    ],
)
def test_sockets_that_do_not_fit_are_refused(
    alice: MemoryOwner, names: list[str], submission: int
) -> None:
    """Rather no mail than a user's mail on the wrong side; the line says what is wanted."""
    with both(alice) as milter:
        milter.end()
        milter.write_config(submission=submission)
        said = activated(milter, names)

    wanted = "inbound and submission" if submission else "inbound"
    assert f"the configuration wants {wanted}, and there are" in said
    for name in names:
        assert name in said


def activated(milter: MilterProcess, names: list[str]) -> str:
    """Start the daemon with sockets of these names; return what it says to that."""
    sockets = ",".join(f"{name}={milter.directory}/{at}.sock" for at, name in enumerate(names))
    script = Path(__file__).parents[1] / "support" / "activate.py"
    daemon = [sys.executable, "-m", "letterlock", "--config", str(milter.config)]
    manager = subprocess.Popen(
        [sys.executable, str(script), sockets, *daemon],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert manager.stderr is not None
    try:
        return manager.stderr.readline().decode()
    finally:
        os.killpg(manager.pid, signal.SIGKILL)
        manager.wait()
        manager.stderr.close()
