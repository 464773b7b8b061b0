"""Client certificates over the real service and the operator's command, used by openssl."""

import json
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from client_certificates import colons, openssl, passphrase_file, request, verify
from keyservice.client import ClientCertificateRequest, Mailbox, ServiceRefused
from keyservice_process import KeyServiceProcess, wait_until
from letterlock.cli import main
from ports import free_port

ALICE = Mailbox.parse("alice@example.org")
GENERATED = ClientCertificateRequest()


class Service(KeyServiceProcess):
    """A key service that can have authorities, and tells Postfix of them in a file."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.passphrase = passphrase_file(directory)
        self.trusted = directory / "client-ca.pem"
        section = {
            "name": "Example Org",
            "passphrase_file": str(self.passphrase),
            "trusted_file": str(self.trusted),
        }
        super().__init__(directory, sections={"client_ca": section})

    def letterlock(self, *words: str | Path, typed: str = "") -> Result:
        """Run the operator's command about client certificates."""
        arguments = ["client-certificate", *map(str, words), "--service", self.url]
        return CliRunner().invoke(main, arguments, input=typed)

    def done(self, *words: str | Path, typed: str = "") -> str:
        """The same, which succeeds; return what it wrote to stdout."""
        result = self.letterlock(*words, typed=typed)
        assert result.exit_code == 0, result.output
        return result.stdout


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One with an authority, made by the operator."""
    with Service(tmp_path_factory.mktemp("k")) as service:
        assert re.fullmatch(
            r"created Example Org client CA [0-9a-f]{8}\n", service.done("ca", "create")
        )
        yield service


@pytest.fixture
def http(service: Service) -> Iterator[httpx.Client]:
    """A stranger that speaks HTTP over the socket."""
    transport = httpx.HTTPTransport(uds=str(service.socket))
    with httpx.Client(transport=transport, base_url="http://k") as client:
        yield client


def fingerprint_of(path: Path) -> str:
    """Return what openssl shows, which Postfix asks for."""
    shown = openssl("x509", "-noout", "-fingerprint", "-sha256", "-in", path).decode()
    return shown.strip().rpartition("=")[2]


def handshake(service: Service, directory: Path, certificate: Path, private_key: Path) -> str:
    """Let openssl connect as a client with a certificate, to a server that verifies it."""
    server = directory / "server.pem"
    options = "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=mx -keyout"
    openssl(*options.split(), server.with_suffix(".key"), "-out", server)
    port = free_port()
    command = f"openssl s_server -accept 127.0.0.1:{port} -Verify 1 -verify_return_error".split()
    command += ["-CAfile", service.trusted, "-cert", server, "-key", server.with_suffix(".key")]
    log = directory / "s_server.log"
    with log.open("wb") as output:
        # At the end of its standard input it would end the connection.
        running = subprocess.Popen(
            [*command, "-naccept", "1"], stdin=subprocess.PIPE, stdout=output, stderr=output
        )
    try:
        wait_until(lambda: b"ACCEPT" in log.read_bytes(), "s_server up")
        client = f"openssl s_client -connect 127.0.0.1:{port} -cert".split()
        subprocess.run(
            [*client, certificate, "-key", private_key],
            input=b"Q\n",
            capture_output=True,
            timeout=60,
            check=False,
        )
        running.wait(60)
    finally:
        running.kill()
        running.communicate()
    return log.read_text(errors="replace")


@pytest.mark.parametrize("made_by", ["service", "owner"])
def test_a_server_that_verifies_chains_takes_it(
    service: Service, tmp_path: Path, made_by: str
) -> None:
    """As Postfix does, with the file that the key service wrote for it."""
    out = tmp_path / "alice.pem"
    private_key = out
    words: list[str | Path] = ["issue", "alice@example.org", "--out", out]
    if made_by == "owner":
        wanted = request(tmp_path)
        private_key = wanted.with_suffix(".key")
        words += ["--request", wanted]

    told = service.done(*words)

    assert f"SHA-256 {fingerprint_of(out)}\n" in told
    assert "OK" == verify(service.trusted.read_text(), out.read_text(), tmp_path)
    assert (made_by == "service") == ("PRIVATE KEY" in out.read_text())
    assert 0o600 == stat.S_IMODE(out.stat().st_mode)
    log = handshake(service, tmp_path, out, private_key)
    assert "verify return:1" in log
    assert "depth=0 CN = alice@example.org" in log
    assert "verify error" not in log


def test_a_server_does_not_take_one_of_a_retired_authority(tmp_path: Path) -> None:
    """It is not in the file any more; the one after it is."""
    with Service(tmp_path / "k") as service:
        calls = service.operator.client_certificates
        name = calls.create_authority().authorities[0].name
        service.done("issue", "alice@example.org", "--out", tmp_path / "alice.pem")
        calls.create_authority()

        told = service.done("ca", "retire", name, typed="y\n")

        assert f"retired {name}\n" in told
        log = handshake(service, tmp_path, tmp_path / "alice.pem", tmp_path / "alice.pem")
        assert "unable to get local issuer certificate" in log


def test_pkcs12_for_mail_clients(service: Service, tmp_path: Path) -> None:
    """Under a password that is told once, or that the operator types."""
    made, typed = tmp_path / "made.p12", tmp_path / "typed.p12"
    told = service.done("issue", "alice@example.org", "--pkcs12", made)
    password = told.rpartition("Password: ")[2].strip()
    service.done(
        *("issue", "alice@example.org", "--pkcs12", typed, "--ask-password"),
        typed="correct horse\ncorrect horse\n",
    )

    assert re.fullmatch("[0-9A-Za-z]{22}", password)
    for path, secret in ((made, password), (typed, "correct horse")):
        opened = openssl("pkcs12", "-in", path, "-passin", f"pass:{secret}", "-nodes").decode()
        assert "friendlyName: alice@example.org" in opened
        assert "BEGIN PRIVATE KEY" in opened
        assert 0o600 == stat.S_IMODE(path.stat().st_mode)


def test_a_file_that_is_there_is_never_overwritten(service: Service, tmp_path: Path) -> None:
    """It may hold the only copy of a private key. Nothing is issued then."""
    out = tmp_path / "alice.pem"
    out.write_text("precious")
    before = len(list(service.operator.client_certificates.listed()))

    result = service.letterlock("issue", "alice@example.org", "--out", out)

    assert (os.EX_USAGE, "precious") == (result.exit_code, out.read_text())
    assert before == len(list(service.operator.client_certificates.listed()))


def test_what_is_refused_leaves_no_file(service: Service, tmp_path: Path) -> None:
    """Exit status 1, and the reason."""
    out = tmp_path / "x.pem"

    result = service.letterlock("issue", "alice@example.net", "--out", out)

    assert (1, False) == (result.exit_code, out.exists())
    assert "outside_domain" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["issue", "alice@example.org"],
        ["issue", "alice@example.org", "--out", "a", "--pkcs12", "b"],
        ["issue", "alice@example.org", "--out", "a", "--ask-password"],
        ["revoke"],
        ["revoke", "00:11"],
        ["revoke", "00" * 32, "--all", "alice@example.org"],
        ["renew"],
    ],
)
def test_what_makes_no_sense_is_a_usage_error(service: Service, words: list[str]) -> None:
    """Before anything is asked."""
    assert os.EX_USAGE == service.letterlock(*words).exit_code


def test_listed_renewed_and_revoked(service: Service, tmp_path: Path) -> None:
    """By the fingerprint as openssl and Postfix show it."""
    out = tmp_path / "bob.pem"
    service.done("issue", "bob@example.org", "--out", out)
    shown = fingerprint_of(out)
    renewed = service.done("renew", shown)

    assert "PRIVATE" not in renewed
    assert "OK" == verify(service.trusted.read_text(), renewed, tmp_path)
    lines = [x for x in service.done("list", "bob@example.org").splitlines() if "bob@" in x]
    assert ["in force", "in force"] == [x.split("   ")[1].strip() for x in lines]
    assert shown in "".join(lines)
    assert "" == service.done("list", "bob@example.org", "--expiring", "30")
    assert shown in service.done("list", "bob@example.org", "--expiring", "400")

    revoked = service.done("revoke", shown)

    assert f"bob@example.org: revoked {shown}\n" in revoked
    assert 2 == len(revoked.splitlines())
    listed = json.loads(service.done("list", "bob@example.org", "--json"))
    assert ["revoked", "revoked"] == [each["state"] for each in listed]
    assert 1 == service.letterlock("renew", shown).exit_code


def test_who_leaves_loses_all_of_them(service: Service, tmp_path: Path) -> None:
    """One command, and the others' stay."""
    for device in ("laptop", "telephone"):
        service.done("issue", "carol@example.org", "--out", tmp_path / device)
    service.done("issue", "dave@example.org", "--out", tmp_path / "dave")

    revoked = service.done("revoke", "--all", "carol@example.org")

    assert 2 == len(revoked.splitlines())
    assert "in force" not in service.done("list", "carol@example.org")
    assert "in force" in service.done("list", "dave@example.org")
    assert "" == service.done("revoke", "--all", "carol@example.org")


def test_the_history_of_the_mailbox_tells(service: Service, tmp_path: Path) -> None:
    """Beside what happened to its OpenPGP certificates."""
    service.done("issue", "erin@example.org", "--out", tmp_path / "erin.pem")
    mailbox = Mailbox.parse("erin@example.org")

    (event,) = service.operator.explain(mailbox).events

    assert "client_issued" == event.kind
    assert fingerprint_of(tmp_path / "erin.pem") == colons(event.fingerprint or "")


def test_the_authorities_are_listed_and_exported(service: Service, tmp_path: Path) -> None:
    """What is exported is what Postfix reads."""
    out = tmp_path / "trusted.pem"
    listed = service.done("ca", "list")
    service.done("ca", "export", "--out", out)

    assert re.search(r"Example Org client CA [0-9a-f]{8} +issues ", listed)
    assert service.trusted.read_text() == out.read_text() == service.done("ca", "export")


def test_retiring_asks_first(service: Service) -> None:
    """It says how many end with it; no is no."""
    name = service.operator.client_certificates.authorities().authorities[0].name

    result = service.letterlock("ca", "retire", name, typed="n\n")

    assert 1 == result.exit_code
    assert re.search(r"\d+ client certificates end with Example Org", result.stderr)
    (authority,) = service.operator.client_certificates.authorities().authorities
    assert authority.issues


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "error"),
    [
        ("POST", "/v1/mailboxes/a@example.net/client-certificates", b"{}", 422, "outside_domain"),
        ("POST", "/v1/mailboxes/nobody/client-certificates", b"{}", 400, "invalid_mailbox"),
        (
            "POST",
            f"/v1/mailboxes/{'a' * 60}@example.org/client-certificates",
            b"{}",
            422,
            "unsuitable_address",
        ),
        (
            "POST",
            "/v1/mailboxes/%C3%A4@example.org/client-certificates",
            b"{}",
            422,
            "unsuitable_address",
        ),
        (
            "POST",
            "/v1/mailboxes/a@example.org/client-certificates",
            b'{"request": "cnViYmlzaA=="}',
            422,
            "unsuitable_request",
        ),
        (
            "POST",
            "/v1/mailboxes/a@example.org/client-certificates",
            b'{"pkcs12_password": "short"}',
            400,
            "bad_request",
        ),
        ("POST", "/v1/mailboxes/a@example.org/client-certificates", b"{", 400, "bad_request"),
        ("DELETE", f"/v1/client-certificates/{'0' * 64}", b"", 404, "no_such_certificate"),
        ("POST", f"/v1/client-certificates/{'0' * 64}/renewal", b"", 404, "no_such_certificate"),
        ("DELETE", "/v1/client-certificates/%FF", b"", 404, "no_such_certificate"),
        ("GET", "/v1/client-certificates?limit=0", b"", 400, "bad_request"),
        ("GET", "/v1/client-certificates?mailbox=nobody", b"", 400, "invalid_mailbox"),
        ("DELETE", "/v1/client-cas/no%20such", b"", 404, "no_such_ca"),
    ],
)
def test_errors_are_typed(
    http: httpx.Client, method: str, path: str, content: bytes, status: int, error: str
) -> None:
    """A word for programs and a sentence for people."""
    reply = http.request(method, path, content=content)

    assert (status, error) == (reply.status_code, reply.json()["error"])
    assert {"error", "reason"} == set(reply.json())


def test_it_starts_locked_and_unlocks_later(tmp_path: Path) -> None:
    """Without the passphrase it serves; issuing says why not, and works when it is there again."""
    with Service(tmp_path / "k") as service:
        calls = service.operator.client_certificates
        calls.create_authority()
        issued = calls.issue(ALICE, GENERATED)
        secret = service.passphrase.read_bytes()
        service.stop()
        service.passphrase.unlink()
        service.trusted.unlink()
        service.start()

        for attempt in (lambda: calls.issue(ALICE, GENERATED), calls.create_authority):
            with pytest.raises(ServiceRefused, match="passphrase_file") as caught:
                attempt()
            assert "ca_locked" == caught.value.error
        assert service.trusted.exists()
        calls.revoke(issued.fingerprint)
        service.passphrase.write_bytes(secret)
        service.passphrase.chmod(0o600)
        assert calls.issue(ALICE, GENERATED)
        log = service.log.read_text()
    assert "Traceback" not in log
    assert '"event": "failed"' not in log


def test_nothing_secret_is_in_the_log(service: Service, tmp_path: Path) -> None:
    """No private key, no password, no passphrase."""
    issued = service.operator.client_certificates.issue(ALICE, GENERATED)
    service.done(
        *("issue", "alice@example.org", "--pkcs12", tmp_path / "a.p12", "--ask-password"),
        typed="swordfish!\nswordfish!\n",
    )

    log = service.log.read_text()

    assert issued.fingerprint in log
    assert "PRIVATE" not in log
    assert "swordfish" not in log
    assert service.passphrase.read_text().strip() not in log
