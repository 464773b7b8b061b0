"""The Content-Type field body (RFC 2045 §5.1): understood strictly, or made understandable.

Mail clients disagree about whatever the grammar does not allow, and about some that it
does: comments, backslashes in quoted strings, duplicates. Where they could disagree about
our own parameters the field is written anew.
"""

import re
from typing import NamedTuple

from letterlock.message import HeaderField

_TOKEN = rb"[!#$%&'*+.0-9A-Z^_`a-z{|}~-]++"
_FWS = rb"[ \t]*+(?:\r?\n[ \t]++)?"
# Without backslash: Python's parser takes `"a\\"; x` for a string that goes on.
_QTEXT = rb"[\t !#-\[\]-~\x80-\xff]*+"
_QUOTED = rb'"%b(?:\r?\n[ \t]%b)*"' % (_QTEXT, _QTEXT)
_PARAMETER = rb";%b(%b)%b=%b(%b|%b)%b" % (_FWS, _TOKEN, _FWS, _FWS, _TOKEN, _QUOTED, _FWS)

_EACH_PARAMETER = re.compile(_PARAMETER)
_STRICT = re.compile(rb"%b(%b/%b)%b((?:%b)*);?%b" % (_FWS, _TOKEN, _TOKEN, _FWS, _PARAMETER, _FWS))
_TYPE = re.compile(rb"[ \t]*+(%b)[ \t]*+/[ \t]*+(%b)" % (_TOKEN, _TOKEN))
_IS_TOKEN = re.compile(_TOKEN)
_PIECE = re.compile(
    rb'"([^"\\]*+(?:\\.[^"\\]*+)*)(?:"|\\?\Z)'  # quoted string; one without end goes on to the end
    rb"|(?:(?<=[ \t;])|\A)(\()"  # comment; elsewhere a parenthesis is a careless sender's own
    rb'|(;)|[^";(]++|\(',
    re.DOTALL,
)
_COMMENT_PART = re.compile(rb"\\.|[()]|[^\\()]++|\\\Z", re.DOTALL)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_UNSAFE = re.compile(rb'[\x00-\x1f\x7f"\\]')


class ContentType(NamedTuple):
    """A media type and its parameters; names in lower case, values without quotes."""

    media_type: bytes
    parameters: tuple[tuple[bytes, bytes], ...]
    media_type_end: int
    """Offset in the field's value behind the media type."""


def strict(field: HeaderField) -> ContentType | None:
    """Return what `field` says, or None if parsers might not agree about it."""
    match = _STRICT.fullmatch(field.value)
    if match is None:
        return None
    parameters = tuple(
        (name.lower(), value.strip(b'"').replace(b"\r\n", b"").replace(b"\n", b""))
        for name, value in _EACH_PARAMETER.findall(match[2])
    )
    return ContentType(match[1].lower(), parameters, match.end(1))


def base_name(parameter: bytes) -> bytes:
    """Return `parameter` without RFC 2231 §3, §4 continuation and charset marks."""
    return parameter.partition(b"*")[0].strip().lower()


def rewritten(field: HeaderField, dropped: frozenset[bytes], ours: bytes) -> bytes:
    """Return the body of a strict Content-Type field that means what `field` seems to mean.

    `ours` follows the media type; parameters of a base name in `dropped`, comments and
    repeated parameters are left out. An unreadable media type is text/plain (RFC 2045 §5.2).
    """
    first, *others = _pieces(field.unfolded.replace(b"\r", b" ").replace(b"\n", b" "))
    match = _TYPE.match(first)
    lines = [b" " + (b"/".join(match.groups()) if match else b"text/plain"), ours]
    seen = set()
    for piece in others:
        name, equals, value = piece.partition(b"=")
        name = name.strip()
        is_parameter = equals and _IS_TOKEN.fullmatch(name)
        if not is_parameter or name.lower() in seen or base_name(name) in dropped:
            continue
        seen.add(name.lower())
        lines.append(name + b"=" + _written(value.strip()))
    return b";\r\n ".join(lines)


def _written(value: bytes) -> bytes:
    return value if _IS_TOKEN.fullmatch(value) else b'"' + value + b'"'


def _pieces(text: bytes) -> list[bytes]:
    """Return what stands between the semicolons, without quotes and comments."""
    pieces: list[list[bytes]] = [[]]
    at = 0
    while match := _PIECE.match(text, at):
        at = match.end()
        if match[2]:
            at = _comment_end(text, at)
        elif match[3]:
            pieces.append([])
        elif match[1] is not None:
            pieces[-1].append(_UNSAFE.sub(b"_", _QUOTED_PAIR.sub(rb"\1", match[1])))
        else:
            pieces[-1].append(_UNSAFE.sub(b" ", match[0]))
    return [b"".join(piece) for piece in pieces]


def _comment_end(text: bytes, at: int) -> int:
    depth = 1
    while depth and (match := _COMMENT_PART.match(text, at)):
        depth += {b"(": 1, b")": -1}.get(match[0], 0)
        at = match.end()
    return at
