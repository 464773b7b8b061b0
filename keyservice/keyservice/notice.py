"""What the owner of a mailbox is told about its certificate, as a mail. Pure.

Short and plain, and of all key material only fingerprints.
"""

import textwrap
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime
from enum import Enum
from typing import NamedTuple, assert_never

from keyservice.mailbox import Mailbox

_COLUMNS = 76
_INDENT = "    "


class NoticeKind(Enum):
    """What there is to tell."""

    ENROLLED = "enrolled"
    REPLACED = "replaced"
    WAITING = "waiting"
    WITHDRAWN = "withdrawn"
    REFUSED = "refused"
    EXPIRING = "expiring"
    CLIENT_ISSUED = "client_issued"
    """Somebody can submit mail as this mailbox now."""

    CLIENT_REVOKED = "client_revoked"


class NoticeResult(Enum):
    """What became of an attempt. Also the metric label."""

    SENT = "sent"
    DEFERRED = "deferred"
    """Postfix does not take it for this mailbox now: it has no usable certificate."""

    REFUSED = "refused"
    GIVEN_UP = "given_up"
    OBSOLETE = "obsolete"
    UNREACHABLE = "unreachable"
    """Postfix is not there."""


class Notice(NamedTuple):
    """One thing to tell the owner of one mailbox, once."""

    id: int
    mailbox: Mailbox
    kind: NoticeKind
    at: int
    """When it happened."""

    fingerprint: str
    other: str | None = None
    """The certificate that is replaced (REPLACED), or that is to be (WAITING)."""

    until: int | None = None
    """When the certificate ends (EXPIRING), or begins to be used (WAITING)."""

    reason: str | None = None


def compose(notice: Notice, sender: str) -> bytes:
    """Return the mail, CRLF line ends; `sender` is an addr-spec, "" for the domain's postmaster."""
    address = notice.mailbox.key
    sender = sender or f"postmaster@{notice.mailbox.domain}"
    mail = EmailMessage(policy=SMTP if address.isascii() else SMTPUTF8)
    mail["From"] = f"Letterlock <{sender}>"
    mail["To"] = address
    mail["Subject"] = _subject(notice)
    mail["Date"] = format_datetime(datetime.fromtimestamp(notice.at, UTC))
    # The same at every attempt: a notice that came twice can be known by it.
    mail["Message-ID"] = f"<notice-{notice.id}-{notice.at}@{notice.mailbox.domain}>"
    # RFC 3834 §5: nobody's out-of-office reply.
    mail["Auto-Submitted"] = "auto-generated"
    text = "\n\n".join(_wrapped(part) for part in (*_paragraphs(notice), _CLOSING)) + "\n"
    # 8 bits rather than base64: what is encrypted anyway can be read in its source.
    mail.set_content(text, charset="us-ascii" if text.isascii() else "utf-8", cte="8bit")
    return mail.as_bytes()


_CLOSING = (
    "This mail was made by your provider's mail server, and encrypted on arrival like all mail to "
    "you. It needs no reply."
)

_IF_NOT_YOU = (
    "If you did not want this, tell your provider at once: who has the secret key of that "
    "certificate can read what is encrypted to it."
)

_IF_NOT_YOUR_DEVICE = (
    "If you did not ask for one, tell your provider at once: who has it can send mail in your name."
)

_NO_MAIL = (
    "Without a certificate, mail to you is not accepted: senders are told to try again, for some "
    "days, and then they get it back. None is delivered in the clear."
)


_SUBJECTS = {
    NoticeKind.ENROLLED: "Your mail is encrypted to a certificate",
    NoticeKind.REPLACED: "Your mail is encrypted to another certificate",
    NoticeKind.WAITING: "Another certificate is to replace yours",
    NoticeKind.WITHDRAWN: "Your certificate is no longer used",
    NoticeKind.REFUSED: "Your certificate cannot be used any more",
    NoticeKind.EXPIRING: "Your certificate ends on {}",
    NoticeKind.CLIENT_ISSUED: "A client certificate for sending mail was issued for you",
    NoticeKind.CLIENT_REVOKED: "A client certificate of yours was revoked",
}


def _subject(notice: Notice) -> str:
    return _SUBJECTS[notice.kind].format(_day(notice.until))


def _paragraphs(notice: Notice) -> list[str]:
    address, certificate = notice.mailbox.key, _grouped(notice.fingerprint)
    since = f"since {_moment(notice.at)}"
    match notice.kind:
        case NoticeKind.ENROLLED:
            told = [f"Mail to {address} is encrypted, {since}, to", certificate, _IF_NOT_YOU]
        case NoticeKind.REPLACED:
            was = ["It was encrypted before to", _grouped(notice.other)] if notice.other else []
            what = f"Mail to {address} is encrypted, {since}, to"
            told = [what, certificate, *was, _IF_NOT_YOU]
        case NoticeKind.WAITING:
            told = _waiting(notice)
        case NoticeKind.WITHDRAWN:
            told = [f"Mail to {address} is not encrypted, {since}, to", certificate, _NO_MAIL]
        case NoticeKind.REFUSED:
            what = f"Mail to {address} cannot be encrypted, {since}, to"
            told = [what, certificate, f"Reason: {notice.reason or 'unknown'}", _NO_MAIL]
        case NoticeKind.EXPIRING:
            what = f"Mail to {address} is encrypted to"
            end = f"which ends on {_moment(notice.until)}. Extend it before, or make another one,"
            told = [what, certificate, f"{end} and give it to your provider.", _NO_MAIL]
        case NoticeKind.CLIENT_ISSUED:
            what = f"Mail can be sent as {address}, {since}, with the client certificate"
            told = [what, _colons(notice.fingerprint), _IF_NOT_YOUR_DEVICE]
        case NoticeKind.CLIENT_REVOKED:
            what = f"No mail can be sent as {address}, {since}, with the client certificate"
            told = [what, _colons(notice.fingerprint)]
        case _:
            assert_never(notice.kind)
    return told


def _waiting(notice: Notice) -> list[str]:
    when = f"on {_moment(notice.until)}" if notice.until else "after a delay"
    old = ["Until then it is encrypted as before, to", _grouped(notice.other)]
    return [
        f"Mail to {notice.mailbox.key} is to be encrypted, {when}, to",
        _grouped(notice.fingerprint),
        *(old if notice.other else []),
        "If you did not want this, tell your provider before that day.",
    ]


def _grouped(fingerprint: str | None) -> str:
    """Return a fingerprint as gpg prints it."""
    digits = (fingerprint or "").upper()
    return _INDENT + " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))


def _colons(fingerprint: str) -> str:
    """Return a SHA-256 fingerprint as mail clients show it, in two lines."""
    pairs = [fingerprint[at : at + 2].upper() for at in range(0, len(fingerprint), 2)]
    return _INDENT + " ".join(":".join(pairs[at : at + 16]) for at in range(0, len(pairs), 16))


def _wrapped(paragraph: str) -> str:
    indent = _INDENT if paragraph.startswith(_INDENT) else ""
    return textwrap.fill(paragraph, _COLUMNS, subsequent_indent=indent, break_on_hyphens=False)


def _day(seconds: int | None) -> str:
    return f"{datetime.fromtimestamp(seconds or 0, UTC):%Y-%m-%d}"


def _moment(seconds: int | None) -> str:
    return f"{datetime.fromtimestamp(seconds or 0, UTC):%Y-%m-%d %H:%M} UTC"
