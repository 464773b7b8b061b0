"""What counts as encrypted: structure and packets, never a label."""

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import messages
from letterlock.classify import Classifier, is_for
from letterlock.message import HeaderSection, split
from letterlock.openpgp import Container, EncryptedMessage, RecipientSubkey

OWN = RecipientSubkey.from_packet(b"\x04\0\0\0\0\x19" + b"\x07" * 32)
OTHER = RecipientSubkey.from_packet(b"\x04\0\0\0\1\x19" + b"\x08" * 32)

PKESK = b"\xc1\x34\x03" + OWN.key_id + b"\x19" + b"k" * 42
SEIPD = b"\xd2\xc0\x40\x01" + b"c" * 255
LITERAL = b"\xcb\x0bb\0\0\0\0\0plain"
ENCRYPTED = PKESK + SEIPD


def armor(octets: bytes, kind: bytes = b"MESSAGE") -> bytes:
    """Return `octets` in lines of radix-64."""
    text = base64.b64encode(octets)
    lines = b"".join(text[at : at + 64] + b"\r\n" for at in range(0, len(text), 64))
    return b"-----BEGIN PGP %b-----\r\n\r\n%b-----END PGP %b-----\r\n" % (kind, lines, kind)


HEAD = (
    b"From: bob@sender.example\r\n"
    b'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted";\r\n'
    b' boundary="=-=b"\r\n\r\n'
)
CONTROL = b"--=-=b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n"
PART = b"--=-=b\r\nContent-Type: application/octet-stream\r\n\r\n"
END = b"\r\n--=-=b--\r\n"
MESSAGE = HEAD + CONTROL + PART + armor(ENCRYPTED) + END


def classify(octets: bytes, sizes: int = 65_535) -> EncryptedMessage | None:
    """Feed a message in chunks of `sizes` octets."""
    section, body = split(octets)
    classifier = Classifier(section)
    for at in range(0, len(body), sizes):
        classifier.write(body[at : at + sizes])
    return classifier.close()


@pytest.mark.parametrize("sizes", [1, 2, 3, 7, 64, 65_535])
def test_an_encrypted_message_is_recognised(sizes: int) -> None:
    """However its octets are cut."""
    message = classify(MESSAGE, sizes)

    assert message is not None
    assert Container.SEIPD_V1 is message.container
    assert {OWN.key_id} == message.recipients


def test_it_is_for_those_it_names() -> None:
    """The recipient's own subkey, not anybody's; plain mail is for nobody."""
    message = classify(MESSAGE)

    assert is_for(message, [OTHER, OWN])
    assert not is_for(message, [OTHER])
    assert not is_for(message, [])
    assert not is_for(None, [OWN])


def test_a_hidden_recipient_is_nobody() -> None:
    """Key ID zero could be anybody's (RFC 9580 §5.1.1)."""
    hidden = PKESK.replace(OWN.key_id, bytes(8)) + SEIPD
    message = classify(MESSAGE.replace(armor(ENCRYPTED), armor(hidden)))

    assert message is not None
    assert not is_for(message, [OWN])


_TB = b"This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156)\r\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (CONTROL, _TB + CONTROL),
        (CONTROL, b"\r\n" + CONTROL),
        (CONTROL, b"This is a multi-part message in MIME format.\r\n" + CONTROL),
        (b"Version: 1\r\n", b"Version: 1"),
        (b"Version: 1\r\n\r\n", b"version: 1  \r\n"),
        (b"octet-stream", b'octet-stream; name="encrypted.asc"\r\nContent-Description: x'),
        (b"octet-stream", b"octet-stream\r\nContent-Transfer-Encoding: 7bit"),
        (b"From:", b"Content-Transfer-Encoding: 8bit\r\nFrom:"),
        (b'"application/pgp-encrypted"', b'"Application/PGP-Encrypted"'),
        (b"multipart/encrypted", b"Multipart/Encrypted"),
        (END, b"\r\n--=-=b--"),
        (END, END + b"\r\n \r\n"),
        (END, b"--=-=b--\r\n"),
        (b"BEGIN PGP MESSAGE-----\r\n", b"BEGIN PGP MESSAGE-----\r\nVersion: GnuPG v2\r\n"),
        (b"--=-=b\r\n", b"--=-=b \t\r\n"),
    ],
)
def test_what_clients_vary_is_recognised(old: bytes, new: bytes) -> None:
    """Preambles that say nothing, blanks, case, part fields, no last line end."""
    assert old in MESSAGE
    assert classify(MESSAGE.replace(old, new)) is not None
    assert classify(MESSAGE.replace(old, new), 1) is not None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"multipart/encrypted", b"multipart/mixed"),
        (b"application/pgp-encrypted", b"application/pkcs7-mime"),
        (b'boundary="=-=b"', b'boundary="=-=b"; boundary=c'),
        (b'boundary="=-=b"', b"boundary*=us-ascii''%3D-%3Db"),
        (b'boundary="=-=b"', b"x=y"),
        (b"From:", b"Content-Type: text/plain\r\nFrom:"),
        (b'boundary="=-=b"', b'boundary="=-=b"\r\nContent-Type: text/plain'),
        (CONTROL, CONTROL.replace(b"=b", b"=bb")),
        (PART, PART.replace(b"=b", b"=bb")),
        (PART, PART.replace(b"=b", b"=b x")),
        (b"From:", b"Content-Transfer-Encoding: base64\r\nFrom:"),
        (CONTROL, b"Plaintext before.\r\n" + CONTROL),
        (CONTROL, b""),
        (CONTROL, CONTROL + PART + b"x\r\n"),
        (CONTROL, PART),
        (PART, b""),
        (PART, PART.replace(b"octet-stream", b"pgp-encrypted")),
        (PART, PART.replace(b"\r\n\r\n", b"\r\nX-Secret: plaintext\r\n\r\n")),
        (PART, PART.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n")),
        (
            PART,
            PART.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"),
        ),
        (PART, PART.replace(b"\r\n\r\n", b"\r\nno field\r\n\r\n")),
        (PART, PART + b"Plaintext before the armor.\r\n"),
        (
            PART,
            PART.replace(b"\r\n\r\n", b"\r\nContent-Description: " + b"x" * 9_000 + b"\r\n\r\n"),
        ),
        (b"Version: 1", b"Version: 2"),
        (b"Version: 1", b"Version: 1\r\nPlaintext"),
        (END, b"\r\nPlaintext behind the armor." + END),
        (END, END + b"Plaintext behind all.\r\n"),
        (END, END + CONTROL),
        (END, b"\r\n--=-=b\r\nContent-Type: text/plain\r\n\r\nA third part.\r\n--=-=b--\r\n"),
        (END, b"\r\n--=-=bb--\r\n"),
        (END, b"\r\n"),
        (END, END + b"\r\n" * 9_000),
        (armor(ENCRYPTED), b""),
        (armor(ENCRYPTED), b"no armor\r\n"),
        (armor(ENCRYPTED), armor(ENCRYPTED)[:-10]),
        (armor(ENCRYPTED), armor(ENCRYPTED) * 2),
        (armor(ENCRYPTED), armor(ENCRYPTED, b"PUBLIC KEY BLOCK")),
        (armor(ENCRYPTED), armor(LITERAL)),
        (armor(ENCRYPTED), armor(SEIPD)),
        (armor(ENCRYPTED), armor(PKESK)),
        (armor(ENCRYPTED), armor(LITERAL + ENCRYPTED)),
        (armor(ENCRYPTED), armor(ENCRYPTED + LITERAL)),
        (armor(ENCRYPTED), armor(ENCRYPTED + SEIPD)),
        (armor(ENCRYPTED), armor(ENCRYPTED[:-1])),
        (armor(ENCRYPTED), armor(ENCRYPTED).replace(b"Y2Nj", b"Y2N\0")),
    ],
)
def test_a_label_is_not_enough(old: bytes, new: bytes) -> None:
    """Plaintext anywhere, other structures, other packets: not encrypted, so wrapped."""
    assert old in MESSAGE
    assert classify(MESSAGE.replace(old, new)) is None
    assert classify(MESSAGE.replace(old, new), 5) is None


@pytest.mark.parametrize(
    "octets",
    [
        messages.PLAIN,
        b"\r\n" + armor(ENCRYPTED),
        b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\n\r\nMIIB",
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n" + MESSAGE + b"\r\n--x--\r\n",
        b"Content-Type: message/rfc822\r\n\r\n" + MESSAGE,
        b"",
    ],
)
def test_everything_else_is_not_encrypted(octets: bytes) -> None:
    """Plain mail, inline PGP, S/MIME, nested encryption, nothing."""
    assert classify(octets) is None


@given(messages.sections(), messages.bodies())
def test_no_message_breaks_it(section: HeaderSection, body: bytes) -> None:
    """Generated mail is never taken for encrypted."""
    classifier = Classifier(section)
    classifier.write(body)

    assert classifier.close() is None


@given(st.integers(0, len(MESSAGE) - 1), st.binary(max_size=3))
def test_no_damage_breaks_it(at: int, octets: bytes) -> None:
    """Whatever is put anywhere: an answer, no exception, the same in any chunks."""
    damaged = MESSAGE[:at] + octets + MESSAGE[at + 1 :]

    assert classify(damaged) == classify(damaged, 11)


@pytest.mark.parametrize(
    "body",
    [
        b"x" * 200_000,
        b"\0" * 200_000,
        CONTROL + PART + b"x" * 200_000,
        CONTROL + PART + b"\r\n" * 100_000,
        CONTROL + PART + b"-----BEGIN PGP MESSAGE-----\r\n" + b"a: b\r\n" * 40_000,
        CONTROL + PART + b"-----BEGIN PGP MESSAGE-----\r\n\r\n" + b"\r\n--=-=" * 40_000,
        CONTROL + b"--=-=b\r\n" * 30_000,
    ],
    ids=[
        "long line",
        "NULs",
        "no armor",
        "blank lines",
        "armor headers",
        "almost delimiters",
        "parts",
    ],
)
def test_hostile_bodies_cost_little(body: bytes) -> None:
    """Linear time in small chunks, and not more memory than a head."""
    started = time.process_time()

    assert classify(HEAD + body, 100) is None
    assert time.process_time() - started < 2


def test_a_body_without_the_label_costs_nothing() -> None:
    """It is not even looked at."""
    classifier = Classifier(split(messages.PLAIN)[0])

    assert not classifier.is_undecided
