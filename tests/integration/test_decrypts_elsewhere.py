"""What the writer writes is judged by programs that share no code with it."""

import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pysequoia
import pytest

from letterlock.openpgp import PacketWalker, RecipientSubkey, SEIPDVersion
from openpgp_tools import (
    RNP,
    GnuPG,
    Owner,
    Refused,
    encrypt,
    sq_decrypt,
    sqop_decrypt,
    usable_subkeys,
)

SUBKEYS = {
    "cv25519": "Subkey-Type: ECDH\nSubkey-Curve: cv25519",
    "rsa2048": "Subkey-Type: RSA\nSubkey-Length: 2048",
    "rsa4096": "Subkey-Type: RSA\nSubkey-Length: 4096",
    "p256": "Subkey-Type: ECDH\nSubkey-Curve: nistp256",
    "p384": "Subkey-Type: ECDH\nSubkey-Curve: nistp384",
    "p521": "Subkey-Type: ECDH\nSubkey-Curve: nistp521",
    "brainpool256": "Subkey-Type: ECDH\nSubkey-Curve: brainpoolP256r1",
    "brainpool384": "Subkey-Type: ECDH\nSubkey-Curve: brainpoolP384r1",
    "brainpool512": "Subkey-Type: ECDH\nSubkey-Curve: brainpoolP512r1",
}
WITHOUT_BRAINPOOL = [name for name in SUBKEYS if not name.startswith("brainpool")]

# Where a length, in the literal packet, the MDC's or the SEIPD's, takes another form.
BOUNDARIES = sorted(
    {
        octets - overhead
        for octets in (191, 192, 193, 8383, 8384, 8385, 1 << 15, 1 << 16, 1 << 17)
        for overhead in range(-1, 2)
    }
    | {octets - 6 for octets in (191, 192, 8383, 8384, 65_535, 65_536, 65_537, 131_072)}
    | {octets - 49 for octets in (191, 192, 8383, 8384, 65_536, 131_072)}
    | {0, 1, 2, 15, 16, 47, 48, 49, 511, 512, 65_485, 65_535 * 3, 1_000_003}
)
SAMPLE = [0, 1, 185, 8_378, 65_530, 65_537, 200_003]


def message_text(octets: int) -> bytes:
    """Return a text that differs in each place and for each length."""
    return random.Random(octets).randbytes(octets)


@pytest.fixture(scope="module")
def gnupg() -> Iterator[GnuPG]:
    """gpg, which makes all version 4 keys."""
    with GnuPG.at_home() as gnupg:
        yield gnupg


@pytest.fixture(scope="module")
def owners(gnupg: GnuPG) -> dict[str, Owner]:
    """One owner for each algorithm that gpg knows."""
    return {name: gnupg.owner(name, subkey) for name, subkey in SUBKEYS.items()}


@pytest.fixture(scope="module")
def secrets(owners: dict[str, Owner], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of the owners' secret keys."""
    directory = tmp_path_factory.mktemp("secrets")
    for name, owner in owners.items():
        (directory / name).write_bytes(owner.secret)
    return {name: directory / name for name in owners}


@pytest.mark.parametrize("name", SUBKEYS)
def test_gpg_decrypts_for_every_algorithm(
    gnupg: GnuPG, owners: dict[str, Owner], name: str, tmp_path: Path
) -> None:
    """gpg reads messages to every kind of subkey it makes, armored or not."""
    texts = [message_text(octets) for octets in SAMPLE]
    messages = [encrypt(text, owners[name].subkey) for text in texts]
    messages += [encrypt(text, owners[name].subkey, armored=True) for text in texts]

    assert texts + texts == gnupg.decrypt_all(messages, tmp_path)


def test_gpg_decrypts_at_every_boundary(
    gnupg: GnuPG, owners: dict[str, Owner], tmp_path: Path
) -> None:
    """Wherever the encoding of a length changes, gpg finds the text whole."""
    texts = [message_text(octets) for octets in BOUNDARIES]
    messages = [encrypt(text, owners["cv25519"].subkey, armored=True) for text in texts]

    assert texts == gnupg.decrypt_all(messages, tmp_path)


@pytest.mark.parametrize("name", ["cv25519", "rsa2048"])
def test_every_session_key_survives_its_wrapping(
    gnupg: GnuPG, owners: dict[str, Owner], name: str, tmp_path: Path
) -> None:
    """Numbers with leading zeros, one in 256, are no trouble."""
    messages = [encrypt(b"text", owners[name].subkey) for _ in range(100)]

    assert [b"text"] * 100 == gnupg.decrypt_all(messages, tmp_path)


def test_armor_never_ends_without_padding(
    gnupg: GnuPG, owners: dict[str, Owner], tmp_path: Path
) -> None:
    """gpg reads armored messages whatever their length is modulo 3 (GnuPG T7071)."""
    texts = [message_text(octets) for octets in range(100, 109)]
    messages = [encrypt(text, owners["cv25519"].subkey, armored=True) for text in texts]

    assert texts == gnupg.decrypt_all(messages, tmp_path)


def test_one_ciphertext_opens_for_each_of_several_subkeys(
    gnupg: GnuPG, owners: dict[str, Owner], secrets: dict[str, Path]
) -> None:
    """PKESKs of one session key are interchangeable."""
    names = ["rsa2048", "p384", "cv25519"]
    message = encrypt(b"text", *(owners[name].subkey for name in names), armored=True)

    assert b"text" == gnupg.decrypt(message)
    assert [b"text"] * 3 == [sqop_decrypt(message, secrets[name]) for name in names]


@pytest.mark.parametrize("name", WITHOUT_BRAINPOOL)
def test_sqop_decrypts_for_every_algorithm(
    owners: dict[str, Owner], secrets: dict[str, Path], name: str
) -> None:
    """sqop reads messages to every kind of subkey it supports."""
    for octets in SAMPLE:
        message = encrypt(message_text(octets), owners[name].subkey, armored=True)

        assert message_text(octets) == sqop_decrypt(message, secrets[name])


def test_sqop_decrypts_at_every_boundary(
    owners: dict[str, Owner], secrets: dict[str, Path]
) -> None:
    """Wherever the encoding of a length changes, sqop finds the text whole."""
    for octets in BOUNDARIES:
        message = encrypt(message_text(octets), owners["cv25519"].subkey)

        assert message_text(octets) == sqop_decrypt(message, secrets["cv25519"])


def test_sq_decrypts(owners: dict[str, Owner], secrets: dict[str, Path]) -> None:
    """sq reads an armored message of several partial lengths."""
    message = encrypt(message_text(200_003), owners["rsa4096"].subkey, armored=True)

    assert message_text(200_003) == sq_decrypt(message, secrets["rsa4096"])


def test_rnp_decrypts(owners: dict[str, Owner], tmp_path: Path) -> None:
    """rnp reads messages to all algorithms, and at every boundary."""
    rnp = RNP(tmp_path, owners.values())

    for owner in owners.values():
        message = encrypt(message_text(70_000), owner.subkey, armored=True)
        assert message_text(70_000) == rnp.decrypt(message)
    for octets in BOUNDARIES:
        message = encrypt(message_text(octets), owners["cv25519"].subkey)
        assert message_text(octets) == rnp.decrypt(message)


@pytest.mark.parametrize("name", WITHOUT_BRAINPOOL)
def test_pgpy_decrypts(owners: dict[str, Owner], name: str) -> None:
    """PGPy reads what is not armored; it insists on a CRC24. It is slow: short texts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pgpy

        secret, _ = pgpy.PGPKey.from_blob(owners[name].secret)
        for octets in (0, 185, 8_378):
            message = encrypt(message_text(octets), owners[name].subkey)
            text = secret.decrypt(pgpy.PGPMessage.from_blob(message)).message
            assert message_text(octets) == bytes(text)


SUITES = pysequoia.CipherSuite
SEQUOIA_KEYS = {
    "v6-x25519": (pysequoia.Profile.RFC9580, SUITES.Cv25519),
    "v6-x448": (pysequoia.Profile.RFC9580, SUITES.Cv448),
    "v6-p256": (pysequoia.Profile.RFC9580, SUITES.P256),
    "v6-p521": (pysequoia.Profile.RFC9580, SUITES.P521),
    "v6-rsa2048": (pysequoia.Profile.RFC9580, SUITES.RSA2k),
    "v4-cv25519": (pysequoia.Profile.RFC4880, SUITES.Cv25519),
    "v4-x448": (pysequoia.Profile.RFC4880, SUITES.Cv448),
    "v4-p384": (pysequoia.Profile.RFC4880, SUITES.P384),
}


@pytest.fixture(scope="module", params=SEQUOIA_KEYS)
def sequoia(
    request: pytest.FixtureRequest,
) -> tuple[RecipientSubkey, Callable[[bytes], bytes]]:
    """A subkey made by Sequoia 2, and how it decrypts."""
    profile, suite = SEQUOIA_KEYS[request.param]
    secret = pysequoia.Tsk.generate(
        user_id="Owner <owner@example.org>", profile=profile, cipher_suite=suite
    )

    def decrypt(message: bytes) -> bytes:
        return bytes(pysequoia.decrypt(message, decryptor=secret.decryptor()).bytes)

    return subkey_of_sequoia(secret), decrypt


def subkey_of_sequoia(secret: pysequoia.Tsk) -> RecipientSubkey:
    """Return the subkey that Sequoia itself encrypts to; another one is for signing."""
    certificate = secret.extract_certificate()
    walker = PacketWalker()
    walker.write(pysequoia.encrypt(b"", recipients=[certificate], armor=False))
    (subkey,) = filter(walker.close().names, usable_subkeys(bytes(certificate)))
    return subkey


@pytest.mark.parametrize("version", SEIPDVersion)
def test_sequoia_decrypts_both_versions(
    sequoia: tuple[RecipientSubkey, Callable[[bytes], bytes]], version: SEIPDVersion
) -> None:
    """PKESKs of version 3 and 6 open for keys of version 4 and 6, X25519 and X448 included."""
    subkey, decrypt = sequoia
    for octets in SAMPLE:
        message = encrypt(message_text(octets), subkey, version=version, armored=True)

        assert message_text(octets) == decrypt(message)


def test_sequoia_decrypts_ocb_at_every_boundary(
    sequoia: tuple[RecipientSubkey, Callable[[bytes], bytes]],
) -> None:
    """Wherever a length changes its form or an OCB chunk begins, the text is whole."""
    subkey, decrypt = sequoia
    chunk_boundaries = [n * 65_536 - 10 + step for n in (1, 2) for step in range(3)]
    for octets in [*BOUNDARIES, *chunk_boundaries]:
        message = encrypt(message_text(octets), subkey, version=SEIPDVersion.V2)

        assert message_text(octets) == decrypt(message)


def flipped(message: bytes, positions: list[int]) -> Iterator[bytes]:
    """Yield the message with one bit changed, for each position."""
    for position in positions:
        changed = bytearray(message)
        changed[position] ^= 1 << position % 8
        yield bytes(changed)


def test_a_flipped_bit_is_refused(
    gnupg: GnuPG, owners: dict[str, Owner], secrets: dict[str, Path]
) -> None:
    """Whichever bit of the ciphertext changes, neither gpg nor sqop takes the message."""
    message = encrypt(message_text(3_000), owners["cv25519"].subkey)
    start = len(message) - 3_000 - 49
    positions = [
        start,
        start + 2,
        start + 17,
        start + 19,
        start + 40,
        *range(-3_000, 0, 333),
        -21,
        -1,
    ]

    for changed in flipped(message, positions):
        with pytest.raises(Refused):
            gnupg.decrypt(changed)
        with pytest.raises(Refused):
            sqop_decrypt(changed, secrets["cv25519"])


def test_a_flipped_bit_of_ocb_is_refused() -> None:
    """Sequoia refuses each changed bit of a version 2 ciphertext."""
    secret = pysequoia.Tsk.generate(
        user_id="Owner <owner@example.org>", profile=pysequoia.Profile.RFC9580
    )
    message = encrypt(message_text(3_000), subkey_of_sequoia(secret))

    for changed in flipped(message, [*range(-3_000, 0, 333), -17, -16, -1]):
        with pytest.raises(Exception, match=r"(?i)manipulated|message|tag|decrypt|session"):
            pysequoia.decrypt(changed, decryptor=secret.decryptor())
