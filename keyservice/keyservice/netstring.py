"""Netstrings (cr.yp.to/proto/netstrings.txt): `5:hello,`. Pure."""

LENGTH_DIGITS_MAX = 9


class NotNetstring(ValueError):
    """What came is no netstring, or too long; where the next one would begin is not known."""


def encode(octets: bytes) -> bytes:
    """Return `octets` as a netstring."""
    return b"%d:%b," % (len(octets), octets)


class Decoder:
    """Takes netstrings apart as they come in; holds at most one of `octets_max` octets."""

    def __init__(self, octets_max: int) -> None:
        """Refuse longer ones as soon as their length is known."""
        self._octets_max = octets_max
        self._buffer = bytearray()

    def feed(self, octets: bytes) -> list[bytes]:
        """Return what is complete now. Raises NotNetstring, and is of no use afterwards."""
        self._buffer += octets
        complete = []
        while (end := self._end()) is not None:
            start = self._buffer.index(b":") + 1
            complete.append(bytes(self._buffer[start : end - 1]))
            del self._buffer[:end]
        return complete

    def _end(self) -> int | None:
        """Return where the first netstring ends, None if more must come."""
        colon = self._buffer.find(b":", 0, LENGTH_DIGITS_MAX + 1)
        digits = bytes(self._buffer[: colon if colon >= 0 else LENGTH_DIGITS_MAX + 1])
        # No sign, no blank, no leading zero: int() would take them.
        if digits and (not digits.isdigit() or (digits[:1] == b"0" and digits != b"0")):
            raise NotNetstring("no length")
        if colon < 0:
            if len(digits) > LENGTH_DIGITS_MAX:
                raise NotNetstring("no end of the length")
            return None
        if not digits or int(digits) > self._octets_max:
            raise NotNetstring("no length, or too long")
        end = colon + int(digits) + 2
        if len(self._buffer) < end:
            return None
        if self._buffer[end - 1 : end] != b",":
            raise NotNetstring("no comma at the end")
        return end
