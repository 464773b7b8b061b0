"""KeyDirectory: which keys a domain signs with, found again when files change."""

import os
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from letterlock.dkim import keys
from letterlock.dkim.domain_keys import DomainKeys
from letterlock.dkim.key_files import LISTING
from letterlock.dkim.key_record import PUBLISHED
from letterlock.dkim.keys import KeyDirectory
from letterlock.dkim.signer import KeyType
from letterlock.errors import SigningImpossible, TemporaryError

DOMAIN = "example.org"
NOW = 1_790_000_000


def rotated(directory: Path, times: int = 1) -> tuple[Path, Path]:
    """Give the domain active keys; return the files of the active ones, RSA first."""
    domain = DomainKeys(directory, DOMAIN)
    for turn in range(times):
        if not domain.known():
            domain.generate(2048, NOW)
        else:
            domain.rotate(2048, NOW + turn)
        domain.activate(lambda _domain, _signer: PUBLISHED, NOW + turn)
    signers = KeyDirectory(directory).signers(DOMAIN)
    rsa_file, ed_file = (directory / DOMAIN / f"{s.selector}.pem" for s in signers)
    return rsa_file, ed_file


def test_active_keys_only(tmp_path: Path) -> None:
    """One of each type, RSA first: old verifiers look at the first signature."""
    rotated(tmp_path, times=2)
    DomainKeys(tmp_path, DOMAIN).rotate(2048, NOW)
    signers = KeyDirectory(tmp_path).signers(DOMAIN)
    assert [KeyType.RSA, KeyType.ED25519] == [signer.key_type for signer in signers]
    assert ["rsa20260921-1", "ed20260921-1"] == [signer.selector for signer in signers]


def test_no_keys(tmp_path: Path) -> None:
    """The message is deferred: no directory, no active key, another domain."""
    directory = KeyDirectory(tmp_path / "nowhere")
    with pytest.raises(SigningImpossible):
        directory.signers(DOMAIN)
    domain = DomainKeys(tmp_path, DOMAIN)
    domain.generate(2048, NOW)
    for name in (DOMAIN, "sub.example.org", "example.com"):
        with pytest.raises(SigningImpossible) as refusal:
            KeyDirectory(tmp_path).signers(name)
        assert isinstance(refusal.value, TemporaryError)
        assert "signing_impossible" == refusal.value.reason


@pytest.mark.parametrize("domain", ["", "..", "../example.org", "a/b", "Example.org", "é.org", "."])
def test_what_is_no_domain(domain: str, tmp_path: Path) -> None:
    """Nothing outside of the directory is looked at."""
    rotated(tmp_path / "dkim")
    with pytest.raises(SigningImpossible):
        KeyDirectory(tmp_path / "dkim" / DOMAIN).signers(domain)


def test_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Per message there is a look at the files' dates, and no more."""
    rotated(tmp_path)
    directory = KeyDirectory(tmp_path)
    first = directory.signers(DOMAIN)
    monkeypatch.delattr(keys, "read_signer")
    monkeypatch.delattr(keys, "read_keys")
    assert first is directory.signers(DOMAIN)


def test_a_change_is_seen_at_once(tmp_path: Path) -> None:
    """After a rotation the next message is signed with the new keys."""
    rotated(tmp_path)
    directory = KeyDirectory(tmp_path)
    before = directory.signers(DOMAIN)
    rotated(tmp_path, times=2)
    after = directory.signers(DOMAIN)
    assert {s.selector for s in before}.isdisjoint({s.selector for s in after})


def test_a_key_that_others_can_read(tmp_path: Path) -> None:
    """It is not used: not at the start, and not from the moment on when it was opened up."""
    rsa_file, _ = rotated(tmp_path)
    running = KeyDirectory(tmp_path)
    running.signers(DOMAIN)
    for mode in (0o644, 0o660, 0o641):
        rsa_file.chmod(mode)
        for directory in (running, KeyDirectory(tmp_path)):
            with pytest.raises(SigningImpossible, match=f"mode {mode:o}"):
                directory.signers(DOMAIN)
    rsa_file.chmod(0o400)
    assert 2 == len(running.signers(DOMAIN))


def test_a_key_that_is_gone(tmp_path: Path) -> None:
    """One of two is not enough, and what is in memory is not used instead."""
    _, ed_file = rotated(tmp_path)
    running = KeyDirectory(tmp_path)
    running.signers(DOMAIN)
    ed_file.unlink()
    with pytest.raises(SigningImpossible, match="No such file"):
        running.signers(DOMAIN)


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def test_files_that_hold_no_usable_key(tmp_path: Path) -> None:
    """Each is refused, and nothing of a file is in the text of the error."""
    rsa_file, ed_file = rotated(tmp_path)
    good = rsa_file.read_bytes()
    middle = good[400:432]
    short = rsa.generate_private_key(65537, 1024)
    for octets in (
        b"",
        b"\xff\xfe",
        good[:800],
        good.replace(middle, middle[::-1]),
        ed_file.read_bytes(),
        _pem(short),
        _pem(rsa.generate_private_key(65537, 2048), b"password"),
        _pem(ec.generate_private_key(ec.SECP256R1())),
    ):
        rsa_file.write_bytes(octets)
        with pytest.raises(SigningImpossible) as refusal:
            KeyDirectory(tmp_path).signers(DOMAIN)
        text = str(refusal.value)
        assert refusal.value.__cause__ is None
        assert rsa_file.stem in text
        assert not any(line in text for line in octets.decode("latin-1").splitlines() if line)


@pytest.mark.parametrize(
    "octets", [b"", b"[]", b'{"keys": [{"selector": "../x"}]}', b'{"keys": [], "more": 1}', b"\xff"]
)
def test_a_listing_that_is_damaged(octets: bytes, tmp_path: Path) -> None:
    """It is one line for the log, and no mail is sent unsigned."""
    rotated(tmp_path)
    (tmp_path / DOMAIN / LISTING).write_bytes(octets)
    with pytest.raises(SigningImpossible) as refusal:
        KeyDirectory(tmp_path).signers(DOMAIN)
    assert "\n" not in str(refusal.value)


def test_a_selector_is_no_path(tmp_path: Path) -> None:
    """A listing cannot name a file elsewhere."""
    rotated(tmp_path)
    listing = tmp_path / DOMAIN / LISTING
    listing.write_text(listing.read_text().replace('"rsa', '"../rsa'))
    with pytest.raises(SigningImpossible):
        KeyDirectory(tmp_path).signers(DOMAIN)


def test_a_key_shows_nothing_of_itself(tmp_path: Path) -> None:
    """Whatever a log or a traceback might print of it."""
    rotated(tmp_path)
    for signer in KeyDirectory(tmp_path).signers(DOMAIN):
        assert "PRIVATE" not in repr(signer) + str(signer) + f"{signer}"


def test_threads(tmp_path: Path) -> None:
    """While keys change, every thread gets a set that belongs together."""
    rotated(tmp_path)
    directory = KeyDirectory(tmp_path)
    wrong: list[object] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            rsa_signer, ed_signer = directory.signers(DOMAIN)
            if rsa_signer.selector[3:] != ed_signer.selector[2:]:
                wrong.append((rsa_signer.selector, ed_signer.selector))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        rotated(tmp_path, times=2)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert [] == wrong


def test_unreadable(tmp_path: Path) -> None:
    """An account that may not read the keys cannot sign."""
    rotated(tmp_path)
    (tmp_path / DOMAIN).chmod(0o700)
    tmp_path.chmod(0o755)
    child = os.fork()
    if child == 0:  # pragma: no cover (another process)
        status = 1
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            KeyDirectory(tmp_path).signers(DOMAIN)
        except SigningImpossible:
            status = 0
        finally:
            os._exit(status)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
