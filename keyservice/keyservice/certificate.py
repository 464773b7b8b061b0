"""A certificate as plain facts, and whether mail may be encrypted with it. Pure.

The facts come from the vetting child and are stored; they hold for as long as the
policies behind them (hash functions, key sizes) do, therefore certificates are vetted
again every day. Time alone is checked here, at each answer.
"""

from enum import Enum

import msgspec

from keyservice.mailbox import InvalidMailbox, Mailbox
from keyservice.wire import EncryptionSubkey


class RefusalReason(Enum):
    """Why a certificate must not be used. Also the metric label."""

    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    NOT_ONE_CERTIFICATE = "not_one_certificate"
    SECRET_KEY = "secret_key"  # noqa: S105 (a reason, no password)
    UNSUPPORTED = "unsupported"
    REVOKED = "revoked"
    EXPIRED = "expired"
    WEAK_HASH = "weak_hash"
    WEAK_KEY = "weak_key"
    NO_USER_ID = "no_user_id"
    FOREIGN_MAILBOX = "foreign_mailbox"
    UNBOUND_USER_ID = "unbound_user_id"
    SEVERAL_MAILBOXES = "several_mailboxes"
    NO_ENCRYPTION_SUBKEY = "no_encryption_subkey"
    VETTING_TIMEOUT = "vetting_timeout"
    VETTING_FAILED = "vetting_failed"


TRANSIENT = frozenset({RefusalReason.VETTING_TIMEOUT, RefusalReason.VETTING_FAILED})
"""These say something about this host, not about the certificate."""


class Refusal(msgspec.Struct, frozen=True):
    """A reason and one sentence for the person who can do something about it."""

    reason: RefusalReason
    detail: str


class RejectedCertificate(Exception):
    """The certificate must not be used."""

    def __init__(self, reason: RefusalReason, detail: str) -> None:
        """Keep the reason; `detail` never holds octets of the certificate."""
        super().__init__(detail)
        self.refusal = Refusal(reason, detail)


def secret_key_refused() -> RejectedCertificate:
    """Return what to raise at the first sign of secret key material."""
    return RejectedCertificate(
        RefusalReason.SECRET_KEY,
        "this is a secret key; nothing of it was kept, export the public certificate instead",
    )


class RefusedSubkey(msgspec.Struct, frozen=True):
    """An encryption subkey that is not encrypted to."""

    fingerprint: str
    reason: str


class RefusedUserID(msgspec.Struct, frozen=True):
    """A user ID that does not count."""

    addr_spec: str | None
    """The mailbox it names, or None if it does not name exactly one."""

    reason: RefusalReason


class Certificate(msgspec.Struct, frozen=True):
    """What vetting found. `refusal` is about all of it, whoever the mail is for."""

    fingerprint: str
    version: int
    user_ids: tuple[str, ...] = ()
    """`Mailbox.key` of each mailbox in a user ID that is bound and not revoked."""

    refused_user_ids: tuple[RefusedUserID, ...] = ()
    subkeys: tuple[EncryptionSubkey, ...] = ()
    refused_subkeys: tuple[RefusedSubkey, ...] = ()
    not_after: int | None = None
    """The primary key's end; that of each subkey is in `subkeys`, and never later."""

    refusal: Refusal | None = None


def require_usable(certificate: Certificate, mailbox: Mailbox, at: float) -> None:
    """Raise RejectedCertificate unless mail to `mailbox` may be encrypted with it at `at`.

    1. vetting found nothing against it, 2. a bound user ID names the mailbox, 3. neither
    the primary key nor every encryption subkey has expired.
    """
    if certificate.refusal is not None:
        raise RejectedCertificate(certificate.refusal.reason, certificate.refusal.detail)
    if mailbox.key not in certificate.user_ids:
        raise _unnamed(certificate, mailbox)
    if certificate.not_after is not None and at >= certificate.not_after:
        raise RejectedCertificate(RefusalReason.EXPIRED, "the primary key has expired")
    if not alive_subkeys(certificate, at):
        raise RejectedCertificate(RefusalReason.EXPIRED, "every encryption subkey has expired")


def alive_subkeys(certificate: Certificate, at: float) -> tuple[EncryptionSubkey, ...]:
    """Return the encryption subkeys that have not expired at `at`."""
    return tuple(s for s in certificate.subkeys if s.not_after is None or at < s.not_after)


def usable_until(certificate: Certificate) -> int | None:
    """Return the second from which nothing can be encrypted to it; None: no end was set."""
    ends = [subkey.not_after for subkey in certificate.subkeys] or [certificate.not_after]
    return None if None in ends else max(end for end in ends if end is not None)


def addr_specs(user_id: str) -> tuple[str, ...]:
    """Return `Mailbox.key` of every mailbox that `user_id` can be read to name.

    A user ID is free text (RFC 9580 §5.11). Clients differ in which address they take
    from one with two, so whoever asks must insist on exactly one.
    """
    found = dict.fromkeys(
        mailbox.key
        for word in user_id.replace("<", " ").replace(">", " ").replace(",", " ").split()
        if "@" in word and (mailbox := _mailbox(word.strip("\"'();:"))) is not None
    )
    return tuple(found)


def _mailbox(word: str) -> Mailbox | None:
    try:
        return Mailbox.parse(word)
    except InvalidMailbox:
        return None


def _unnamed(certificate: Certificate, mailbox: Mailbox) -> RejectedCertificate:
    for user_id in certificate.refused_user_ids:
        if user_id.addr_spec == mailbox.key:
            return RejectedCertificate(
                user_id.reason, "the user ID with this mailbox is not bound to the certificate"
            )
    for user_id in certificate.refused_user_ids:
        if user_id.reason is RefusalReason.SEVERAL_MAILBOXES:
            return RejectedCertificate(
                user_id.reason, "no user ID names exactly one mailbox, this one"
            )
    return RejectedCertificate(RefusalReason.FOREIGN_MAILBOX, "no user ID names this mailbox")
