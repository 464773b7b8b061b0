"""Other people's programs find what is published: gpg with dirmngr, gpg-wks-client, sq, rnp.

Those that insist on https and port 443 run in a network of their own, see `tls_front`.
"""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from certificates import ALICE, Made, gallery, revoked, sequoia
from keyservice.certificate import RejectedCertificate
from keyservice.packets import fingerprint, split
from keyservice.public.limits import Limits
from keyservice_process import RedisProcess
from openpgp_tools import run, sq_decrypt
from public_listener import SECRET, PublicService, public_service
from tls_front import TLSFront

ADDRESS = "alice@example.org"
DIRECT, ADVANCED = "example.org", "openpgpkey.example.org"
NOON = 1_800_000_000.0
WKS_CLIENT = "/usr/lib/gnupg/gpg-wks-client"


class Correspondent:
    """Somebody with gpg, who never heard of Alice."""

    def __init__(self, home: Path) -> None:
        self.home = home
        # dirmngr would ask the DNS; the system's resolver reads /etc/hosts.
        (home / "dirmngr.conf").write_text("standard-resolver\n")

    def command(self, *arguments: str) -> list[str]:
        """Return how gpg is called."""
        options = ["--homedir", str(self.home), "--batch", "--no-tty", "--trust-model", "always"]
        return ["gpg", *options, *arguments]

    def gpg(self, *arguments: str, octets: bytes = b"") -> bytes:
        """Run gpg on this host."""
        return run(self.command(*arguments), octets)

    def known(self) -> dict[str, list[str]]:
        """Return the certificates he has: fingerprint, and validity and user ID of each."""
        certificates: dict[str, list[str]] = {}
        listing = self.gpg("--with-colons", "--list-keys").decode()
        for fields in (line.split(":") for line in listing.splitlines()):
            match fields[0]:
                case "pub":
                    user_ids: list[str] = []
                    is_new = True
                case "fpr" if is_new:
                    certificates[fields[9].lower()] = user_ids
                    is_new = False
                case "uid":
                    user_ids.append(f"{fields[1]} {fields[9]}")
        return certificates


@pytest.fixture
def correspondent() -> Iterator[Correspondent]:
    """One whose daemons end with the test."""
    # Not pytest's directory: the sockets of the agent and of dirmngr need a short path.
    with tempfile.TemporaryDirectory(prefix="ll-gpg-", ignore_cleanup_errors=True) as home:
        yield Correspondent(Path(home))
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True, timeout=60)


@pytest.fixture(scope="module")
def alice() -> Made:
    """Alice's certificate, which names Bob's mailbox, too."""
    return sequoia(ALICE, "Bob <bob@example.org>")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, alice: Made) -> Iterator[PublicService]:
    """One that publishes Alice's certificate for her mailbox only."""
    with public_service(tmp_path_factory.mktemp("public")) as service:
        service.enrol(ADDRESS, alice.certificate)
        yield service


@pytest.fixture
def front(service: PublicService, tmp_path: Path) -> TLSFront:
    """The names that both methods of the directory need."""
    return TLSFront(tmp_path, service.socket, [DIRECT, ADVANCED])


def identity(certificate: bytes) -> str:
    """Return the fingerprint of a certificate."""
    return fingerprint(split(certificate)[0])


@pytest.mark.parametrize("names", [[DIRECT, ADVANCED], [DIRECT]], ids=["advanced", "direct"])
def test_gpg_finds_it_in_the_directory_and_writes_to_it(
    service: PublicService,
    correspondent: Correspondent,
    alice: Made,
    names: list[str],
    tmp_path: Path,
) -> None:
    """By the address alone; he learns no other mailbox; what he encrypts, Alice can read."""
    locate = ["--auto-key-locate", "clear,wkd", "--locate-external-keys", ADDRESS]
    done = TLSFront(tmp_path, service.socket, names).run(correspondent.command(*locate))
    assert 0 == done.returncode, done.stderr.decode()

    message = correspondent.gpg("--encrypt", "--recipient", ADDRESS, octets=b"for Alice")
    secret = tmp_path / "secret"
    secret.write_bytes(alice.secret)

    assert {identity(alice.certificate): [f"- {ALICE}"]} == correspondent.known()
    assert b"for Alice" == sq_decrypt(message, secret)


def test_gpg_learns_that_there_is_none(front: TLSFront, correspondent: Correspondent) -> None:
    """Bob's mailbox is in the certificate, but nobody enrolled it."""
    locate = ["--auto-key-locate", "clear,wkd", "--locate-external-keys", "bob@example.org"]
    done = front.run(correspondent.command(*locate))

    assert 2 == done.returncode
    assert {} == correspondent.known()


def test_the_directory_passes_the_check_of_gpg_wks_client(
    front: TLSFront, correspondent: Correspondent, alice: Made
) -> None:
    """GnuPG's own judge of directories; that it supports no updates yet, it says as well."""
    home = str(correspondent.home)
    check = front.run([WKS_CLIENT, "--verbose", "--check", ADDRESS], GNUPGHOME=home)
    missing = front.run([WKS_CLIENT, "--check", "nobody@example.org"], GNUPGHOME=home)
    supported = front.run([WKS_CLIENT, "--supported", ADDRESS], GNUPGHOME=home)

    assert 0 == check.returncode, check.stderr.decode()
    assert f"fingerprint: {identity(alice.certificate).upper()}" in check.stderr.decode()
    assert [1, 1] == [missing.returncode, supported.returncode]


def test_sq_finds_it_in_the_directory(front: TLSFront, alice: Made, tmp_path: Path) -> None:
    """Sequoia's client verifies that the user ID is there."""
    found = front.run(["sq", "wkd", "get", "--binary", ADDRESS])

    assert 0 == found.returncode, found.stderr.decode()
    assert identity(alice.certificate) == identity(found.stdout)
    assert b"bob@" not in found.stdout


@pytest.mark.parametrize("digits", [40, 16])
def test_gpg_receives_it_from_the_keyserver(
    service: PublicService, correspondent: Correspondent, alice: Made, digits: int
) -> None:
    """By fingerprint and by key ID."""
    number = identity(alice.certificate)
    keyserver = ("--keyserver", f"hkp://127.0.0.1:{service.port}")
    correspondent.gpg(*keyserver, "--recv-keys", number[-digits:])

    assert {number: [f"- {ALICE}"]} == correspondent.known()


def test_gpg_searches_the_keyserver(
    service: PublicService, correspondent: Correspondent, alice: Made
) -> None:
    """The index is read as it was meant."""
    keyserver = ("--keyserver", f"hkp://127.0.0.1:{service.port}")
    search = correspondent.command(*keyserver, "--with-colons", "--search-keys", ADDRESS)
    listing = subprocess.run(search, capture_output=True, timeout=60, check=False).stdout.decode()
    lines = [line.split(":") for line in listing.splitlines()]

    assert ["info", "pub", "uid"] == [fields[0] for fields in lines]
    assert identity(alice.certificate).upper() == lines[1][1]


def test_gpg_learns_of_a_revocation(service: PublicService, correspondent: Correspondent) -> None:
    """From the keyserver, when he refreshes what he has."""
    carol = sequoia("carol@example.org")
    number = service.enrol("carol@example.org", carol.certificate)
    keyserver = ("--keyserver", f"hkp://127.0.0.1:{service.port}")
    correspondent.gpg(*keyserver, "--recv-keys", number)
    before = correspondent.known()
    with suppress(RejectedCertificate):
        service.enrol("carol@example.org", revoked(carol))
    correspondent.gpg(*keyserver, "--refresh-keys")

    assert {number: ["- carol@example.org"]} == before
    assert {number: ["r carol@example.org"]} == correspondent.known()


def test_sq_gets_it_from_the_keyserver(service: PublicService, alice: Made) -> None:
    """By fingerprint, key ID and address."""
    number = identity(alice.certificate)
    keyserver = ["sq", "keyserver", "--policy", "insecure"]
    keyserver += ["--server", f"hkp://127.0.0.1:{service.port}", "get", "--binary"]

    for query in (number, number[-16:], ADDRESS):
        assert number == identity(run([*keyserver, query]))


@pytest.mark.parametrize("name", ["gnupg", "nist_p256", "rsa2048", "alice"])
def test_every_program_reads_what_is_published(
    correspondent: Correspondent, tmp_path: Path, name: str
) -> None:
    """gpg, sq and rnp, whoever made the certificate."""
    with public_service(tmp_path) as service:
        number = service.enrol(ADDRESS, gallery()[name])
        octets = httpx.get(f"{service.url}/vks/v1/by-email/alice%40example.org").content
    path = tmp_path / "published"
    path.write_bytes(octets)
    correspondent.gpg("--import", str(path))

    assert {number: [f"- {ALICE}"]} == correspondent.known()
    assert number.upper() in run(["sq", "inspect", str(path)]).decode()
    home = tmp_path / "rnp"
    home.mkdir(mode=0o700)
    assert number in run(["rnpkeys", "--homedir", str(home), "--import", str(path)]).decode()


def test_all_instances_count_together_in_redis(tmp_path: Path) -> None:
    """What they leave there names nobody and ends by itself; without Redis they go on."""
    with RedisProcess(tmp_path) as server, server.client() as client:
        instances = [Limits(3, client, SECRET, lambda: NOON) for _ in range(2)]
        waits = [instances[n % 2].wait("192.0.2.1") > 0 for n in range(6)]
        names = client.keys()
        lifetimes = [client.ttl(name) for name in names]
        server.stop()
        alone = [Limits(3, client, SECRET, lambda: NOON).wait("192.0.2.1") for _ in range(2)]

    assert [False] * 3 + [True] * 3 == waits
    assert names
    assert not any(b"192.0.2" in name for name in names)
    assert all(0 < lifetime <= 120 for lifetime in lifetimes)
    assert [0, 0] == alone
