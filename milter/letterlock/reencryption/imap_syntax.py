"""Data of IMAP responses (RFC 3501 §4): atoms, strings, literals, lists; and mailbox names."""

import base64
import re
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from letterlock.reencryption.store import StoreFailed

Value: TypeAlias = "bytes | list[Value] | None"
"""Atoms and strings are octets, NIL is None."""

_TOKEN = re.compile(
    rb'[ ]*(?:(?P<open>\()|(?P<close>\))|"(?P<quoted>(?:[^"\\]|\\.)*)"'
    rb"|(?P<literal>\{[0-9]+\}$)"
    # Brackets hold blanks: BODY[HEADER.FIELDS (X)].
    rb'|(?P<atom>[^ ()"\[\{]+(?:\[[^\]]*\])?(?:<[0-9]+>)?))',
    re.DOTALL,
)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_SHIFTED = re.compile(r"&([A-Za-z0-9+,]*)-")


class Incomprehensible(StoreFailed):
    """The server said what no grammar knows. Holds nothing of it."""


def values(response: Iterable[bytes | tuple[bytes, bytes]]) -> Iterator[list[Value]]:
    """Yield the data of each untagged response, as imaplib returns several of them."""
    parts: list[bytes | tuple[bytes, bytes]] = []
    for part in response:
        parts.append(part)
        # What ends in a literal goes on in the next element.
        if isinstance(part, bytes):
            yield _parsed(parts)
            parts = []


def pairs(data: Value) -> dict[bytes, Value]:
    """Return a FETCH response's items by name, in capitals."""
    if not isinstance(data, list):
        raise Incomprehensible("not a list of items")
    names, items = data[::2], data[1::2]
    if len(names) != len(items):
        raise Incomprehensible("a name without an item")
    return {octets_of(name).upper(): item for name, item in zip(names, items, strict=True)}


def octets_of(value: Value) -> bytes:
    """Return an atom or a string; raises Incomprehensible for anything else."""
    if not isinstance(value, bytes):
        raise Incomprehensible("no string where one belongs")
    return value


def decoded_name(name: str) -> str:
    """Return a mailbox name as people write it (RFC 3501 §5.1.3)."""

    def plain(match: re.Match[str]) -> str:
        text = match[1].replace(",", "/")
        return base64.b64decode(text + "=" * (-len(text) % 4)).decode("utf-16-be") or "&"

    return _SHIFTED.sub(plain, name)


def quoted(text: str) -> bytes:
    """Return the octets that `text` was decoded from (`text_of`), as a quoted string."""
    return b'"%b"' % re.sub(rb'(["\\])', rb"\\\1", text.encode("ascii", "surrogateescape"))


def text_of(value: Value) -> str:
    """Return an atom or a string as text, whatever its octets are."""
    return octets_of(value).decode("ascii", "surrogateescape")


def _parsed(parts: list[bytes | tuple[bytes, bytes]]) -> list[Value]:
    root: list[Value] = []
    open_lists = [root]
    for part in parts:
        text, literal = part if isinstance(part, tuple) else (part.rstrip(b" "), None)
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise Incomprehensible("response not understood")
            at = match.end()
            match match.lastgroup:
                case "open":
                    inner: list[Value] = []
                    open_lists[-1].append(inner)
                    open_lists.append(inner)
                case "close" if len(open_lists) > 1:
                    open_lists.pop()
                case "quoted":
                    open_lists[-1].append(_ESCAPED.sub(rb"\1", match["quoted"]))
                case "literal":
                    open_lists[-1].append(literal)
                case "atom":
                    atom = match["atom"]
                    open_lists[-1].append(None if atom.upper() == b"NIL" else atom)
                case _:
                    raise Incomprehensible("parentheses do not match")
    return root
