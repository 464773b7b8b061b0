"""RFC 5322 §3.4 mailbox-lists: the addr-specs in one, if it is one."""

import re

_ATEXT = rb"[^\x00-\x20\x7f()<>\[\]:;@\\,.\"]"
_TOKENS = re.compile(
    rb"(?P<blank>[ \t\r\n]++)"
    rb'|(?P<quoted>"[^"\\\r\n\0]*+(?:\\[^\r\n\0][^"\\\r\n\0]*+)*")'
    rb"|(?P<atom>%b++)"
    rb"|(?P<literal>\[[^\[\]\\\x00-\x20\x7f]*+\])"
    rb"|(?P<comment>\()"
    rb"|(?P<special>[<>@,.])" % _ATEXT
)
_COMMENT_PART = re.compile(rb"\\.|[()]|[^\\()]++", re.DOTALL)

# The kinds of a mailbox's tokens, one letter each: atom, quoted string, literal, specials.
_DOT_ATOM = r"a(?:\.a)*"
_ADDR_SPEC = rf"(?:{_DOT_ATOM}|q)@(?:{_DOT_ATOM}|l)"
_MAILBOX = re.compile(rf"(?:[aq][aq.]*+)?<(?P<angle>{_ADDR_SPEC})>|(?P<bare>{_ADDR_SPEC})")
_KINDS = {"atom": "a", "quoted": "q", "literal": "l"}


def addr_specs(value: bytes) -> list[bytes] | None:
    """Return the addr-spec of each mailbox of a mailbox-list; None if `value` is no such list.

    Groups and source routes are no mailboxes. Comments are dropped, and the addr-specs must
    be printable ASCII: octets above could not be written outside.
    """
    tokens = _tokens(value)
    if tokens is None:
        return None
    found = []
    mailbox: list[tuple[str, bytes]] = []
    for kind, text in [*tokens, (",", b",")]:
        if kind != ",":
            mailbox.append((kind, text))
            continue
        addr_spec = _addr_spec(mailbox)
        if addr_spec is None:
            return None
        found.append(addr_spec)
        mailbox = []
    return found


def _addr_spec(mailbox: list[tuple[str, bytes]]) -> bytes | None:
    match = _MAILBOX.fullmatch("".join(kind for kind, _ in mailbox))
    if match is None:
        return None
    start, end = match.span(match.lastgroup or 0)
    addr_spec = b"".join(text for _, text in mailbox[start:end])
    return addr_spec if all(0x20 <= octet <= 0x7E for octet in addr_spec) else None


def _tokens(value: bytes) -> list[tuple[str, bytes]] | None:
    tokens = []
    at = 0
    while at < len(value):
        match = _TOKENS.match(value, at)
        if match is None:
            return None
        at = match.end()
        kind = match.lastgroup or ""
        if kind == "comment":
            at = _comment_end(value, at)
        elif kind != "blank":
            tokens.append((_KINDS.get(kind, match[0].decode("latin-1")), match[0]))
    return tokens if at == len(value) else None


def _comment_end(value: bytes, at: int) -> int:
    """Return the offset behind the comment; beyond the end of `value` if it has none."""
    depth = 1
    while depth:
        match = _COMMENT_PART.match(value, at)
        if match is None:
            return len(value) + 1
        depth += {b"(": 1, b")": -1}.get(match[0], 0)
        at = match.end()
    return at
