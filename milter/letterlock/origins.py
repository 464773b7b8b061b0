"""The addresses that a message names as its origin. Pure.

MAIL FROM, and every mailbox in From, Sender, Resent-From and Resent-Sender: whatever a
reader, or a filter on his side, may take for the one who wrote or sent it.
"""

import re
from typing import NamedTuple

from keyservice.client import InvalidMailbox, Mailbox
from letterlock.aliases import Rules, has_route, with_domain
from letterlock.errors import PermanentError
from letterlock.mailbox_list import addr_specs
from letterlock.message import HeaderField, HeaderSection
from letterlock.reply import SMTPReply

NAMED_MAX = 50
"""Addresses in one message; each may cost questions to Postfix's tables."""

_RESENT = {b"resent-from": "Resent-From", b"resent-sender": "Resent-Sender"}
_TITLES = {b"from": "From", b"sender": "Sender", **_RESENT}
_SINGLE = frozenset({b"sender", b"resent-sender"})
"""RFC 5322 §3.6.2, §3.6.6: one mailbox; the other two are lists."""

# Parsers that end a line there would find other fields than we did: another From.
_STRAY = re.compile(rb"\r(?!\n)|\0")


class NotAllowed(PermanentError):
    """The message names an address that is not its sender's, or none that can be told."""

    reason = "sender_not_allowed"

    def __init__(self, rule: str) -> None:
        """`rule` is for the peer and for the log: nothing of the message, printable ASCII."""
        super().__init__(rule)
        # RFC 3463 §3.8, X.7.1: delivery not authorized.
        self.reply = SMTPReply(550, "5.7.1", rule)


class Origin(NamedTuple):
    """One address, and where it is named."""

    where: str
    address: Mailbox


def origins(reverse_path: str, section: HeaderSection, rules: Rules) -> list[Origin]:
    """Return all of them, the author's first: From's mailbox, or where it has several Sender's.

    Raises NotAllowed for what readers could read differently.
    """
    if _STRAY.search(section.octets):
        raise NotAllowed("Header section has a bare CR or NUL")
    found = _of_authors(section)
    for field in section.fields:
        if field.key in _RESENT:
            found += _in(field)
    # The null reverse-path claims to be nobody. Notifications and automatic replies need it
    # (RFC 8098 §3, RFC 3834 §3.3), and their From is asked for as in any other message.
    if reverse_path:
        found.append(_origin("MAIL FROM", with_domain(reverse_path, rules)))
    if len(found) > NAMED_MAX:
        raise NotAllowed("Too many addresses of origin")
    return found


def mailbox(text: str) -> Mailbox | None:
    """Return the mailbox that `text` names, if it is one that could be ours."""
    if not text.isprintable() or has_route(text):
        return None
    try:
        return Mailbox.parse(text)
    except InvalidMailbox:
        return None


def _of_authors(section: HeaderSection) -> list[Origin]:
    authors, senders = section.named(b"from"), section.named(b"sender")
    # RFC 5322 §3.6: what is there twice is read differently by different readers.
    if len(authors) != 1:
        raise NotAllowed("From must be there exactly once")
    if len(senders) > 1:
        raise NotAllowed("Sender must not be there twice")
    written, sent = _in(authors[0]), [origin for field in senders for origin in _in(field)]
    if len(written) == 1:
        return written + sent
    # RFC 5322 §3.6.2.
    if not sent:
        raise NotAllowed("From with several mailboxes needs a Sender")
    return sent + written


def _in(field: HeaderField) -> list[Origin]:
    # `addr_specs` takes no groups (RFC 6854) and no addresses beyond ASCII (RFC 6532): what
    # cannot be compared is not allowed.
    where, found = _TITLES[field.key], addr_specs(field.value)
    if field.key in _SINGLE and found is not None and len(found) != 1:
        raise NotAllowed(f"{where} must be one mailbox")
    if found is None:
        raise NotAllowed(f"{where} must be plain mailboxes")
    return [_origin(where, each.decode("ascii")) for each in found]


def _origin(where: str, text: str) -> Origin:
    address = mailbox(text)
    if address is None:
        raise NotAllowed(f"{where} has an address that cannot be served here")
    return Origin(where, address)
