"""Hashes of a message body, canonicalized while it streams past (RFC 6376 §3.4.3, §3.4.4).

What is hashed are the octets that SMTP carries: a bare LF is a line end, as Postfix and
dkimpy have it; a bare CR is an octet like any other; and a last line without an end gets one.
"""

import hashlib
from collections.abc import Collection
from enum import Enum
from typing import Literal, NamedTuple

from letterlock.message import CRLF

_PIECE_OCTETS = 65_536
"""Larger chunks are cut, so that copies stay small."""

Algorithm = Literal["sha256", "sha1"]


class Canonicalization(Enum):
    """What may happen to a body on its way without breaking the hash."""

    SIMPLE = "simple"
    RELAXED = "relaxed"


class BodyHash(NamedTuple):
    """A hash that a signature wants of the body."""

    algorithm: Algorithm
    canonicalization: Canonicalization
    length: int | None = None
    """How many octets of the canonicalized body it covers (l=); None: all."""


class BodyHasher:
    """Computes several hashes of one body, in memory that does not depend on the body."""

    def __init__(self, wanted: Collection[BodyHash]) -> None:
        """Each canonicalization is done once, however many hashes want it."""
        self._digests = {one: _Digest(one) for one in wanted}
        self._bodies = {
            kind: _BODIES[kind]([d for w, d in self._digests.items() if w.canonicalization is kind])
            for kind in {one.canonicalization for one in wanted}
        }
        self._held = b""
        """A CR: only the next octet tells whether it is half of a line end."""

        self._is_line_open = False

    def write(self, chunk: bytes) -> None:
        """Take the next octets of the body, cut anywhere."""
        for start in range(0, len(chunk), _PIECE_OCTETS):
            self._write(chunk[start : start + _PIECE_OCTETS])

    def close(self) -> None:
        """Take note that the body has ended; to be called once, before any question."""
        if self._is_line_open:
            self._pass_on(self._held + b"\n")
        for body in self._bodies.values():
            body.close()

    def digest(self, wanted: BodyHash) -> bytes:
        """Return one of the hashes."""
        return self._digests[wanted].hash.digest()

    def octets(self, canonicalization: Canonicalization) -> int:
        """Return the length of the canonicalized body: no l= may exceed it (RFC 6376 §3.5)."""
        return self._bodies[canonicalization].octets

    def _write(self, piece: bytes) -> None:
        self._is_line_open = not piece.endswith(b"\n")
        piece = self._held + piece
        self._held = b"\r" if piece.endswith(b"\r") else b""
        self._pass_on((piece[:-1] if self._held else piece).replace(CRLF, b"\n"))

    def _pass_on(self, lines: bytes) -> None:
        for body in self._bodies.values():
            body.write(lines)


class _Digest:
    def __init__(self, wanted: BodyHash) -> None:
        # That SHA-1 is no longer secure is for whoever judges the signature (RFC 8301 §3.1).
        self.hash = hashlib.new(wanted.algorithm, usedforsecurity=False)
        self._left = wanted.length

    def update(self, octets: bytes) -> None:
        if self._left is None:
            self.hash.update(octets)
        elif self._left:
            octets = octets[: self._left]
            self._left -= len(octets)
            self.hash.update(octets)


class _SimpleBody:
    """RFC 6376 §3.4.3. Takes lines that end in LF, hashes lines that end in CRLF."""

    def __init__(self, digests: Collection[_Digest]) -> None:
        self.octets = 0
        self._digests = digests
        self._held_line_ends = 0

    def write(self, lines: bytes) -> None:
        """Hash all but the line ends at the end, which may be the end of the body."""
        content = lines.rstrip(b"\n")
        if content:
            self._release()
            self._hash(content.replace(b"\n", CRLF))
        self._held_line_ends += len(lines) - len(content)

    def close(self) -> None:
        """Of the line ends at the end one is left, even of an empty body."""
        self._hash(CRLF)

    def _release(self) -> None:
        # A mail may have millions of empty lines before its last word.
        while self._held_line_ends:
            count = min(self._held_line_ends, _PIECE_OCTETS)
            self._hash(CRLF * count)
            self._held_line_ends -= count

    def _hash(self, octets: bytes) -> None:
        self.octets += len(octets)
        for digest in self._digests:
            digest.update(octets)


class _RelaxedBody(_SimpleBody):
    """RFC 6376 §3.4.4."""

    _space = b""
    """A blank: only the next octet tells whether it stands at the end of a line."""

    def write(self, lines: bytes) -> None:
        """Make runs of blanks one space, and remove those at the ends of lines."""
        lines = _squeezed(self._space + lines.replace(b"\t", b" ")).replace(b" \n", b"\n")
        self._space = b" " if lines.endswith(b" ") else b""
        super().write(lines[:-1] if self._space else lines)

    def close(self) -> None:
        """An empty body stays empty."""
        if self.octets:
            super().close()


def _squeezed(text: bytes) -> bytes:
    """Return `text` with runs of spaces made one; each turn halves them, so few are needed."""
    while len(shorter := text.replace(b"  ", b" ")) < len(text):
        text = shorter
    return text


_BODIES = {Canonicalization.SIMPLE: _SimpleBody, Canonicalization.RELAXED: _RelaxedBody}
