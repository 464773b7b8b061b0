"""Several key services with one PostgreSQL between them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from prometheus_client import CollectorRegistry
from sqlalchemy import select, text
from sqlalchemy.exc import InternalError, OperationalError

from certificates import gallery, sequoia
from keyservice import ledger, postgresql, schema
from keyservice.answers import Answers
from keyservice.cache import AnswerCache, connect
from keyservice.client import Mailbox, Outcome, ServiceRefused, ServiceUnavailable
from keyservice.config import DomainSection
from keyservice.database import Database, Task
from keyservice.errors import ConfigError, DatabaseUnavailable
from keyservice.failures import is_outage
from keyservice.ledger import set_setting
from keyservice.metrics import Metrics
from keyservice.wire import Answer
from keyservice_process import SECRET, KeyServiceProcess, RedisProcess, wait_until
from postgresql_process import OWNER, PASSWORD, PostgreSQLProcess

ALICE = Mailbox.parse("alice@example.org")
BOB = Mailbox.parse("bob@example.org")
HERE = Path(__file__).parent.parent
_numbers = count()

IMPORTANT = (
    "test_enrolment",
    "test_peers",
    "test_reports",
    "test_submissions",
    "test_client_certificates",
    "test_notices",
    "test_public_published",
)
OF_SQLITE = ("test_no_private_key_is_stored", "test_no_question_scans_a_table")
"""They read the file, or ask for its plans."""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQLProcess]:
    """A server that runs at the beginning of each test."""
    with PostgreSQLProcess() as process:
        yield process


@pytest.fixture
def uri(server: PostgreSQLProcess) -> str:
    """An empty database."""
    return server.make_database(f"test{next(_numbers)}")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    """The cache that the services share."""
    with RedisProcess(tmp_path / "redis") as process:
        yield process


def service(directory: Path, uri: str, redis: RedisProcess | None = None) -> KeyServiceProcess:
    """Return a key service that is not started."""
    return KeyServiceProcess(
        directory,
        {"example.org": {"without_certificate": "reject"}},
        redis.url if redis else "",
        settings={"database": uri},
    )


@pytest.fixture
def pair(
    tmp_path: Path, uri: str, redis: RedisProcess
) -> Iterator[tuple[KeyServiceProcess, KeyServiceProcess]]:
    """Two hosts' key services, which were started at the same moment."""
    one, other = (service(tmp_path / name, uri, redis) for name in ("one", "other"))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(KeyServiceProcess.start, (one, other)))
    yield one, other
    one.stop()
    other.stop()


@pytest.mark.timeout(900)
def test_the_key_services_tests_hold_on_postgresql() -> None:
    """What enrols, decides, reports, tells and publishes does the same there."""
    environment = os.environ | {"PYTHONPATH": str(HERE / "support")}
    deselected = " and ".join(f"not {name}" for name in OF_SQLITE)
    files = [str(HERE / f"unit/keyservice/{name}.py") for name in IMPORTANT]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "on_postgresql", "-k", deselected]

    done = subprocess.run(
        [*command, *files], env=environment, capture_output=True, text=True, check=False
    )

    assert 0 == done.returncode, done.stdout


def test_the_migrations_lead_to_the_schema(uri: str) -> None:
    """What the code believes and what is in the server are the same, types included."""
    database = Database(postgresql.server(uri))
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert [] == compare_metadata(context, schema.metadata)
    database.close()


def test_each_value_of_a_closed_set_fits_its_column() -> None:
    """SQLite would not mind."""
    kinds = {
        schema.event.c.kind: [kind.value for kind in schema.EventKind],
        schema.binding.c.state: [state.value for state in schema.BindingState],
    }
    for column, values in kinds.items():
        assert max(map(len, values)) <= (column.type.length or 0)  # type: ignore[attr-defined]


def test_what_one_service_enrols_the_other_answers(
    pair: tuple[KeyServiceProcess, KeyServiceProcess],
) -> None:
    """At once, and out of the cache they share nothing older comes."""
    one, other = pair
    with_cache = other.client()
    assert Outcome.NOT_FOUND is with_cache.lookup(ALICE).outcome

    enrolled = one.operator.enrol(ALICE, gallery()["alice"])

    assert 0 == enrolled.effective_within
    answer = with_cache.lookup(ALICE)
    assert (Outcome.FOUND, enrolled.fingerprint) == (answer.outcome, answer.fingerprint)
    other.operator.withdraw(ALICE)
    assert Outcome.NOT_FOUND is one.client().lookup(ALICE).outcome


def test_a_mailbox_enrolled_on_both_at_once_has_one_certificate(
    pair: tuple[KeyServiceProcess, KeyServiceProcess], uri: str
) -> None:
    """The first one is in use, the last one waits, and both services say the same."""
    made = [sequoia("Alice <alice@example.org>").certificate for _ in range(6)]

    def enrol(index: int) -> str:
        return pair[index % 2].operator.enrol(ALICE, made[index]).fingerprint

    with ThreadPoolExecutor(len(made)) as pool:
        fingerprints = set(pool.map(enrol, range(len(made))))

    assert len(made) == len(fingerprints)
    explained = [each.operator.explain(ALICE) for each in pair]
    for explanation in explained:
        states = sorted(binding.state for binding in explanation.bindings)
        assert ["active", *["dropped"] * (len(made) - 2), "waiting"] == states
    answers = {each.client(redis_url="", secret=b"").lookup(ALICE).fingerprint for each in pair}
    assert 1 == len(answers)
    assert answers < fingerprints


def test_the_same_certificate_is_enrolled_on_both_at_once(
    pair: tuple[KeyServiceProcess, KeyServiceProcess],
) -> None:
    """For several mailboxes: what one learned of it is not lost, nobody is sent away."""
    addresses = [f"m{index}@example.org" for index in range(6)]
    shared = sequoia(*(f"<{address}>" for address in addresses)).certificate

    def enrol(index: int) -> str:
        mailbox = Mailbox.parse(addresses[index])
        return pair[index % 2].operator.enrol(mailbox, shared).fingerprint

    with ThreadPoolExecutor(len(addresses)) as pool:
        assert 1 == len(set(pool.map(enrol, range(len(addresses)))))

    for each in pair:
        client = each.client()
        found = {client.lookup(Mailbox.parse(address)).outcome for address in addresses}
        assert {Outcome.FOUND} == found


def test_a_service_that_is_killed_holds_nobody_up(
    pair: tuple[KeyServiceProcess, KeyServiceProcess],
) -> None:
    """In the middle of enrolments: each is there as a whole or not at all."""
    one, other = pair
    mailboxes = [Mailbox.parse(f"k{index}@example.org") for index in range(12)]
    made = {each: sequoia(f"<{each.key}>").certificate for each in mailboxes}

    def enrol(mailbox: Mailbox) -> bool:
        try:
            one.operator.enrol(mailbox, made[mailbox])
        except ServiceUnavailable:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        under_way = [pool.submit(enrol, each) for each in mailboxes]
        wait_until(lambda: any(each.done() for each in under_way), "one enrolled")
        one.kill()
        told = [each.result() for each in under_way]

    assert True in told
    longest = 0.0
    client = other.client(redis_url="", secret=b"")
    for mailbox, was_told in zip(mailboxes, told, strict=True):
        began = time.monotonic()
        outcome = client.lookup(mailbox).outcome
        assert outcome is Outcome.FOUND or not was_told
        assert made[mailbox]
        other.operator.enrol(mailbox, made[mailbox])
        longest = max(longest, time.monotonic() - began)
    assert longest < 10


def test_a_database_that_is_away_defers_and_comes_back(
    server: PostgreSQLProcess, uri: str, tmp_path: Path
) -> None:
    """503 for as long as it is; nothing has to be started anew."""
    with service(tmp_path / "one", uri) as one:
        enrolled = one.operator.enrol(ALICE, gallery()["alice"])
        client = one.client(stale_for=0.0)
        assert Outcome.FOUND is client.lookup(ALICE).outcome
        for how in (signal.SIGINT, signal.SIGQUIT):
            server.stop(how)
            try:
                with pytest.raises(ServiceRefused, match="database"):
                    one.operator.withdraw(ALICE)
                assert Outcome.UNAVAILABLE is client.lookup(ALICE).outcome
                assert 0 == one.metric('keyservice_certificates{state="in_use"}')
            finally:
                server.start()
            answer = one.client().lookup(ALICE)
            assert (Outcome.FOUND, enrolled.fingerprint) == (answer.outcome, answer.fingerprint)


def test_a_database_that_hangs_is_waited_for_no_longer_than_allowed(
    server: PostgreSQLProcess, uri: str, tmp_path: Path
) -> None:
    """The milter defers at its own deadline; afterwards all is as before."""
    with service(tmp_path / "one", uri) as one:
        one.operator.enrol(ALICE, gallery()["alice"])
        client = one.client(stale_for=0.0, deadline=2.0)
        server.pause()
        try:
            began = time.monotonic()
            assert Outcome.UNAVAILABLE is client.lookup(ALICE).outcome
            # By default it would be five seconds.
            assert time.monotonic() - began < 5
        finally:
            server.resume()
        wait_until(lambda: client.lookup(ALICE).outcome is Outcome.FOUND, "answers again")


def test_a_transaction_that_was_cut_off_is_given_up(uri: str) -> None:
    """Its host may be gone for good; the others write again after seconds."""
    one, other = (Database(postgresql.server(uri)) for _ in range(2))

    def write_elsewhere() -> bool:
        try:
            with other.writing() as connection:
                return ledger.find_id(connection, ALICE) is None
        except OperationalError:
            return False

    def be_cut_off() -> None:
        with one.writing() as connection:
            set_setting(connection, ALICE, "mailer", "x", 0)
            assert not write_elsewhere()
            wait_until(write_elsewhere, "written elsewhere")
            set_setting(connection, ALICE, "mailer", "y", 0)

    with pytest.raises(InternalError, match="idle") as given_up:
        be_cut_off()

    assert is_outage(given_up.value)
    with one.reading() as connection:
        assert ledger.find_id(connection, ALICE) is None
    one.close()
    other.close()


def test_a_task_is_done_by_one_service(uri: str) -> None:
    """The others do not wait for it; when it ends, or dies, somebody else may."""
    one, other = (Database(postgresql.server(uri)) for _ in range(2))
    with one.alone(Task.REVETTING) as first:
        assert first
        with other.alone(Task.REVETTING) as second, other.alone(Task.NOTICES) as another:
            assert (False, True) == (second, another)
    with other.alone(Task.REVETTING) as later:
        assert later
    one.close()
    other.close()


def test_an_old_answer_is_not_left_in_redis_by_another_service(
    uri: str, redis: RedisProcess
) -> None:
    """One reads, the other changes it and tells Redis, and only then the first one writes."""
    database = Database(postgresql.server(uri))

    class Slow(AnswerCache):
        """Writes after something has changed elsewhere."""

        def put(self, mailbox: Mailbox, answer: Answer) -> None:
            with database.writing() as connection:
                set_setting(connection, mailbox, "without_certificate", "defer", 0)
            super().put(mailbox, answer)

    domains = {"example.org": DomainSection()}
    with redis.client() as client:
        cache = Slow(connect(redis.url), SECRET)
        answers = Answers(database, domains, cache, Metrics(CollectorRegistry()))
        with database.writing() as connection:
            set_setting(connection, ALICE, "without_certificate", "reject", 0)

        answers.answer(ALICE)

        assert [] == client.keys("*")
        answers.answer(ALICE)
        assert 1 == len(client.keys("*"))
    database.close()


def test_times_after_2038_and_odd_texts_are_stored(uri: str) -> None:
    """A certificate may end in 2106; what a stranger's server says may hold a NUL."""
    database = Database(postgresql.server(uri))
    late = 2**32
    with database.writing() as connection:
        ledger.note(connection, ALICE, schema.EventKind.REFUSED, late, detail="a\0b")
    with database.reading() as connection:
        row = connection.execute(select(schema.event)).one()
    assert (late, "a�b") == (row.at, row.detail)
    database.close()


def test_the_password_comes_from_a_file(
    server: PostgreSQLProcess, uri: str, tmp_path: Path
) -> None:
    """By TCP; a wrong one stops the start in one line, which does not hold it."""
    one = service(tmp_path / "one", uri)
    name = uri.split("/")[3].partition("?")[0]
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text(PASSWORD + "\n")
    one.settings = {
        "database": f"postgresql://{OWNER}@127.0.0.1:{server.port}/{name}?sslmode=disable",
        "database_password_file": str(password),
    }
    one.write_config()
    with one:
        assert Outcome.NOT_FOUND is one.client().lookup(ALICE).outcome

    password.write_text("a wrong one\n")
    ended = subprocess.run(one.command(), capture_output=True, text=True, check=False, timeout=60)

    assert os.EX_TEMPFAIL == ended.returncode
    assert "refuses the user or the password" in ended.stderr
    assert "a wrong one" not in ended.stderr


def test_a_database_of_a_newer_version_or_another_encoding_is_refused(
    server: PostgreSQLProcess, uri: str
) -> None:
    """And one that is not there yet is waited for by whoever starts the service."""
    database = Database(postgresql.server(uri))
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(ConfigError, match="newer"):
        Database(postgresql.server(uri))
    with server.connect() as connection:
        connection.execute("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0")
    with pytest.raises(ConfigError, match="UTF8"):
        Database(postgresql.server(server.uri("ascii")))
    with pytest.raises(DatabaseUnavailable, match="no such database"):
        Database(postgresql.server(server.uri("nowhere")))


def test_what_sqlite_held_is_carried_over(tmp_path: Path, uri: str) -> None:
    """All of it, and what comes then is numbered on; a second time nothing is copied."""
    new = service(tmp_path / "new", uri)
    with KeyServiceProcess(tmp_path / "old", new.domains) as old:
        enrolled = old.operator.enrol(ALICE, gallery()["alice"])
        old.operator.set_policy(BOB, {"without_certificate": "reject"})
        known = list(old.operator.mailboxes()), old.operator.explain(ALICE).events
    command = [*new.command(), "--copy-from", str(old.database)]

    subprocess.run(command, check=True)
    again = subprocess.run(command, capture_output=True, text=True, check=False)

    assert os.EX_CONFIG == again.returncode
    assert "in use already" in again.stderr
    with new:
        assert known == (list(new.operator.mailboxes()), new.operator.explain(ALICE).events)
        assert enrolled.fingerprint == new.client().lookup(ALICE).fingerprint
        new.operator.enrol(BOB, gallery()["bob"])
