"""The listener for Postfix: real process, real `postmap`, and peers that break every rule."""

import os
import socket
import sqlite3
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from client_certificates import colons, passphrase_file
from keyservice.client import ClientCertificateRequest, IssuedClientCertificate, Mailbox
from keyservice.netstring import encode
from keyservice.socketmap import REQUEST_OCTETS_MAX, Lookup, SocketmapListener
from keyservice_process import KeyServiceProcess, wait_until
from ports import free_port

ALICE = Mailbox.parse("alice@example.org")
MAP = "client-certificates"
UNKNOWN = colons("ab" * 32)
_LIMIT = 20


class Service(KeyServiceProcess):
    """A key service with an authority, and a socket for Postfix."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.socketmap = directory / "socketmap.sock"
        self.port = free_port()
        sections = {
            "client_ca": {"passphrase_file": str(passphrase_file(directory))},
            "socketmap": {"socket": str(self.socketmap), "tcp": f"127.0.0.1:{self.port}"},
        }
        super().__init__(directory, sections=sections)

    def issue(self) -> IssuedClientCertificate:
        return self.operator.client_certificates.issue(ALICE, ClientCertificateRequest())

    def revoke(self, issued: IssuedClientCertificate) -> None:
        self.operator.client_certificates.revoke(issued.fingerprint)


class Peer:
    """One connection, as Postfix keeps it."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(str(path))
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def send(self, octets: bytes) -> None:
        self._socket.sendall(octets)

    def flood(self, octets: bytes) -> None:
        """Send as much as the other side takes without being read from."""
        self._socket.settimeout(2)
        with suppress(TimeoutError):
            while True:
                self._socket.sendall(octets)

    def reply(self) -> bytes:
        """Return the next netstring; empty: the connection was ended."""
        length = b""
        while (octet := self._file.read(1)) != b":":
            if not octet:
                assert length == b""
                return b""
            length += octet
        content = self._file.read(int(length))
        assert self._file.read(1) == b","
        return content

    def ask(self, key: str, name: str = MAP) -> str:
        self.send(encode(f"{name} {key}".encode()))
        return self.reply().decode()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One with an authority."""
    with Service(tmp_path_factory.mktemp("k")) as service:
        service.operator.client_certificates.create_authority()
        yield service


@pytest.fixture(scope="module")
def issued(service: Service) -> IssuedClientCertificate:
    """A certificate of Alice's that stays in force."""
    return service.issue()


@pytest.fixture
def peer(service: Service) -> Iterator[Peer]:
    """A connection."""
    with Peer(service.socketmap) as peer:
        yield peer


def postmap(where: str, key: str, directory: Path) -> tuple[int, str, str]:
    """Ask as Postfix does; return exit status, stdout and stderr."""
    main = directory / "main.cf"
    main.write_text("compatibility_level = 3.6\nmyhostname = mx.example.org\n")
    os.utime(main, (0, 0))  # a file that was just changed makes Postfix wait
    (directory / "master.cf").touch()
    command = ["postmap", "-c", str(directory), "-q", key, f"socketmap:{where}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("kind", ["unix", "inet"])
def test_postfix_finds_what_is_in_force(
    service: Service, issued: IssuedClientCertificate, tmp_path: Path, kind: str
) -> None:
    """By the fingerprint as it writes it; others it does not find."""
    where = {"unix": f"unix:{service.socketmap}", "inet": f"inet:127.0.0.1:{service.port}"}[kind]
    key = colons(issued.fingerprint)

    assert (0, "alice@example.org\n", "") == postmap(f"{where}:{MAP}", key, tmp_path)
    assert (0, "OK\n", "") == postmap(f"{where}:client-certificate-access", key, tmp_path)
    assert (1, "", "") == postmap(f"{where}:{MAP}", UNKNOWN, tmp_path)


def test_postfix_hears_what_is_wrong_with_its_configuration(
    service: Service, tmp_path: Path
) -> None:
    """Another digest than SHA-256, a map that is not there: it says so in its log, and defers."""
    where = f"unix:{service.socketmap}"

    status, _, said = postmap(f"{where}:{MAP}", "0b:" * 19 + "0b", tmp_path)
    assert status == 1
    assert "smtpd_tls_fingerprint_digest must be sha256" in said
    status, _, said = postmap(f"{where}:no-such-map", UNKNOWN, tmp_path)
    assert status == 1
    assert "there is no such map" in said


def test_a_revocation_counts_on_connections_that_are_open(service: Service, peer: Peer) -> None:
    """Postfix keeps them for minutes; the next question has the new answer."""
    issued = service.issue()
    key = colons(issued.fingerprint)
    assert "OK alice@example.org" == peer.ask(key)

    service.revoke(issued)

    assert "NOTFOUND " == peer.ask(key)
    refusal = "OK REJECT 5.7.1 this client certificate was revoked"
    assert refusal == peer.ask(key, "client-certificate-access")


def test_the_database_in_trouble_is_a_defer(
    service: Service, issued: IssuedClientCertificate, peer: Peer
) -> None:
    """Neither yes nor no; and afterwards it is as before, on the same connection."""

    def rename(old: str, new: str) -> None:
        database = sqlite3.connect(service.database, timeout=20)
        database.execute(f"ALTER TABLE {old} RENAME TO {new}")
        database.commit()
        database.close()

    rename("client_certificate", "elsewhere")
    try:
        replies = [peer.ask(colons(issued.fingerprint)), peer.ask(UNKNOWN)]
    finally:
        rename("elsewhere", "client_certificate")

    assert ["TEMP the database cannot be read"] * 2 == replies
    assert "OK alice@example.org" == peer.ask(colons(issued.fingerprint))
    assert '"event": "socketmap_failed"' in service.log.read_text()


def test_several_questions_at_once_are_answered_in_their_order(
    issued: IssuedClientCertificate, peer: Peer
) -> None:
    """In one piece, or octet by octet."""
    questions = [encode(f"{MAP} {key}".encode()) for key in (UNKNOWN, colons(issued.fingerprint))]
    expected = [b"NOTFOUND ", b"OK alice@example.org"] * 2

    peer.send(b"".join(questions))
    for octet in b"".join(questions):
        peer.send(bytes([octet]))

    assert expected == [peer.reply() for _ in range(4)]


@pytest.mark.parametrize(
    "rubbish",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"0005:abc",
        b"5:abcdef",
        b"%d:" % (REQUEST_OCTETS_MAX + 1),
        b"99999999999999999999",
        b"\x00" * 5_000,
    ],
)
def test_rubbish_ends_its_own_connection_only(
    service: Service, issued: IssuedClientCertificate, peer: Peer, rubbish: bytes
) -> None:
    """It is not answered, and the others are."""
    with Peer(service.socketmap) as other:
        other.send(rubbish)
        assert b"" == other.reply()

    assert "OK alice@example.org" == peer.ask(colons(issued.fingerprint))


@pytest.mark.parametrize("content", [b"", b" ", MAP.encode(), b"\xff\xfe x", b"x" * 1_000])
def test_a_question_that_is_none_is_a_complaint(peer: Peer, content: bytes) -> None:
    """The connection goes on."""
    peer.send(encode(content))

    assert peer.reply().startswith(b"PERM ")
    assert "NOTFOUND " == peer.ask(UNKNOWN)


def test_many_connections(service: Service, issued: IssuedClientCertificate) -> None:
    """As many as a busy Postfix has processes; half of them only begin to ask, and others wait
    for nobody."""
    key = colons(issued.fingerprint)
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(service.socketmap)) for _ in range(300)]
        for idle in peers[::2]:
            idle.send(b"85:client-certif")

        assert {"OK alice@example.org"} == {peer.ask(key) for peer in peers[1::2]}


def test_the_socket_is_for_the_group(service: Service) -> None:
    """Owner and group may connect, others not."""
    assert 0o660 == stat.S_IMODE(service.socketmap.stat().st_mode)


def test_lookups_are_counted(service: Service, peer: Peer) -> None:
    """By what was answered."""
    sample = 'keyservice_socketmap_lookups_total{result="notfound"}'
    before = service.metric(sample)

    peer.ask(UNKNOWN)

    assert before + 1 == service.metric(sample)


def test_it_ends_at_once_with_connections_open(tmp_path: Path) -> None:
    """And leaves no socket; a second one takes its place."""
    service = Service(tmp_path / "k")
    for _ in range(2):
        service.start()
        with Peer(service.socketmap) as peer:
            peer.send(b"5:he")
            began = time.monotonic()
            service.stop()
            assert b"" == peer.reply()
        # Whoever waited for it would wait for minutes.
        assert time.monotonic() - began < 30
        assert not service.socketmap.exists()
        assert "Traceback" not in service.log.read_text()


def test_without_the_section_nobody_listens(tmp_path: Path) -> None:
    """The rest of the service is as it was."""
    with KeyServiceProcess(tmp_path / "k") as service:
        assert [] == [p.name for p in service.directory.glob("*.sock") if p != service.socket]


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Callable[[Lookup], Path]]:
    """What serves a function of the test as map `m`, in this process."""
    with ExitStack() as stack:

        def listen(lookup: Lookup) -> Path:
            path = tmp_path / "s.sock"
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(path))
            stack.enter_context(
                SocketmapListener({"m": lookup}, [listener], connections_max=_LIMIT)
            )
            return path

        yield listen


def test_who_only_asks_and_never_reads_is_not_buffered_for(
    listening: Callable[[Lookup], Path],
) -> None:
    """Questions wait in the peer's own socket, once the replies to it do."""
    asked: list[str] = []

    def lookup(key: str) -> str:
        asked.append(key)
        return "x" * 900

    path = listening(lookup)
    with Peer(path) as rude, Peer(path) as polite:
        rude.flood(encode(b"m k" + b" " * 900))
        count = -1
        while count < len(asked):  # what was sent is being read
            count = len(asked)
            time.sleep(1)
        assert "OK " + "x" * 900 == polite.ask("k", "m")

        assert len(asked) <= count + 1 < 5_000


def test_a_slow_lookup_does_not_hold_up_the_others_and_is_given_up(
    listening: Callable[[Lookup], Path],
) -> None:
    """After five seconds Postfix hears that it shall defer."""
    release = threading.Event()

    def lookup(key: str) -> str | None:
        if key == "slow":
            release.wait(60)
        return key

    path = listening(lookup)
    with Peer(path) as slow, Peer(path) as quick:
        began = time.monotonic()
        slow.send(encode(b"m slow"))
        assert "OK quick" == quick.ask("quick", "m")
        # Before the slow one is given up.
        assert time.monotonic() - began < 5
        assert b"TEMP the database takes too long" == slow.reply()
        release.set()
        assert "OK quick" == slow.ask("quick", "m")


def test_one_too_many_is_turned_away(listening: Callable[[Lookup], Path]) -> None:
    """And when others have gone there is room again."""
    path = listening(lambda key: key)
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(path)) for _ in range(_LIMIT)]
        assert {"OK k"} == {peer.ask("k", "m") for peer in peers}
        with Peer(path) as late:
            assert b"" == late.reply()

    def has_room() -> bool:
        with Peer(path) as peer:
            try:
                return peer.ask("k", "m") == "OK k"
            except OSError:
                return False

    wait_until(has_room, "room again")
