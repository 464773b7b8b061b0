"""Armor and what is taken for it."""

import base64
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from letterlock.openpgp import Armor, Dearmor, MalformedArmor

MARKER = b"\xca\x03PGP"
BEGIN, END = b"-----BEGIN PGP MESSAGE-----", b"-----END PGP MESSAGE-----"
OCTETS = st.binary(max_size=400) | st.integers(0, 20_000).map(
    lambda n: bytes(range(256)) * (n // 256) + bytes(n % 256)
)


def armored(octets: bytes, cuts: list[int] | None = None) -> bytes:
    """Return `octets` armored, written in pieces that end at `cuts`."""
    armor = Armor(len(octets))
    return b"".join(map(armor.write, cut(octets, cuts or []))) + armor.close()


def dearmored(text: bytes, cuts: list[int] | None = None) -> bytes:
    """Return what Dearmor makes of `text`, read in pieces that end at `cuts`."""
    dearmor = Dearmor()
    return b"".join([dearmor.write(piece) for piece in cut(text, cuts or [])]) + dearmor.close()


def cut(octets: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({0, len(octets), *(at % (len(octets) + 1) for at in cuts)})
    return [octets[start:end] for start, end in pairwise(ends)]


CUTS = st.lists(st.integers(0, 30_000), max_size=8)


@given(OCTETS, CUTS, CUTS)
def test_dearmor_undoes_armor_however_both_are_cut(
    octets: bytes, write_cuts: list[int], read_cuts: list[int]
) -> None:
    """Nothing is lost and nothing but a Marker packet is added."""
    found = dearmored(armored(octets, write_cuts), read_cuts)

    assert octets == found.removeprefix(MARKER)


@given(OCTETS, CUTS)
@example(bytes(48 * 128 * 3), [])
def test_armor_is_radix_64_in_64_columns(octets: bytes, cuts: list[int]) -> None:
    """CRLF everywhere, lines of 64, no Armor Header, no CRC24."""
    head, blank, *lines, end, nothing = armored(octets, cuts).split(b"\r\n")

    assert (BEGIN, b"", END, b"") == (head, blank, end, nothing)
    assert {64} >= set(map(len, lines[:-1]))
    assert octets == base64.b64decode(b"".join(lines)).removeprefix(MARKER)


@given(st.integers(0, 1_000))
def test_armor_always_ends_with_padding(octets: int) -> None:
    """Without it and without CRC24, gpg reads the tail as radix-64 (GnuPG T7071)."""
    assert armored(b"\xff" * octets).removesuffix(END + b"\r\n").endswith(b"=\r\n")


def test_armor_does_not_close_on_another_length_than_announced() -> None:
    """The length decides about the padding, so it must be true."""
    armor = Armor(3)
    armor.write(b"four")

    with pytest.raises(ValueError, match="announced"):
        armor.close()


TEXT = b"\n".join([BEGIN, b"", b"AAEC", b"AwQ=", END, b""])
CONTENT = bytes(range(5))


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.replace(b"\n", b"\r\n"),
        TEXT.replace(b"\n\n", b"\nVersion: X 1\nComment: y: z\n\n"),
        TEXT.replace(b"\n\n", b" \n \t\n"),
        TEXT.replace(b"AAEC\n", b"AAEC \t\n\n"),
        TEXT.replace(b"AAEC\n", b"AA\nEC"),
        TEXT.replace(b"AwQ=", b"AwQ=\n=abcd"),
        TEXT.replace(b"AwQ=", b"AwQ=\r\n=abcd\r"),
        b"\r\n \n" + TEXT + b"\n \r\n",
        TEXT.rstrip(),
    ],
)
@pytest.mark.parametrize("cuts", [[], list(range(200))])
def test_what_clients_read_is_read(text: bytes, cuts: list[int]) -> None:
    """Line ends, blanks, Armor Headers and a CRC24, right or wrong, do not matter."""
    assert CONTENT == dearmored(text, cuts)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"Hello\n" + TEXT,
        TEXT + b"Hello",
        TEXT + b"\n-- \nMailing list",
        TEXT + TEXT,
        TEXT.replace(b"MESSAGE", b"PUBLIC KEY BLOCK"),
        TEXT.replace(b"END PGP MESSAGE", b"END PGP SIGNATURE"),
        TEXT.replace(b"\n\n", b"\n"),
        TEXT.replace(b"\n\n", b"\nno header\n\n"),
        TEXT.replace(b"\n\n", b"\nComment: " + 3_000 * b"x" + b"\n\n"),
        TEXT.replace(END, b""),
        TEXT.replace(b"\n" + END, END),
        TEXT.replace(b"AAEC", b"AA*C"),
        TEXT.replace(b"AAEC", b"AA-C"),
        TEXT.replace(b"AAEC", b"AA=="),
        TEXT.replace(b"AwQ=", b"AwQ"),
        TEXT.replace(b"AwQ=", b"AwQ=\n=ab"),
        TEXT.replace(b"AwQ=", b"AwQ=\nHello"),
        TEXT + 600 * b"\n",
    ],
)
@pytest.mark.parametrize("cuts", [[], list(range(200))])
def test_text_beside_the_message_is_refused(text: bytes, cuts: list[int]) -> None:
    """What would stay readable, or is no armor of a message, is not accepted."""
    with pytest.raises(MalformedArmor):
        dearmored(text, cuts)


def test_endless_text_is_refused_early() -> None:
    """Neither before nor after the armor does memory grow with what comes."""
    before, after = Dearmor(), Dearmor()
    before.write(b"x" * 1_000)
    after.write(TEXT + b"\n" * 400)

    for dearmor in (before, after):
        with pytest.raises(MalformedArmor, match="around"):
            dearmor.write(b"\n" * 1_100)
