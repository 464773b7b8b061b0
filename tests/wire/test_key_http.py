"""The real key service over its socket, and its client against services that misbehave."""

import json
import os
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
import pytest

from certificates import gallery
from keyservice import client as client_module
from keyservice.client import (
    Answer,
    ClientConfig,
    KeyServiceClient,
    Layer,
    Mailbox,
    Outcome,
    ServiceRefused,
    ServiceUnavailable,
)
from keyservice_process import KeyServiceProcess

ALICE = Mailbox.parse("alice@example.org")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyServiceProcess]:
    """A key service for example.org."""
    with KeyServiceProcess(tmp_path_factory.mktemp("k"), tcp=True) as service:
        yield service


@pytest.fixture
def http(service: KeyServiceProcess) -> Iterator[httpx.Client]:
    """A stranger that speaks HTTP over the socket."""
    transport = httpx.HTTPTransport(uds=str(service.socket))
    with httpx.Client(transport=transport, base_url="http://k") as client:
        yield client


def test_a_certificate_is_enrolled_found_and_withdrawn(service: KeyServiceProcess) -> None:
    """The whole life, through the real process and its vetting child."""
    mailbox = Mailbox.parse("alice@example.org")
    client, operator = service.client(), service.operator
    enrolment = operator.enrol(mailbox, gallery()["gnupg"])

    found = client.lookup(mailbox)

    assert (Outcome.FOUND, enrolment.fingerprint) == (found.outcome, found.fingerprint)
    assert [s.fingerprint for s in enrolment.subkeys] == [s.fingerprint for s in found.subkeys]
    assert ["alice@example.org"] == [line.mailbox for line in operator.mailboxes()]
    assert enrolment.fingerprint == operator.withdraw(mailbox).fingerprint
    gone = client.lookup(mailbox)
    assert (Outcome.NOT_FOUND, True) == (gone.outcome, gone.had_certificate)


def test_it_speaks_version_1(http: httpx.Client) -> None:
    """The document is drawn from the records, and every path is in it."""
    document = http.get("/schema/openapi.json").json()

    assert "1" == document["info"]["version"]
    assert {
        "/v1/mailboxes",
        "/v1/mailboxes/{mailbox}",
        "/v1/mailboxes/{mailbox}/certificate",
        "/v1/mailboxes/{mailbox}/explanation",
        "/v1/mailboxes/{mailbox}/policy",
        "/v1/mailboxes/{mailbox}/policy/{name}",
        "/v1/peers/{mailbox}",
        "/v1/peers/{mailbox}/discover",
        "/v1/peers/{mailbox}/used",
        "/v1/sightings",
        "/v1/senders/{mailbox}",
        "/v1/senders/{mailbox}/autocrypt",
        "/v1/mailboxes/{mailbox}/client-certificates",
        "/v1/client-certificates",
        "/v1/client-certificates/{fingerprint}",
        "/v1/client-certificates/{fingerprint}/renewal",
        "/v1/client-cas",
        "/v1/client-cas/{name}",
        "/health",
    } == set(document["paths"])


def test_the_same_over_loopback(service: KeyServiceProcess) -> None:
    """If the operator wants it so."""
    client = KeyServiceClient(ClientConfig(service=f"http://{service.tcp}"))

    assert Outcome.OUTSIDE is client.lookup(Mailbox.parse("x@example.net")).outcome


@pytest.mark.parametrize("local_part", ["a/b", "a%2Fb", "a?b", "a#b", "ä", "..", "a+b=c&d"])
def test_every_local_part_survives_the_path(service: KeyServiceProcess, local_part: str) -> None:
    """Slashes, percent signs and 8-bit characters included."""
    answer = service.client().lookup(Mailbox.parse(f"{local_part}@example.org"))

    mailbox = f"{local_part.lower()}@example.org"
    assert (Outcome.NOT_FOUND, mailbox) == (answer.outcome, answer.mailbox)


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "error"),
    [
        ("GET", "/v1/mailboxes/nobody", b"", 400, "invalid_mailbox"),
        ("GET", "/v1/mailboxes/%FF@example.org", b"", 400, "invalid_mailbox"),
        ("GET", "/v1/mailboxes/a%0D%0Ab@example.org", b"", 400, "invalid_mailbox"),
        ("GET", "/v1/nothing", b"", 404, "no_such_path"),
        ("POST", "/v1/mailboxes/a@example.org", b"", 405, "no_such_method"),
        ("GET", "/v1/mailboxes?limit=100000", b"", 400, "bad_request"),
        ("PUT", "/v1/mailboxes/a@example.org/certificate", b"x" * 131_073, 413, "too_large"),
        ("PUT", "/v1/mailboxes/a@example.org/certificate", b"x", 422, "malformed"),
        ("PUT", "/v1/mailboxes/a@example.org/certificate", b"", 422, "malformed"),
        ("PUT", "/v1/mailboxes/a@example.net/certificate", b"x", 422, "outside_domain"),
        ("DELETE", "/v1/mailboxes/a@example.org/certificate", b"", 404, "not_enrolled"),
        ("PATCH", "/v1/mailboxes/a@example.org/policy", b"{", 400, "bad_request"),
        ("PATCH", "/v1/mailboxes/a@example.org/policy", b'{"x": 1}', 400, "bad_request"),
        ("DELETE", "/v1/mailboxes/a@example.org/policy/x", b"", 422, "bad_setting"),
    ],
)
def test_errors_are_typed(
    http: httpx.Client, method: str, path: str, content: bytes, status: int, error: str
) -> None:
    """A word for programs and a sentence for people; never a trace of the inside."""
    reply = http.request(method, path, content=content)

    assert (status, error) == (reply.status_code, reply.json()["error"])
    assert {"error", "reason"} == set(reply.json())


def test_the_socket_is_for_the_group(service: KeyServiceProcess) -> None:
    """Owner and group may connect, others not; the database is for the owner alone."""
    assert 0o660 == stat.S_IMODE(service.socket.stat().st_mode)
    assert 0o600 == stat.S_IMODE(service.database.stat().st_mode)


def test_a_second_service_does_not_take_the_socket(
    service: KeyServiceProcess, tmp_path: Path
) -> None:
    """It ends with status 78, and the first one goes on."""
    second = KeyServiceProcess(tmp_path)
    second.socket = service.socket
    second.write_config()

    done = subprocess.run(second.command(), capture_output=True, timeout=60, check=False)

    assert 78 == done.returncode
    assert b"another key service is running" in done.stderr
    assert service.is_ready()


def test_a_socket_left_by_a_dead_service_is_replaced(tmp_path: Path) -> None:
    """After a kill -9 the next start works, and the data are there."""
    service = KeyServiceProcess(tmp_path).start()
    service.operator.enrol(ALICE, gallery()["alice"])
    service.kill()
    assert service.socket.exists()

    with service:
        assert Outcome.FOUND is service.client().lookup(ALICE).outcome
    assert not service.socket.exists()


def test_metrics_name_nobody(service: KeyServiceProcess) -> None:
    """Counters move; no label holds an address or a domain."""
    mailbox = Mailbox.parse("canaryname@example.org")
    before = service.metric('keyservice_lookups_total{outcome="not_found"}')
    service.client().lookup(mailbox)

    assert before + 1 == service.metric('keyservice_lookups_total{outcome="not_found"}')
    text = httpx.get(service.metrics_url).text
    assert "keyservice_certificates" in text
    for name in ("canaryname", "example.org", "example.net"):
        assert name not in text


def test_nothing_secret_is_logged_or_stored(tmp_path: Path) -> None:
    """Neither a secret key that was refused nor a certificate's octets, nor who was looked up."""
    with KeyServiceProcess(tmp_path) as service:
        service.operator.enrol(ALICE, gallery()["alice"])
        for name in ("alice_secret", "cut_short"):
            with pytest.raises(ServiceRefused):
                service.operator.enrol(ALICE, gallery()[name])
        service.client().lookup(Mailbox.parse("canaryname@example.org"))
    secret, public = gallery()["alice_secret"], gallery()["alice"]

    for path in tmp_path.iterdir():
        content = path.read_bytes()
        assert secret[60:100] not in content, path
        assert b"canaryname" not in content, path
    log = service.log.read_bytes()
    assert public[20:50] not in log
    assert service.secret not in log
    for line in log.splitlines():
        json.loads(line)


def test_cores_are_off(service: KeyServiceProcess) -> None:
    """A crash leaves no memory on disk."""
    assert service.process is not None
    limits = Path(f"/proc/{service.process.pid}/limits").read_text()

    (line,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
    assert ["0", "0"] == line.split()[4:6]


# --- The client against services that misbehave


@contextmanager
def misbehaving(path: Path, serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Run a service that does `serve` with each connection."""
    stopping = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(0.05)

        def accept() -> None:
            while not stopping.is_set():
                try:
                    peer, _ = listener.accept()
                except TimeoutError:
                    continue
                peer.settimeout(60)
                with peer:
                    try:
                        peer.recv(65_536)
                        serve(peer)
                    except OSError:
                        continue

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"unix:{path}"
        finally:
            stopping.set()
            thread.join()


def http_reply(body: bytes, status: str = "200 OK") -> bytes:
    """Return an HTTP reply."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def answering(answer: Answer) -> bytes:
    """Return a reply with `answer`."""
    return http_reply(msgspec.json.encode(answer))


def drip(peer: socket.socket) -> None:
    """Send one octet every 50 ms, for ever."""
    for octet in http_reply(b"{" + b" " * 10_000):
        peer.sendall(bytes([octet]))
        time.sleep(0.05)


def hang(peer: socket.socket) -> None:
    """Say nothing."""
    peer.recv(1)


def flood(peer: socket.socket) -> None:
    """Send without end."""
    while True:
        peer.sendall(b"x" * 65_536)


@pytest.mark.parametrize("serve", [drip, hang])
def test_one_deadline_holds_for_all_of_a_lookup(
    tmp_path: Path, serve: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that drips costs as much as one that hangs; and the next lookup costs nothing."""
    monkeypatch.setattr(client_module, "_SERVICE_COOLDOWN", 60.0)
    with misbehaving(tmp_path / "s", serve) as url:
        client = KeyServiceClient(ClientConfig(service=url, deadline=2.0))
        started = time.monotonic()
        assert Outcome.UNAVAILABLE is client.lookup(ALICE).outcome
        first = time.monotonic() - started
        skipped = client.lookup(ALICE)

    assert 1.9 < first < 20
    assert (Outcome.UNAVAILABLE, "key service: skipped after a passed deadline") == (
        skipped.outcome,
        skipped.reason,
    )


NOW = int(time.time())


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"nonsense",
        b"HTTP/1.1 200 OK\r\n\r\n",
        http_reply(b"{}"),
        http_reply(b"[]"),
        http_reply(b'{"mailbox": "alice@example.org", "outcome": "plaintext"}'),
        http_reply(b"x", "500 Oh"),
        http_reply(b"{")[:-1],
        answering(Answer("bob@example.org", Outcome.OUTSIDE, issued_at=NOW, expires_at=NOW + 60)),
        answering(Answer(ALICE.key, Outcome.OUTSIDE, issued_at=NOW - 90, expires_at=NOW - 60)),
        answering(Answer(ALICE.key, Outcome.OUTSIDE, issued_at=NOW, expires_at=NOW + 9_999)),
        answering(Answer(ALICE.key, Outcome.OUTSIDE)),
        answering(Answer(ALICE.key, Outcome.FOUND, issued_at=NOW, expires_at=NOW + 60)),
        answering(Answer(ALICE.key, Outcome.UNAVAILABLE, issued_at=NOW, expires_at=NOW + 60)),
    ],
)
def test_nonsense_is_not_an_answer(tmp_path: Path, reply: bytes) -> None:
    """Least of all one that would let mail pass."""
    with misbehaving(tmp_path / "s", lambda peer: peer.sendall(reply)) as url:
        config = ClientConfig(service=url)
        answer = KeyServiceClient(config, clock=lambda: float(NOW)).lookup(ALICE)

    assert Outcome.UNAVAILABLE is answer.outcome


def test_a_reply_without_end_is_cut_off(tmp_path: Path) -> None:
    """It fills no memory."""
    with misbehaving(tmp_path / "s", flood) as url:
        answer = KeyServiceClient(ClientConfig(service=url, deadline=60)).lookup(ALICE)

    assert (Outcome.UNAVAILABLE, "key service: reply too large") == (answer.outcome, answer.reason)


def test_known_certificates_outlive_the_service_for_a_while(tmp_path: Path) -> None:
    """Found ones do; everything else is unavailable, and the observer hears who answered."""
    heard: list[tuple[Layer, Outcome]] = []
    other = Mailbox.parse("other@example.org")
    with KeyServiceProcess(tmp_path) as service:
        now = [time.time()]
        service.operator.enrol(ALICE, gallery()["alice"])
        client = KeyServiceClient(
            ClientConfig(service=service.url, stale_for=600),
            clock=lambda: now[0],
            observe=lambda layer, outcome, _seconds: heard.append((layer, outcome)),
        )
        client.lookup(ALICE)
        client.lookup(other)
    client.lookup(ALICE)
    client.lookup(other)
    now[0] += 601
    client.lookup(ALICE)

    assert [
        (Layer.SERVICE, Outcome.FOUND),
        (Layer.SERVICE, Outcome.NOT_FOUND),
        (Layer.STALE, Outcome.FOUND),
        (Layer.NONE, Outcome.UNAVAILABLE),
        (Layer.NONE, Outcome.UNAVAILABLE),
    ] == heard


def test_a_restarted_service_is_found_at_once(tmp_path: Path) -> None:
    """A refused connection opens no circuit."""
    service = KeyServiceProcess(tmp_path)
    client = service.client()
    assert Outcome.UNAVAILABLE is client.lookup(ALICE).outcome

    with service:
        assert Outcome.NOT_FOUND is client.lookup(ALICE).outcome


def test_many_threads_share_a_client(service: KeyServiceProcess) -> None:
    """As libmilter's do."""
    client = service.client()
    outcomes: list[Outcome] = []

    def look_up() -> None:
        outcomes.extend(
            client.lookup(Mailbox.parse(f"m{number}@example.org")).outcome for number in range(20)
        )

    threads = [threading.Thread(target=look_up) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [Outcome.NOT_FOUND] * 320 == outcomes


def test_the_operator_hears_that_nothing_is_there(tmp_path: Path) -> None:
    """Not a traceback, and not a wrong success."""
    service = KeyServiceProcess(tmp_path)

    with pytest.raises(ServiceUnavailable):
        service.operator.enrol(ALICE, b"x")
    assert not os.path.exists(service.database)


def test_a_lookup_costs_the_same_with_many_mailboxes(tmp_path: Path) -> None:
    """CPU time per lookup with 20,000 mailboxes is within noise of that with 10."""

    def cost(number: int) -> float:
        service = KeyServiceProcess(tmp_path / str(number))
        service.fill(number, gallery()["alice"])
        with service:
            client = service.client()
            mailboxes = [Mailbox.parse(f"m{n * 7 % number}@example.org") for n in range(300)]
            assert {Outcome.FOUND} == {client.lookup(mailbox).outcome for mailbox in mailboxes}
            return min(once(service, client, mailboxes) for _ in range(3))

    def once(
        service: KeyServiceProcess, client: KeyServiceClient, mailboxes: list[Mailbox]
    ) -> float:
        before = service.cpu_seconds()
        for mailbox in mailboxes:
            client.lookup(mailbox)
        return service.cpu_seconds() - before

    assert cost(20_000) < 2 * cost(10) + 0.1
