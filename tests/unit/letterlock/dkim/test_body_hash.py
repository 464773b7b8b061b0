"""The body hash: RFC 6376's vectors, dkimpy as the oracle, and bodies meant to hurt."""

import base64
import hashlib
import time
import tracemalloc
from collections.abc import Iterator

import pytest
from dkim import rfc822_parse
from dkim.canonicalization import CanonicalizationPolicy
from hypothesis import given
from hypothesis import strategies as st

from letterlock.dkim.body_hash import BodyHash, BodyHasher, Canonicalization

SIMPLE, RELAXED = Canonicalization.SIMPLE, Canonicalization.RELAXED
KINDS = (SIMPLE, RELAXED)
OCTETS = 25_000_000

bodies = st.lists(
    st.sampled_from([b"\r\n", b"\r", b"\n", b" ", b"\t", b"a", b"b.", b"\xff", b"\0", b"\r\n" * 3])
).map(b"".join)


def canonical(kind: Canonicalization, body: bytes) -> bytes:
    """Return what dkimpy makes of `body`, whose last line SMTP would end."""
    if not body.endswith(b"\n"):
        body += b"\r\n"
    _, body = rfc822_parse(b"\r\n" + body)
    policy = CanonicalizationPolicy.from_c_value(b"simple/" + kind.value.encode())
    return bytes(policy.canonicalize_body(body))


def hashed(*chunks: bytes, wanted: BodyHash) -> bytes:
    """Return the hash of a body that arrives as `chunks`."""
    hasher = BodyHasher([wanted])
    for chunk in chunks:
        hasher.write(chunk)
    hasher.close()
    return hasher.digest(wanted)


@st.composite
def chunked(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Draw a body, and the same body cut anywhere."""
    body = draw(bodies)
    cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=8)))
    return body, [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        # RFC 6376 §3.4.5, examples 1 and 2.
        (RELAXED, b" C \r\nD \t E\r\n\r\n\r\n", b" C\r\nD E\r\n"),
        (SIMPLE, b" C \r\nD \t E\r\n\r\n\r\n", b" C \r\nD \t E\r\n"),
        # §3.4.3 and §3.4.4: what an empty body is.
        (SIMPLE, b"", b"\r\n"),
        (RELAXED, b"", b""),
        (SIMPLE, b"\r\n\r\n", b"\r\n"),
        (RELAXED, b" \t\r\n\r\n", b""),
        (SIMPLE, b"a", b"a\r\n"),
        (RELAXED, b"a \t", b"a\r\n"),
        (RELAXED, b"\r\n\r\na\r\n", b"\r\n\r\na\r\n"),
        # Line ends of other systems.
        (SIMPLE, b"a\nb\n\n", b"a\r\nb\r\n"),
        (SIMPLE, b"a\rb\r\r\n\r\n", b"a\rb\r\r\n"),
        (RELAXED, b"a \r b \r\r\n", b"a \r b \r\r\n"),
        (SIMPLE, b"a\r", b"a\r\r\n"),
    ],
)
def test_canonical_form(kind: Canonicalization, body: bytes, expected: bytes) -> None:
    """Blanks and line ends become what the RFC says, and the length is that of the result."""
    wanted = BodyHash("sha256", kind)
    hasher = BodyHasher([wanted])
    hasher.write(body)
    hasher.close()
    assert hashlib.sha256(expected).digest() == hasher.digest(wanted)
    assert len(expected) == hasher.octets(kind)


@pytest.mark.parametrize(
    ("algorithm", "kind", "expected"),
    [
        ("sha1", SIMPLE, "uoq1oCgLlTqpdDX/iUbLy7J1Wic="),
        ("sha256", SIMPLE, "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY="),
        ("sha1", RELAXED, "2jmj7l5rSw0yVb/vlWAYkK/YBwk="),
        ("sha256", RELAXED, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
    ],
)
def test_empty_bodies_of_the_rfc(algorithm: str, kind: Canonicalization, expected: str) -> None:
    """RFC 6376 §3.4.3 and §3.4.4 print the hashes of an empty body."""
    wanted = BodyHash(algorithm, kind)  # type: ignore[arg-type]  # parametrized
    assert expected.encode() == _base64(hashed(wanted=wanted))


def test_body_of_rfc_8463() -> None:
    """RFC 8463 appendix A signs this body, relaxed."""
    body = b"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"
    expected = b"2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="
    assert expected == _base64(hashed(body, wanted=BodyHash("sha256", RELAXED)))


@given(chunked())
def test_agrees_with_dkimpy(drawn: tuple[bytes, list[bytes]]) -> None:
    """Any body, cut anywhere, gives dkimpy's hash of the whole."""
    body, chunks = drawn
    for kind in KINDS:
        expected = hashlib.sha256(canonical(kind, body)).digest()
        assert expected == hashed(*chunks, wanted=BodyHash("sha256", kind))


@given(chunked(), st.integers(0, 60))
def test_several_at_once(drawn: tuple[bytes, list[bytes]], length: int) -> None:
    """One pass gives all hashes, limited (l=) and whole, of both algorithms."""
    body, chunks = drawn
    wanted = [
        BodyHash(algorithm, kind, limit)
        for algorithm in ("sha256", "sha1")
        for kind in KINDS
        for limit in (None, length)
    ]
    hasher = BodyHasher(wanted)
    for chunk in chunks:
        hasher.write(chunk)
    hasher.close()
    for one in wanted:
        octets = canonical(one.canonicalization, body)
        expected = hashlib.new(one.algorithm, octets[: one.length]).digest()
        assert expected == hasher.digest(one)
        assert len(octets) == hasher.octets(one.canonicalization)


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 131_072])
def test_large_chunks(size: int) -> None:
    """Where a chunk is cut inside, nothing is lost."""
    # No longer runs of blanks: dkimpy takes quadratic time for them.
    for unit in (b"\r\n", b"a \t\r\n", b" \r", b"\r\r\n", b" " * 31 + b"\r"):
        body = unit * (size // len(unit) + 1) + b"x"
        for kind in KINDS:
            expected = hashlib.sha256(canonical(kind, body)).digest()
            assert expected == hashed(body, wanted=BodyHash("sha256", kind))


BODIES_THAT_HURT = {
    "one line": b"a",
    "blanks": b" ",
    "blank lines": b"\r\n",
    "bare CRs": b"\r",
    "bare LFs": b"\n",
    "blanks at line ends": b"\t \r\n",
    "words": b"a \t ",
}


@pytest.mark.parametrize("unit", BODIES_THAT_HURT.values(), ids=BODIES_THAT_HURT.keys())
def test_time_and_memory_are_bounded(unit: bytes) -> None:
    """25 MB of anything take linear time (bound: 5 MB/s on a loaded machine) and < 2 MB."""
    hasher = BodyHasher([BodyHash("sha256", kind) for kind in KINDS])
    piece = unit * (65_535 // len(unit))
    started = time.process_time()
    for _ in range(OCTETS // len(piece)):
        hasher.write(piece)
    hasher.write(b"x")
    hasher.close()
    assert time.process_time() - started < OCTETS / 5e6

    hasher = BodyHasher([BodyHash("sha256", kind) for kind in KINDS])
    tracemalloc.start()
    try:
        for _ in range(40):
            hasher.write(piece)
        hasher.write(b"x")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


def test_octet_by_octet() -> None:
    """A body that comes in single octets gives the same hashes."""
    body = b" C \r\nD \t E\r\n\n\r\r\n \r\n"
    for kind in KINDS:
        wanted = BodyHash("sha256", kind)
        assert hashed(body, wanted=wanted) == hashed(*_octets(body), wanted=wanted)


def _octets(body: bytes) -> Iterator[bytes]:
    return (body[i : i + 1] for i in range(len(body)))


def _base64(octets: bytes) -> bytes:
    return base64.b64encode(octets)
