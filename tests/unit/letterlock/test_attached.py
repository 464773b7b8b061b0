"""Certificates are found where honest senders attach them, and nothing else costs anything."""

import base64
import time
import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keyservice.report_wire import ATTACHED_MAX, ATTACHED_OCTETS_MAX
from letterlock.attached import Attached
from letterlock.message import split
from mime_trees import PGP_KEYS, certificates, forwarded, lines, messages

KEY = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\r\n\r\nmDM=\r\n-----END PGP PUBLIC KEY BLOCK-----"
PART = b"Content-Type: application/pgp-keys\r\n\r\n" + KEY
TEXT = b"Content-Type: text/plain\r\n\r\nsee attachment"
OCTETS = 25_000_000


def attached(mail: bytes, sizes: Iterable[int] = ()) -> tuple[bytes, ...]:
    """Return what is found if the body arrives in chunks of these sizes, then as a whole."""
    section, body = split(mail)
    reader = Attached(section)
    at = 0
    for size in sizes:
        reader.write(body[at : at + size])
        at += size
    reader.write(body[at:])
    return reader.close()


def encoded(octets: bytes, encoding: bytes = b"base64") -> bytes:
    """Return a part as transported."""
    return (
        b"Content-Type: application/pgp-keys; name=k.asc\r\nContent-Transfer-Encoding: %b\r\n\r\n%b"
        % (encoding, lines(base64.b64encode(octets)))
    )


def multipart(*parts: bytes, boundary: bytes = b"=_b", subtype: bytes = b"mixed") -> bytes:
    """Return a multipart, which may be the message or a part."""
    inside = b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts)
    return b'Content-Type: multipart/%b; boundary="%b"\r\n\r\n%b--%b--\r\n' % (
        subtype,
        boundary,
        inside,
        boundary,
    )


@given(messages(), st.lists(st.integers(1, 60), max_size=80))
def test_honest_messages_are_read_as_python_reads_them(mail: bytes, sizes: list[int]) -> None:
    """Parts in parts, all encodings, boundaries that begin alike, cut anywhere."""
    assert tuple(certificates(mail)[:ATTACHED_MAX]) == attached(mail, sizes)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_chunks_of_any_size_are_the_same(size: int) -> None:
    """A delimiter that is cut in two is one."""
    mail = multipart(TEXT, encoded(b"one"), multipart(TEXT, PART, boundary=b"=_"), TEXT)

    assert (b"one", KEY) == attached(mail, [size] * (len(mail) // size))


@pytest.mark.parametrize(
    "mail",
    [
        PART,
        b"MIME-Version: 1.0\r\nContent-type:  APPLICATION/pgp-keys ;\r\n\tname=x\r\n\r\n" + KEY,
        multipart(PART),
        multipart(multipart(TEXT, PART, boundary=b"1"), TEXT, subtype=b"signed"),
        multipart(multipart(TEXT, boundary=b"1"), PART, subtype=b"report"),
        multipart(multipart(TEXT, boundary=b"=_b1"), PART),
        multipart(multipart(TEXT, boundary=b"=_"), PART),
        multipart(TEXT, PART).removesuffix(b"\r\n"),
        multipart(TEXT, PART).replace(b"\r\n", b"\n").replace(KEY.replace(b"\r\n", b"\n"), KEY),
        multipart(PART, boundary=b"x" * 70),
        # The inner multipart has no end: its parent's delimiter is one.
        multipart(multipart(TEXT, boundary=b"1").replace(b"--1--\r\n", b""), PART),
    ],
)
def test_a_certificate_is_found(mail: bytes) -> None:
    """Wherever senders put it."""
    assert (KEY,) == attached(mail)


@pytest.mark.parametrize(
    "mail",
    [
        b"\r\nno type\r\n" + PART,
        b"Content-Type: text/plain; boundary=b\r\n\r\n--b\r\n%b\r\n--b--\r\n" % PART,
        multipart(forwarded(PART)),
        multipart(forwarded(multipart(PART, boundary=b"inner"))),
        multipart(multipart(PART, boundary=b"2", subtype=b"encrypted")),
        multipart(PART, boundary=b"x" * 71),
        multipart(PART, boundary=b"x "),
        multipart(PART, boundary=b""),
        multipart(PART).replace(b"=_b", b"=_B", 1),
        multipart(PART).replace(b"multipart/mixed", b"multipart/mixed; boundary=x"),
        multipart(PART).replace(b"boundary=", b"boundary*="),
        b"Content-Transfer-Encoding: base64\r\n" + multipart(PART),
        b"Content-Type: text/plain\r\n" + multipart(PART),
        multipart(PART.replace(b"Content-Type", b"Content-Type: text/plain\r\nContent-Type")),
        multipart(PART.replace(b"\r\n\r\n", b"\r\nX: " + b"x" * 5_000 + b"\r\n\r\n", 1)),
        multipart(PART.replace(b"pgp-keys", b"pgp-keys (comment)", 1)),
        multipart(encoded(b"x", b"x-uuencode")),
        multipart(encoded(b"x", b"base64\r\nContent-Transfer-Encoding: 8bit")),
        multipart(encoded(b"x" * 9).replace(b"eHh4", b"eH!4", 1)),
        multipart(encoded(b"x" * 10).replace(b"==", b"=")),
        multipart(encoded(b"")),
        multipart(PART.removesuffix(KEY)),
        multipart(PART.removesuffix(b"\r\n" + KEY)),
        # Behind the end.
        multipart(TEXT) + b"--=_b\r\n" + PART + b"\r\n--=_b--\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + PART,
    ],
)
def test_what_is_none_or_is_doubted_is_passed_over(mail: bytes) -> None:
    """Somebody else's mail, encodings that hide a multipart, heads that say two things."""
    assert () == attached(mail)


def test_only_the_first_parts_count() -> None:
    """As many as a report holds; a part that is empty or too long is none of them."""
    too_long = encoded(b"x" * (ATTACHED_OCTETS_MAX + 1))
    endless = encoded(b"x" * 5 * ATTACHED_OCTETS_MAX)
    longest = encoded(b"y" * ATTACHED_OCTETS_MAX)
    mail = multipart(too_long, endless, encoded(b""), longest, PART, encoded(b"third"))

    assert (b"y" * ATTACHED_OCTETS_MAX, KEY) == attached(mail)


@pytest.mark.parametrize(("depth", "found"), [(8, (KEY,)), (9, ())])
def test_multiparts_are_entered_to_a_depth(depth: int, found: tuple[bytes, ...]) -> None:
    """More around a part than any software makes; what is deeper is passed over."""
    mail = PART
    for level in range(depth):
        mail = multipart(mail, boundary=b"=_%d" % level)

    assert found == attached(mail)


def test_of_equal_boundaries_the_outer_ones_count() -> None:
    """A message that is its own attachment's frame is read one way, and ends."""
    inner = multipart(TEXT, PART)

    assert certificates(multipart(inner, TEXT)) == list(attached(multipart(inner, TEXT)))


_P = b"p" * 68
_NEST = b"".join(
    b"--%b%d\r\nContent-Type: multipart/mixed; boundary=%b%d\r\n\r\n" % (_P, i, _P, i + 1)
    for i in range(10_000)
)
_HOSTILE = {
    "one line": (b"b", b"", b"x" * 65_535),
    "line ends": (b"b", b"", b"\r\n"),
    "delimiters": (b"b", b"", b"--b\r\n"),
    "near misses": (b"b", b"", b"--bb\r\n"),
    "blanks": (b"b", b"--b", b" " * 65_535),
    "a head without end": (b"b", b"--b\r\n", b"X: y\r\n"),
    "heads": (b"b", b"", b"--b\r\n" + b"X: y\r\n" * 600 + b"\r\n"),
    "nested": (_P + b"0", b"", _NEST),
    "nested, and near misses": (_P + b"0", _NEST, b"--" + _P + b"x\r\n"),
    "in and out": (b"b", b"", b"--b\r\nContent-Type: multipart/x; boundary=c\r\n\r\n"),
    "a certificate without end": (b"b", b"--b\r\n" + PART, b"A" * 65_535),
    "certificates that are none": (b"b", b"", b"--b\r\n" + encoded(b"x" * 90_000) + b"!\r\n"),
    "quoted-printable": (b"b", b"--b\r\n" + encoded(b"", b"quoted-printable"), b"=\r\n"),
}


@pytest.mark.parametrize("kind", _HOSTILE)
def test_hostile_bodies_cost_time_in_proportion_to_their_size(kind: str) -> None:
    """25 MB of each in two seconds, though most take a few milliseconds."""
    chunks = list(hostile(kind, OCTETS))
    started = time.process_time()
    fed(kind, chunks)

    assert time.process_time() - started < 2


@pytest.mark.parametrize("kind", _HOSTILE)
def test_hostile_bodies_cost_bounded_memory(kind: str) -> None:
    """What is kept is one part, and the end of a chunk."""
    chunks = list(hostile(kind, OCTETS // 5))
    tracemalloc.start()
    try:
        fed(kind, chunks)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 3_000_000


def hostile(kind: str, octets: int) -> Iterable[bytes]:
    """Yield a body of this kind and size as a milter is given it."""
    _, begin, unit = _HOSTILE[kind]
    body = begin + unit * ((octets - len(begin)) // len(unit))
    return (body[at : at + 65_535] for at in range(0, len(body), 65_535))


def fed(kind: str, chunks: Iterable[bytes]) -> None:
    """Read a body."""
    boundary = _HOSTILE[kind][0]
    section, _ = split(b"Content-Type: multipart/mixed; boundary=%b\r\n\r\n" % boundary)
    reader = Attached(section)
    for chunk in chunks:
        reader.write(chunk)
    reader.close()


_PIECES = st.sampled_from(
    [
        *(b"--b", b"--b--", b"--bb", b"--bb--", b"\r\n", b"\n", b"\r", b" ", b"=", b"\xff", b"\0"),
        b"Content-Type: multipart/mixed; boundary=bb",
        b"Content-Type: multipart/mixed; boundary=b",
        b"Content-Type: application/pgp-keys",
        b"Content-Transfer-Encoding: base64",
        b"Content-Transfer-Encoding: quoted-printable",
        b"QUJD",
        b"\r\n\r\n",
        b"\r\n--b\r\n",
    ]
)


@given(st.lists(_PIECES, max_size=40).map(b"".join), st.lists(st.integers(1, 9), max_size=60))
@example(b"--b\r\nContent-Type: application/pgp-keys\r\n\r\n--b\r\n\r\n\r\n\r\nX", [])
def test_any_body_is_read_the_same_however_it_is_cut(body: bytes, sizes: list[int]) -> None:
    """Never raises, and never finds what is not in there."""
    mail = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + body

    found = attached(mail)

    assert found == attached(mail, sizes)
    assert len(found) <= ATTACHED_MAX
    assert not found or PGP_KEYS in body
