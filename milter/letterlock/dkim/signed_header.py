"""The octets of a header section that a signature covers (RFC 6376 §3.7, RFC 8617 §5.1.1)."""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property

from dkim.canonicalization import Relaxed

from letterlock.dkim.body_hash import Canonicalization
from letterlock.message import CRLF, HeaderSection

_B_VALUE = re.compile(rb"((?:\A|;)\s*+b\s*+=)[^;]*+")


class SignedHeader:
    """A header section in its canonical forms; each field is canonicalized once at most.

    Selection and concatenation are not dkimpy's: its time grows with the product of the numbers
    of fields and of names, and it canonicalizes the section anew for every signature.
    """

    def __init__(self, section: HeaderSection) -> None:
        """A field of `section` is named by its index."""
        self._section = section

    def selected(
        self, names: Iterable[bytes], own: int, canonicalization: Canonicalization
    ) -> bytes:
        """Return the fields that h= selects (RFC 6376 §5.4.2), and the signature field `own`."""
        left = {name: list(indexes) for name, indexes in self._by_name.items()}
        left[self._section.keys[own]].remove(own)  # §3.7: it stands for itself, at the end
        chosen = [left[name].pop() for name in names if left.get(name)]
        return self.sequence(chosen, own, canonicalization)

    def sequence(
        self, indexes: Sequence[int], own: int, canonicalization: Canonicalization
    ) -> bytes:
        """Return these fields, and the signature field `own` without its signature."""
        pieces = self._simple if canonicalization is Canonicalization.SIMPLE else self._relaxed
        return b"".join(
            [*(pieces[index] for index in indexes), self._unsigned(own, canonicalization)]
        )

    @cached_property
    def _by_name(self) -> dict[bytes, list[int]]:
        found: dict[bytes, list[int]] = {}
        for index, key in enumerate(self._section.keys):
            found.setdefault(key, []).append(index)
        return found

    @cached_property
    def _simple(self) -> list[bytes]:
        return [b"%b:%b\r\n" % (field.name, field.value) for field in self._section]

    @cached_property
    def _relaxed(self) -> list[bytes]:
        pairs = Relaxed.canonicalize_headers([(f.name, f.value) for f in self._section])
        return [b"%b:%b" % pair for pair in pairs]

    def _unsigned(self, own: int, canonicalization: Canonicalization) -> bytes:
        """Return the field as it was when it was signed: b= empty, no line end (§3.7)."""
        field = self._section.fields[own]
        pair = field.name, _B_VALUE.sub(rb"\1", field.value, count=1)
        if canonicalization is Canonicalization.RELAXED:
            (pair,) = Relaxed.canonicalize_headers([pair])
        return b"%b:%b" % (pair[0], pair[1].removesuffix(CRLF))
