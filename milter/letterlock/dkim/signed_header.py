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
        self._pieces: dict[tuple[int, Canonicalization], bytes] = {}

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
        pieces = [self._piece(index, canonicalization) for index in indexes]
        return b"".join([*pieces, self._unsigned(own, canonicalization)])

    @cached_property
    def _by_name(self) -> dict[bytes, list[int]]:
        found: dict[bytes, list[int]] = {}
        for index, key in enumerate(self._section.keys):
            found.setdefault(key, []).append(index)
        return found

    def _piece(self, index: int, canonicalization: Canonicalization) -> bytes:
        key = index, canonicalization
        if key not in self._pieces:
            field = self._section.fields[index]
            self._pieces[key] = _canonical(field.name, field.value, canonicalization)
        return self._pieces[key]

    def _unsigned(self, own: int, canonicalization: Canonicalization) -> bytes:
        """Return the field as it was when it was signed: b= empty, no line end (§3.7)."""
        field = self._section.fields[own]
        value = _B_VALUE.sub(rb"\1", field.value, count=1)
        return _canonical(field.name, value, canonicalization).removesuffix(CRLF)


def _canonical(name: bytes, value: bytes, canonicalization: Canonicalization) -> bytes:
    if canonicalization is Canonicalization.RELAXED:
        return b"%b:%b" % Relaxed.canonicalize_headers([(name, value)])[0]
    return b"%b:%b\r\n" % (name, value)
