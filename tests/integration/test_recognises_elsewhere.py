"""Messages that other programs write are recognised as encrypted, and to whom."""

from collections.abc import Iterator
from pathlib import Path

import pysequoia
import pytest

from letterlock.openpgp import (
    Container,
    Dearmor,
    EncryptedMessage,
    MalformedArmor,
    NotEncrypted,
    PacketWalker,
)
from openpgp_tools import RNP, GnuPG, Owner, run

TEXT = bytes(range(256)) * 1_000


@pytest.fixture(scope="module")
def gnupg() -> Iterator[GnuPG]:
    """gpg with one owner's keys."""
    with GnuPG.at_home() as gnupg:
        yield gnupg


@pytest.fixture(scope="module")
def owner(gnupg: GnuPG) -> Owner:
    """The owner whom all write to."""
    return gnupg.owner("owner", "Subkey-Type: ECDH\nSubkey-Curve: cv25519")


def read(octets: bytes, armored: bool = True) -> EncryptedMessage:
    """Return what is recognised in a message that comes in lines of a mail."""
    dearmor, walker = Dearmor(), PacketWalker()
    for start in range(0, len(octets), 4_099):
        piece = octets[start : start + 4_099]
        walker.write(dearmor.write(piece) if armored else piece)
    if armored:
        walker.write(dearmor.close())
    return walker.close()


@pytest.mark.parametrize("armored", [True, False])
@pytest.mark.parametrize("compression", [[], ["-z", "0"]])
@pytest.mark.parametrize("octets", [0, 300, 9_000, len(TEXT)])
def test_gpg(
    gnupg: GnuPG, owner: Owner, armored: bool, compression: list[str], octets: int
) -> None:
    """gpg's partial lengths, its CRC24 and its short messages."""
    options = [*compression, *(["--armor"] if armored else [])]
    octets_written = gnupg.run(*options, "-r", owner.name, "--encrypt", octets=TEXT[:octets])

    assert read(octets_written, armored).names(owner.subkey)


def test_gpg_to_a_hidden_recipient(gnupg: GnuPG, owner: Owner) -> None:
    """`--throw-keyids` leaves a recipient without a name."""
    written = gnupg.run("--armor", "--throw-keyids", "-r", owner.name, "--encrypt", octets=TEXT)

    assert read(written).has_anonymous
    assert not read(written).names(owner.subkey)


def test_sqop_and_pysequoia(owner: Owner, tmp_path: Path) -> None:
    """Sequoia's messages, old and new."""
    (tmp_path / "certificate").write_bytes(owner.certificate)
    certificate = pysequoia.Cert.from_bytes(owner.certificate)
    by_sqop = run(["sqop", "encrypt", str(tmp_path / "certificate")], TEXT)

    assert read(by_sqop).names(owner.subkey)
    assert read(pysequoia.encrypt(TEXT, recipients=[certificate])).names(owner.subkey)


def test_sequoia_to_a_version_6_certificate() -> None:
    """Version 6 PKESKs and SEIPD version 2."""
    secret = pysequoia.Tsk.generate(
        user_id="Owner <owner@example.org>", profile=pysequoia.Profile.RFC9580
    )
    message = read(pysequoia.encrypt(TEXT, recipients=[secret.extract_certificate()]))

    assert (Container.SEIPD_V2, {32}) == (message.container, set(map(len, message.recipients)))


def test_rnp(owner: Owner, tmp_path: Path) -> None:
    """rnp's messages, with its OCB of LibrePGP, too."""
    rnp = RNP(tmp_path, [owner])
    options = ["--homedir", str(rnp.home), "--notty", "-r", owner.name, "--output", "-"]
    written = run(["rnp", *options, "--armor", "--encrypt"], TEXT)
    written_with_ocb = run(["rnp", *options, "--aead=OCB", "--encrypt"], TEXT)

    assert read(written).names(owner.subkey)
    assert Container.LIBREPGP_OCB is read(written_with_ocb, armored=False).container


@pytest.mark.parametrize(
    "command", [["--store"], ["--symmetric", "--passphrase", "x", "--pinentry-mode", "loopback"]]
)
def test_what_is_not_encrypted_to_a_subkey_is_refused(gnupg: GnuPG, command: list[str]) -> None:
    """A literal message, and one that only a password opens."""
    with pytest.raises((NotEncrypted, MalformedArmor)):
        read(gnupg.run("--armor", *command, octets=TEXT))
