"""DKIM-Signature fields for a message of ours (RFC 6376 §5, RFC 8463).

Written here rather than by dkimpy: its fold breaks a d= of more than 70 octets in the middle,
its RSA is pure Python (twenty times slower), and it canonicalizes all again for each key.
"""

import base64
import re
from collections.abc import Iterable, Iterator, Sequence

from letterlock.dkim.body_hash import BodyHash, BodyHasher, Canonicalization
from letterlock.dkim.signer import Signer
from letterlock.errors import SigningImpossible
from letterlock.message import CRLF, HeaderField

BODY_HASH = BodyHash("sha256", Canonicalization.RELAXED)
"""What `sign` wants of the body."""

_LINE_OCTETS = 76
_DAY_SECONDS = 86_400
_FIELD_NAME = b"DKIM-Signature"
_FOLD = CRLF + b" "

_OVERSIGNED = (
    # One more of these breaks the signature (RFC 6376 §8.15): what names, dates or shows the
    # message, and what its reader's program would learn a certificate from.
    b"from",
    b"to",
    b"cc",
    b"subject",
    b"date",
    b"reply-to",
    b"message-id",
    b"in-reply-to",
    b"references",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
    b"autocrypt",
    b"openpgp",
)

_SIGNED = frozenset(
    {
        *_OVERSIGNED,
        # Mailing lists add these to messages that they otherwise leave alone, so only those
        # that are there are signed (§5.4.1).
        b"sender",
        b"resent-date",
        b"resent-from",
        b"resent-sender",
        b"resent-to",
        b"resent-cc",
        b"resent-message-id",
        b"list-id",
        b"list-help",
        b"list-unsubscribe",
        b"list-unsubscribe-post",  # RFC 8058 §4
        b"list-subscribe",
        b"list-post",
        b"list-owner",
        b"list-archive",
        b"content-id",
        b"content-description",
        b"content-disposition",
        b"content-language",
        b"autocrypt-gossip",
    }
)

_BLANKS = re.compile(rb"[ \t]+")


def sign(
    section_fields: Sequence[HeaderField],
    body: BodyHasher,
    domain: str,
    signers: Sequence[Signer],
    now: int,
    days: int,
) -> list[HeaderField]:
    """Return one field for each of `signers`, to be put before all others, in this order.

    `body` is closed and was asked for BODY_HASH; `domain` is that of the From field, in
    A-labels; `now` in seconds since the epoch; the signatures expire after `days`, if that is
    not 0. Raises SigningImpossible without a From field or without a signer.
    """
    if not signers:
        raise SigningImpossible("no signer")
    fields = [(field.key, field) for field in section_fields]
    names = [key for key, _ in fields if key in _SIGNED] + list(_OVERSIGNED)
    if names.count(b"from") < 2:
        raise SigningImpossible("no From field")
    octets = b"".join(_selected(fields, names))
    body_hash = base64.b64encode(body.digest(BODY_HASH))
    return [
        _signed(_unsigned(signer, domain, now, days, names, body_hash), signer, octets)
        for signer in signers
    ]


def _selected(
    fields: Iterable[tuple[bytes, HeaderField]], names: Iterable[bytes]
) -> Iterator[bytes]:
    """Yield the canonical form of the field that each of `names` stands for."""
    instances: dict[bytes, list[HeaderField]] = {}
    for key, field in fields:
        instances.setdefault(key, []).append(field)
    for name in names:
        # From the bottom up; of a name that comes once too often, nothing (§5.4.2).
        if remaining := instances.get(name):
            yield _relaxed(remaining.pop()) + CRLF


def _relaxed(field: HeaderField) -> bytes:
    """Return the field as RFC 6376 §3.4.2 has it, without its line end."""
    return b"%b:%b" % (field.key, _BLANKS.sub(b" ", field.unfolded))


def _unsigned(
    signer: Signer, domain: str, now: int, days: int, names: Sequence[bytes], body_hash: bytes
) -> bytes:
    """Return the field body, complete but for the signature at its end (§3.5)."""
    lines = (
        b" v=1; a=%b; c=relaxed/relaxed; t=%d;" % (signer.algorithm.value, now),
        b"x=%d;" % (now + days * _DAY_SECONDS) if days else b"",
        b"d=%b;" % domain.encode("ascii"),
        b"s=%b;" % signer.selector.encode("ascii"),
        b"h=%b;" % _folded(b":".join(names)),
        b"bh=%b;" % body_hash,
        b"b=",
    )
    return _FOLD.join(filter(None, lines))


def _folded(names: bytes) -> bytes:
    """Return the list with folds after colons."""
    lines = [b""]
    for name in re.findall(rb"[^:]+:?", names):
        if len(lines[-1]) + len(name) > _LINE_OCTETS:
            lines.append(b"")
        lines[-1] += name
    return _FOLD.join(lines)


def _signed(value: bytes, signer: Signer, octets: bytes) -> HeaderField:
    # The field itself comes last, with nothing in its b= and no line end (§3.7).
    signature = signer.sign(octets + _relaxed(HeaderField(_FIELD_NAME, value)))
    encoded = base64.b64encode(signature)
    lines = (encoded[at : at + _LINE_OCTETS] for at in range(0, len(encoded), _LINE_OCTETS))
    return HeaderField(_FIELD_NAME, value + _FOLD + _FOLD.join(lines))
