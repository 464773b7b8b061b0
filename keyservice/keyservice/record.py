"""An answer as it rests in Redis: signed, short-lived, and without the mailbox's name.

Redis is not trusted. Whoever can write to it can at most withhold a record or replay one
for as long as the times inside the signature allow. Pure.
"""

import hashlib
import hmac

import msgspec

from keyservice.mailbox import Mailbox
from keyservice.wire import Answer

LIFETIME_MAX = 300
"""Seconds. No longer than this may a record be replayed by a Redis that was rolled back."""

RECORD_OCTETS_MAX = 65_536
"""More is not ours, and is not read into memory."""

CLOCK_TOLERANCE = 5
"""Seconds by which two hosts of one service may disagree."""

RECORD_PREFIX = "letterlock:answer:1:"
"""What the names of all records begin with, and of nothing else in Redis."""

_MAC_OCTETS = hashlib.sha256().digest_size
_answer_encoder = msgspec.json.Encoder()
_answer_decoder = msgspec.json.Decoder(Answer)


class BadRecord(ValueError):
    """What Redis returned must not be believed; ask the key service."""


def record_name(secret: bytes, mailbox: Mailbox) -> str:
    """Return the Redis key for `mailbox`; without `secret` it does not tell which one it is."""
    digest = hmac.digest(secret, b"letterlock name 1\0" + mailbox.key.encode(), "sha256")
    return RECORD_PREFIX + digest.hex()


def seal(secret: bytes, mailbox: Mailbox, answer: Answer) -> bytes:
    """Return the record for `answer`: HMAC-SHA256, then JSON."""
    body = _answer_encoder.encode(msgspec.structs.replace(answer, mailbox=""))
    return _mac(secret, mailbox, body) + body


def unseal(secret: bytes, mailbox: Mailbox, record: bytes, now: float) -> Answer:
    """Return the answer about `mailbox` that `record` holds, or raise BadRecord."""
    mac, body = record[:_MAC_OCTETS], record[_MAC_OCTETS:]
    # The mailbox is under the MAC: a genuine record under another mailbox's name is a forgery.
    if not hmac.compare_digest(mac, _mac(secret, mailbox, body)):
        raise BadRecord("forged")
    try:
        answer = _answer_decoder.decode(body)
    except msgspec.MsgspecError:
        raise BadRecord("written by another version") from None
    require_current(answer, now)
    return msgspec.structs.replace(answer, mailbox=mailbox.key)


def require_current(answer: Answer, now: float) -> None:
    """Raise BadRecord unless `answer` speaks for `now` and was made for no longer than allowed."""
    if answer.expires_at - answer.issued_at > LIFETIME_MAX:
        raise BadRecord("lives too long")
    if not answer.issued_at - CLOCK_TOLERANCE <= now < answer.expires_at:
        raise BadRecord("expired")


def _mac(secret: bytes, mailbox: Mailbox, body: bytes) -> bytes:
    # Neither a mailbox key nor what stands before it holds a NUL, so the parts cannot be shifted.
    name = mailbox.key.encode()
    return hmac.digest(secret, b"letterlock answer 1\0" + name + b"\0" + body, "sha256")
