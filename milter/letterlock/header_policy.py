"""Header Confidentiality Policies (RFC 9788 §3.2): what stays readable outside.

A policy is a function of the name (lower case) and the unfolded body of a Non-Structural
Header Field; it returns the body to show outside, or None to show no such field.
`hcp_baseline` is RFC 9788 §3.2.1, `hcp_shy` is §3.2.2, `hcp_all` is ours (§3.4.1).
"""

import re
from collections.abc import Callable
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import assert_never

from keyservice.client import HeaderPolicy
from letterlock import date_time
from letterlock.header_protection import is_structural
from letterlock.mailbox_list import addr_specs

Policy = Callable[[bytes, bytes], bytes | None]

OBSCURED_SUBJECT = b"[...]"

_REMOVED = frozenset(
    {
        # Signatures over what is now inside (RFC 6376, RFC 8617, DomainKeys).
        b"dkim-signature",
        b"x-google-dkim-signature",
        b"domainkey-signature",
        # In the mailbox a certificate of the sender's belongs to the message inside; the draft
        # of gossip is for encrypted payloads only.
        b"autocrypt",
        b"autocrypt-gossip",
        # Only for payloads marked hp="cipher" (RFC 9788 §2.2, §4.2).
        b"hp-outer",
        # Copies of the Subject, which no policy could mean to leave.
        b"thread-topic",
        b"original-subject",
        b"x-original-subject",
    }
)


_FOR_PEERS = frozenset({b"autocrypt"})
"""Of those, what the peer's server and mail program look for outside (Autocrypt Level 1)."""

_FIELD_NAME = re.compile(r"[!-9;-~]+")
"""RFC 5322 §2.2."""


@lru_cache(maxsize=1024)
def must_go(key: bytes, *, leaves: bool = False) -> bool:
    """Whether a field of this name (lower case) never stays outside.

    `leaves`: of a message for a mailbox of somebody else.
    """
    if leaves and key in _FOR_PEERS:
        return False
    return key in _REMOVED or key.startswith((b"arc-", b"letterlock-")) or key == b"letterlock"


def is_keepable(name: str) -> bool:
    """Whether an operator may list `name` in `keep_outside`."""
    if not _FIELD_NAME.fullmatch(name):
        return False
    key = name.lower().encode()
    return not is_structural(key) and not must_go(key)


def policy_function(policy: HeaderPolicy) -> Policy:
    """Return the function that `policy` names."""
    match policy:
        case HeaderPolicy.HCP_BASELINE:
            return hcp_baseline
        case HeaderPolicy.HCP_SHY:
            return hcp_shy
        case HeaderPolicy.HCP_ALL:
            return hcp_all
        case _:
            assert_never(policy)


CONCERNED = frozenset({b"subject", b"comments", b"keywords", b"from", b"to", b"cc", b"date"})
"""The fields that the policies of RFC 9788 say anything about; ours is about all."""


def hcp_baseline(key: bytes, value: bytes) -> bytes | None:
    """RFC 9788 §3.2.1: the Subject is obscured, Comments and Keywords are removed."""
    match key:
        case b"subject":
            return OBSCURED_SUBJECT
        case b"comments" | b"keywords":
            return None
        case _:
            return value


def hcp_shy(key: bytes, value: bytes) -> bytes | None:
    """RFC 9788 §3.2.2: also no display names, and no time zone of the sender's."""
    match key:
        case b"from":
            found = addr_specs(value)
            return found[0] if found and len(found) == 1 else value
        case b"to" | b"cc":
            found = addr_specs(value)
            return b", ".join(found) if found else value
        case b"date":
            return _in_utc(value)
        case _:
            return hcp_baseline(key, value)


def hcp_all(key: bytes, value: bytes) -> bytes | None:
    """Nothing; `outer_header` adds what delivery needs."""
    return None


def hcp_baseline_but_subject(key: bytes, value: bytes) -> bytes | None:
    """For mail that arrived encrypted: its Subject travelled in clear, and may be the only one."""
    return value if key == b"subject" else hcp_baseline(key, value)


def _in_utc(value: bytes) -> bytes:
    then = date_time.parse(value)
    return value if then is None else rfc5322_date(then)


def rfc5322_date(then: datetime) -> bytes:
    """Return `then`, which is UTC, as a date-time (RFC 5322 §3.3)."""
    return format_datetime(then).encode()
