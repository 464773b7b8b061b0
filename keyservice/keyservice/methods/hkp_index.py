"""The machine-readable index of a keyserver (draft-ietf-openpgp-hkp, "Machine Readable Index").

The draft's lines are records of fields with colons between them. Servers differ in what
they add and leave out; a line that cannot be understood is as good as absent. Pure.
"""

import re
from urllib.parse import unquote

import msgspec

from keyservice.certificate import addr_specs

USER_ID_OCTETS_MAX = 1024
"""As it is escaped. No mailbox that anybody looks for needs more."""

_FINGERPRINT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class Listed(msgspec.Struct, frozen=True):
    """One certificate, as the server describes it. Nobody has verified any of it."""

    fingerprint: str
    mailboxes: tuple[str, ...]
    """`Mailbox.key` of each user ID that names exactly one and is not withdrawn itself."""

    is_withdrawn: bool
    """Revoked, disabled or expired."""


def read(index: bytes) -> list[Listed]:
    """Return what the index lists, in its order, which means nothing.

    An entry under a key ID is left out: two certificates can have the same.
    """
    listed: list[Listed] = []
    current: tuple[str, bool, list[str]] | None = None
    for line in index.decode(errors="replace").splitlines():
        record, *fields = line.rstrip().split(":")
        match record:
            case "pub":
                listed += _closed(current)
                current = _opened(fields)
            case "uid" if current is not None:
                current[2].extend(_mailbox(fields))
    return listed + _closed(current)


def _opened(fields: list[str]) -> tuple[str, bool, list[str]] | None:
    # pub:<fingerprint>:<algo>:<keylen>:<creationdate>:<expirationdate>:<flags>
    identity = fields[0].lower().removeprefix("0x") if fields else ""
    return (identity, _is_withdrawn(fields, 5), []) if _FINGERPRINT.fullmatch(identity) else None


def _closed(entry: tuple[str, bool, list[str]] | None) -> list[Listed]:
    if entry is None:
        return []
    fingerprint, is_withdrawn, mailboxes = entry
    return [Listed(fingerprint, tuple(dict.fromkeys(mailboxes)), is_withdrawn)]


def _mailbox(fields: list[str]) -> tuple[str, ...]:
    # uid:<escaped uid string>:<creationdate>:<expirationdate>:<flags>
    if not fields or len(fields[0]) > USER_ID_OCTETS_MAX:
        return ()
    named = addr_specs(unquote(fields[0], errors="replace"))
    return named if len(named) == 1 and not _is_withdrawn(fields, 3) else ()


def _is_withdrawn(fields: list[str], at: int) -> bool:
    flags = fields[at] if len(fields) > at else ""
    return any(flag in flags for flag in "rde")
