"""The life of client certificates and authorities, and what Postfix is told at each moment."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text

from client_certificates import PASSPHRASE, colons, passphrase_file, request
from keyservice import report, schema
from keyservice.client_ca import store
from keyservice.client_ca.authorities import Authorities
from keyservice.client_ca.certificates import ClientCertificates
from keyservice.client_ca.errors import (
    CALocked,
    KeyTaken,
    NoAuthority,
    NoSuchAuthority,
    NoSuchCertificate,
    Revoked,
    UnsuitableRequest,
)
from keyservice.client_ca.maps import FingerprintMaps
from keyservice.client_certificate_wire import (
    ClientCertificateRequest,
    ClientCertificateState,
    IssuedClientCertificate,
)
from keyservice.config import ClientCASection
from keyservice.database import Database
from keyservice.errors import OutsideDomain
from keyservice.mailbox import Mailbox
from keyservice.socketmap import BadKey

ALICE = Mailbox.parse("alice@example.org")
BOB = Mailbox.parse("bob@example.org")
START = 1_800_000_000
DAY = 86_400
GENERATED = ClientCertificateRequest()


class World:
    """A database, a clock that stands still, and all that works on them."""

    def __init__(self, directory: Path) -> None:
        self.now = float(START)
        self.directory = directory
        self.domains = {"example.org"}
        self.database = Database(directory / "k.sqlite")
        self.passphrase = passphrase_file(directory)
        self.trusted = directory / "trusted.pem"
        section = ClientCASection(
            name="Example Org",
            passphrase_file=str(self.passphrase),
            trusted_file=str(self.trusted),
        )
        self.authorities = Authorities(self.database, section, self.clock)
        self.certificates = ClientCertificates(
            self.database, self.authorities, self.domains, 12, self.clock
        )
        self.maps = FingerprintMaps(self.database, self.domains, self.clock)

    def clock(self) -> float:
        return self.now

    def issue(self, mailbox: Mailbox = ALICE) -> IssuedClientCertificate:
        return self.certificates.issue(mailbox, GENERATED)

    def create(self) -> str:
        """Make an authority; return its name."""
        return self.authorities.create().authorities[0].name

    def issuers(self, mailbox: Mailbox = ALICE) -> tuple[str, ...]:
        with self.database.reading() as connection:
            return store.issuers_in_force(connection, mailbox, self.now)

    def told(self, issued: IssuedClientCertificate) -> tuple[str | None, str | None]:
        """Return what Postfix hears about a certificate in both maps."""
        key = colons(issued.fingerprint)
        return self.maps.address(key), self.maps.action(key)

    def states(self) -> dict[str, ClientCertificateState]:
        page = self.certificates.page("", 500)
        return {each.fingerprint: each.state for each in page.certificates}

    def events(self, mailbox: Mailbox = ALICE) -> list[tuple[str, str | None]]:
        with self.database.reading() as connection:
            return [(e.kind, e.fingerprint) for e in report.events(connection, mailbox)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Nothing is there yet."""
    world = World(tmp_path)
    yield world
    world.database.close()


@pytest.fixture
def name(world: World) -> str:
    """The name of the one authority."""
    return world.create()


IN_FORCE = ("alice@example.org", "OK")


def test_issued_it_is_in_force_and_revoked_it_is_not(world: World, name: str) -> None:
    """At the next question, without a restart; the mailbox' history tells both."""
    issued = world.issue()
    assert IN_FORCE == world.told(issued)
    assert (name,) == world.issuers()

    revoked = world.certificates.revoke(issued.fingerprint)

    assert (None, "REJECT 5.7.1 this client certificate was revoked") == world.told(issued)
    assert () == world.issuers()
    assert (issued.fingerprint,) == revoked.fingerprints
    events = [("client_revoked", issued.fingerprint), ("client_issued", issued.fingerprint)]
    assert events == world.events()


def test_revoking_twice_is_revoking_once(world: World, name: str) -> None:
    """It says so again, and the history does not."""
    issued = world.issue()
    once = world.certificates.revoke(issued.fingerprint)
    world.now += DAY

    assert once == world.certificates.revoke(issued.fingerprint)
    assert 2 == len(world.events())
    assert START == world.certificates.page("", 9).certificates[0].revoked_at


def test_a_mailbox_can_have_several(world: World, name: str) -> None:
    """One for each device; revoking one leaves the others."""
    first, second = world.issue(), world.issue()
    world.certificates.revoke(first.fingerprint)

    assert IN_FORCE == world.told(second)
    assert (name,) == world.issuers()


def test_one_address_each(world: World, name: str) -> None:
    """A certificate is for its mailbox, not for its neighbour, nor for an extension of it."""
    world.issue(BOB)

    assert () == world.issuers(ALICE)
    assert () == world.issuers(Mailbox.parse("bob+x@example.org"))
    assert (name,) == world.issuers(Mailbox.parse("BOB@EXAMPLE.ORG"))


def test_it_ends_by_itself(world: World, name: str) -> None:
    """To the second."""
    issued = world.issue()
    world.now = issued.not_after - 1
    assert IN_FORCE == world.told(issued)

    world.now += 1

    assert (None, "REJECT 5.7.1 this client certificate has ended") == world.told(issued)
    assert () == world.issuers()
    assert {issued.fingerprint: ClientCertificateState.ENDED} == world.states()


def test_a_domain_that_is_given_up_takes_its_certificates_with_it(world: World, name: str) -> None:
    """Mail for it would not be ours to send."""
    issued = world.issue()
    world.domains.clear()

    assert (None, "REJECT 5.7.1 this client certificate is not trusted any more") == world.told(
        issued
    )
    with pytest.raises(OutsideDomain):
        world.issue()
    with pytest.raises(OutsideDomain):
        world.certificates.renew(issued.fingerprint)


def test_renewed_both_are_in_force(world: World, name: str) -> None:
    """For the same key, so that its owner has to change one file only, when he likes."""
    old = world.issue()
    world.now += 300 * DAY

    new = world.certificates.renew(old.fingerprint)

    assert new.not_after > old.not_after
    assert new.private_key is None
    assert [IN_FORCE, IN_FORCE] == [world.told(old), world.told(new)]
    assert ("client_renewed", new.fingerprint) == world.events()[0]


def test_a_key_that_was_revoked_does_not_come_back(world: World, name: str, tmp_path: Path) -> None:
    """Perhaps somebody has stolen it: all its certificates end, and there are no new ones."""
    wanted = ClientCertificateRequest(request=request(tmp_path).read_bytes())
    old = world.certificates.issue(ALICE, wanted)
    new = world.certificates.renew(old.fingerprint)

    revoked = world.certificates.revoke(new.fingerprint)

    assert {old.fingerprint, new.fingerprint} == set(revoked.fingerprints)
    assert (None, None) == (world.told(old)[0], world.told(new)[0])
    with pytest.raises(KeyTaken):
        world.certificates.issue(ALICE, wanted)
    with pytest.raises(Revoked):
        world.certificates.renew(old.fingerprint)


def test_a_key_is_for_one_mailbox(world: World, name: str, tmp_path: Path) -> None:
    """Who steals it must not become two people."""
    wanted = ClientCertificateRequest(request=request(tmp_path).read_bytes())
    world.certificates.issue(ALICE, wanted)

    with pytest.raises(KeyTaken):
        world.certificates.issue(BOB, wanted)

    assert [] == world.events(BOB)


def test_no_private_key_is_stored(world: World, name: str) -> None:
    """Neither the one that was handed out, nor the authority's in the clear."""
    issued = world.issue()
    assert issued.private_key is not None
    with world.database.writing() as connection:
        connection.execute(text("SELECT 1"))  # what is in the write-ahead log counts, too
    stored = b"".join(path.read_bytes() for path in world.directory.glob("k.sqlite*"))

    assert issued.fingerprint.encode() in stored
    assert b"BEGIN PRIVATE KEY" not in stored
    assert issued.private_key.splitlines()[1].encode() not in stored
    assert PASSPHRASE not in stored


def test_a_request_s_key_cannot_be_handed_out(world: World, name: str, tmp_path: Path) -> None:
    """It is not here."""
    octets = request(tmp_path).read_bytes()
    wanted = ClientCertificateRequest(request=octets, pkcs12_password="password")

    with pytest.raises(UnsuitableRequest):
        world.certificates.issue(ALICE, wanted)
    assert world.certificates.issue(ALICE, ClientCertificateRequest(request=octets))


def test_the_newest_authority_issues_and_the_older_ones_stay_trusted(
    world: World, name: str
) -> None:
    """So that the key can be replaced without anybody noticing."""
    old = world.issue()
    newer = world.create()
    new = world.issue()

    assert (name, newer) == (old.issuer, new.issuer)
    assert (newer, name) == world.issuers()
    assert [IN_FORCE, IN_FORCE] == [world.told(old), world.told(new)]
    shown = world.authorities.show()
    assert [(newer, True, 1), (name, False, 1)] == [
        (ca.name, ca.issues, ca.certificates) for ca in shown.authorities
    ]
    assert old.ca_certificate in shown.trusted
    assert new.ca_certificate in shown.trusted


def test_a_retired_authority_takes_all_with_it(world: World, name: str) -> None:
    """What it issued, its place in Postfix' file, and its private key; the other one goes on."""
    old = world.issue()
    newer = world.create()
    new = world.issue()

    shown = world.authorities.retire(name)

    assert (None, "REJECT 5.7.1 this client certificate is not trusted any more") == world.told(old)
    assert IN_FORCE == world.told(new)
    assert (newer,) == world.issuers()
    assert new.ca_certificate == shown.trusted == world.trusted.read_text()
    with world.database.reading() as connection:
        ca = schema.client_ca
        assert [None] == list(connection.scalars(select(ca.c.private_key).where(ca.c.name == name)))
    with pytest.raises(NoSuchAuthority):
        world.authorities.retire(name)


def test_when_the_newest_is_retired_the_one_before_issues(world: World, name: str) -> None:
    """One that was made by mistake does no harm."""
    world.authorities.retire(world.create())

    assert name == world.issue().issuer


def test_without_an_authority_nothing_is_issued(world: World) -> None:
    """And the operator reads what to do."""
    with pytest.raises(NoAuthority, match="ca create"):
        world.issue()

    assert [] == world.events()


def test_an_authority_that_has_ended_neither_issues_nor_counts(world: World, name: str) -> None:
    """After ten years."""
    world.now = world.authorities.show().authorities[0].not_after - DAY
    issued = world.issue()
    world.now += DAY

    assert () == world.issuers()
    assert world.told(issued)[0] is None
    with pytest.raises(NoAuthority):
        world.issue()
    assert "" == world.authorities.show().trusted


@pytest.mark.parametrize("fault", ["gone", "other", "short", "public", "empty"])
def test_locked_it_issues_nothing_and_all_else_goes_on(world: World, name: str, fault: str) -> None:
    """Verification, renewal's refusal, revocation, the list, retirement; and it unlocks again."""
    issued, other = world.issue(), world.issue()
    content = {"gone": None, "other": b"y" * 40, "short": b"y", "public": PASSPHRASE, "empty": b""}
    world.passphrase.unlink()
    if content[fault] is not None:
        passphrase_file(world.directory, content[fault])  # type: ignore[arg-type]
    if fault == "public":
        world.passphrase.chmod(0o644)

    for attempt in (world.issue, lambda: world.certificates.renew(issued.fingerprint)):
        with pytest.raises(CALocked, match="passphrase_file") as caught:
            attempt()
        assert "yyy" not in str(caught.value)

    world.certificates.revoke(other.fingerprint)
    assert IN_FORCE == world.told(issued)
    assert world.told(other)[0] is None
    assert (name,) == world.issuers()
    passphrase_file(world.directory).chmod(0o600)
    assert world.issue()


def test_an_authority_that_was_retired_meanwhile_issues_nothing(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between unlocking and storing."""
    unlock = world.authorities.unlock_issuing

    def slow() -> object:
        unlocked = unlock()
        world.authorities.retire(name)
        return unlocked

    monkeypatch.setattr(world.authorities, "unlock_issuing", slow)
    with pytest.raises(NoAuthority):
        world.issue()
    assert {} == world.states()


def test_what_is_not_there_cannot_be_revoked_or_renewed(world: World, name: str) -> None:
    """The operator mistyped it."""
    for attempt in (world.certificates.revoke, world.certificates.renew):
        with pytest.raises(NoSuchCertificate):
            attempt("0" * 64)


def test_the_list_comes_in_pages_and_can_be_narrowed(world: World, name: str) -> None:
    """By mailbox, and by when they end."""
    fingerprints = sorted(world.issue(who).fingerprint for who in (ALICE, BOB, ALICE))
    first = world.certificates.page("", 2)
    rest = world.certificates.page(first.next or "", 2)

    listed = [each.fingerprint for each in (*first.certificates, *rest.certificates)]
    assert (fingerprints, None) == (listed, rest.next)
    assert 2 == len(world.certificates.page("", 9, ALICE).certificates)
    assert 0 == len(world.certificates.page("", 9, ending=360).certificates)
    assert 3 == len(world.certificates.page("", 9, ending=400).certificates)


def test_postfix_file_is_replaced_as_a_whole(world: World, name: str) -> None:
    """Readable for everybody; who has it open goes on with what he has."""
    with world.trusted.open() as reader:
        world.create()
        before, after = reader.read(), world.trusted.read_text()

    assert (1, 2) == (before.count("BEGIN CERT"), after.count("BEGIN CERT"))
    assert 0o644 == stat.S_IMODE(world.trusted.stat().st_mode)
    assert ["trusted.pem"] == [p.name for p in world.directory.glob("*trusted.pem*")]


def test_postfix_file_is_never_empty(world: World, name: str) -> None:
    """Postfix would switch TLS off; what was retired is not in force by the maps."""
    before = world.trusted.read_text()
    issued = world.issue()

    shown = world.authorities.retire(name)

    assert ("", None) == (shown.trusted, shown.file_problem)
    assert before == world.trusted.read_text()
    assert world.told(issued)[0] is None


def test_a_file_that_cannot_be_written_hinders_nothing_else(world: World, name: str) -> None:
    """The operator reads why, and the authority is there."""
    world.trusted.unlink()
    world.trusted.mkdir()

    shown = world.authorities.create()

    assert "trusted_file" in (shown.file_problem or "")
    assert 2 == len(shown.authorities)
    assert [] == [p for p in os.listdir(world.directory) if p.startswith(".trusted")]


@pytest.mark.parametrize(
    "key",
    ["", "alice@example.org", "00:" * 15 + "00", "00:" * 19 + "00", "0" * 63, "0" * 65, "é" * 64],
)
def test_a_key_that_is_no_fingerprint_is_postfix_misconfigured(world: World, key: str) -> None:
    """MD5 and SHA-1 would never be found; that must not look like an unknown client."""
    for ask in (world.maps.address, world.maps.action):
        with pytest.raises(BadKey, match="sha256"):
            ask(key)


def test_strangers_and_public_keys_are_not_found(world: World, name: str) -> None:
    """Postfix asks for the public key, too; others can make certificates for it."""
    issued = world.issue()
    with world.database.reading() as connection:
        stored = store.find(connection, issued.fingerprint)
    assert stored is not None

    for fingerprint in ("0" * 64, stored.public_key):
        assert world.maps.address(colons(fingerprint)) is None
        assert world.maps.action(colons(fingerprint)) is None
    assert "alice@example.org" == world.maps.address(issued.fingerprint)


def test_records_do_not_show_secrets() -> None:
    """In logs and tracebacks."""
    wanted = ClientCertificateRequest(pkcs12_password="swordfish")
    issued = IssuedClientCertificate(
        mailbox="a@b.example",
        fingerprint="00",
        issuer="x",
        not_before=0,
        not_after=0,
        certificate="",
        ca_certificate="",
        private_key="swordfish",
        pkcs12=b"swordfish",
    )

    assert "swordfish" not in f"{wanted!r}{wanted}{issued!r}{issued}"


def test_what_ends_soon_is_counted_until_it_was_replaced(world: World, name: str) -> None:
    """A renewed certificate is for the same key, so that nobody has to do anything any more."""
    issued = world.issue()
    world.now = issued.not_after - 3 * DAY
    assert {3: 1, 14: 1} == world.certificates.expiring((3, 14))

    renewed = world.certificates.renew(issued.fingerprint)
    assert {3: 0, 14: 0} == world.certificates.expiring((3, 14))

    world.certificates.revoke(renewed.fingerprint)
    assert {14: 0} == world.certificates.expiring((14,))


def test_an_authority_that_ends_is_counted_while_it_is_in_use(world: World, name: str) -> None:
    """Having made another one is not enough while clients have certificates of the old one."""
    world.now = world.authorities.show().authorities[0].not_after - 10 * DAY
    assert {3: 0, 14: 1} == world.authorities.expiring((3, 14))

    world.issue()
    world.create()
    assert {14: 1} == world.authorities.expiring((14,))

    world.authorities.retire(name)
    assert {14: 0} == world.authorities.expiring((14,))
