"""Tag lists (RFC 6376 §3.2) and what stands in them."""

import base64
import re

import idna
from dkim.util import InvalidTagValueList, parse_tag_value

from letterlock.dkim.faults import Fault, Unacceptable

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_DIGITS = re.compile(rb"[0-9]{1,76}")


def tag_list(text: bytes) -> dict[bytes, bytes]:
    """Return the values by tag, runs of blanks made one. Raises Unacceptable.

    A tag that is there twice makes the list malformed.
    """
    try:
        # dkimpy's expressions take quadratic time for long runs of blanks: 28 s for one field.
        tags: dict[bytes, bytes] = parse_tag_value(b" ".join(text.split()))
    except InvalidTagValueList:
        raise Unacceptable(Fault.SYNTAX) from None
    return tags


def items(value: bytes) -> tuple[bytes, ...]:
    """Return the items of a list with colons, in lower case."""
    return tuple(item.strip().lower() for item in value.split(b":"))


def octets(value: bytes) -> bytes:
    """Return what a base64 value stands for; it may be folded anywhere. Raises Unacceptable."""
    try:
        return base64.b64decode(b"".join(value.split()), validate=True)
    except ValueError:
        raise Unacceptable(Fault.SYNTAX) from None


def number(value: bytes) -> int:
    """Return an unsigned number. Raises Unacceptable."""
    if not _DIGITS.fullmatch(value):
        raise Unacceptable(Fault.SYNTAX)
    return int(value)


def host_name(value: bytes) -> str:
    """Return a domain name or a part of one: lower case, A-labels (RFC 8616 §5).

    Raises Unacceptable.
    """
    try:
        text = value.decode().lower()
        name = text if text.isascii() else idna.encode(text).decode()
    except (UnicodeError, idna.IDNAError):
        raise Unacceptable(Fault.SYNTAX) from None
    if not _NAME.fullmatch(name):
        raise Unacceptable(Fault.SYNTAX)
    return name
