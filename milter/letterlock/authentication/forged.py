"""Authentication-Results fields that strangers wrote in our name (RFC 8601 §5).

A mail client looks for our authserv-id and believes what follows. Clients read malformed fields
in different ways: whatever one of them could take for ours goes.
"""

import re
import unicodedata

import idna

from letterlock.message import HeaderSection

FIELD = b"authentication-results"

_PIECES = re.compile(r'\\.|\\|[();"]|[^\\();"]+', re.DOTALL)
_WORDS = re.compile(r"[^\s\0;()<>\[\]{}\"'\\,=/@:|]+")
_COMMENT = "\0"


def forged_fields(section: HeaderSection, authserv_id: str) -> frozenset[int]:
    """Return the indexes of the fields in `section` that claim to be of `authserv_id`.

    ARC-Authentication-Results is no such field: its name is different, and seals cover it.
    """
    return frozenset(
        index
        for index, key in enumerate(section.keys)
        if key == FIELD and claims(section.fields[index].value, authserv_id)
    )


def claims(value: bytes, authserv_id: str) -> bool:
    """Whether somebody could read `authserv_id` as the one of the field body `value`."""
    text = _plain(value.decode(errors="replace"))
    segments, is_whole = _segments(text)
    if not is_whole:
        # A comment or a string without an end: anything may be taken for the beginning.
        segments = [text]
    head, raw = _first(segments), _first(text.split(";"))
    if "=?" in head + raw:
        return True  # an encoded word: it has no place there, and some decode it (RFC 2047 §5)
    # A comment separates words, but there is code that simply cuts comments out.
    heads = (head.replace(_COMMENT, " "), head.replace(_COMMENT, ""))
    words = {word for one in heads for word in _WORDS.findall(_joined(one))}
    # And there is code that knows no comments. In `raw` they may name us without a claim.
    words.update(_WORDS.findall(raw)[:1])
    sought = authserv_id.casefold().strip(".")
    return any(_host(word) == sought for word in words)


def _plain(text: str) -> str:
    """Return `text` in lower case, without what is invisible."""
    shown = (c for c in unicodedata.normalize("NFKC", text) if not _is_invisible(c))
    return _joined("".join(shown)).casefold()


def _joined(text: str) -> str:
    """Return `text` without blanks around dots (RFC 5322 §4.4), and at its ends."""
    return ".".join(part.strip() for part in text.split("."))


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf") and not character.isspace()


def _first(segments: list[str]) -> str:
    """Return the first that has anything in it: some skip what is empty."""
    return next((segment for segment in segments if _WORDS.search(segment)), "")


def _host(word: str) -> str:
    word = word.strip(".")
    if word.isascii():
        return word
    try:
        return idna.encode(word, uts46=True).decode()
    except idna.IDNAError:
        return word


def _segments(text: str) -> tuple[list[str], bool]:
    """Return what stands between semicolons, and whether all comments and strings have an end.

    Strings and quoted pairs are taken for what they stand for, comments become _COMMENT.
    """
    segments: list[list[str]] = [[]]
    depth = 0
    is_quoted = False
    for piece in _PIECES.findall(text):
        if piece == '"' and not depth:
            is_quoted = not is_quoted
        elif is_quoted:
            segments[-1].append(piece.removeprefix("\\"))
        elif piece == "(":
            segments[-1].append(_COMMENT)
            depth += 1
        elif piece == ")" and depth:
            depth -= 1
        elif piece == ";" and not depth:
            segments.append([])
        elif not depth:
            segments[-1].append(piece.removeprefix("\\"))
    return ["".join(pieces) for pieces in segments], not depth and not is_quoted
