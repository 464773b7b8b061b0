"""What is reported to the key service of a message that came in. Pure.

The report says what the message is; what that is worth is for the key service alone.

Most mail has no certificate with it, no Autocrypt field and no OpenPGP field. Autocrypt
wants such *silent* mail noted as well: a peer who has gone on without Autocrypt for 35
days should not be encrypted to by default (Level 1, "Updating Autocrypt Peer State", 2).
It is reported where silence means something, and not where anybody could bring it about:
the sender's own domain signed the mail, and neither a program wrote it nor a list, which
may have removed the field, passed it on. The reporter lets one a day through for each
sender: what counts is the month.

A mailing list that writes its own address into From is the sender; the Autocrypt field of
the author then speaks of another mailbox, and counts for nothing (Level 1 has no word on
lists). From a list that leaves From alone the field counts like any other: its domain
vouches for it if the list has left the signature whole.
"""

import re
from collections.abc import Sequence

from keyservice.client import (
    FIELD_OCTETS_MAX,
    FIELDS_MAX,
    InvalidMailbox,
    Mailbox,
    Report,
    Submitted,
    VerifiedSignature,
)
from letterlock import date_time
from letterlock.mailbox_list import addr_specs
from letterlock.message import HeaderSection

_REPORT = re.compile(rb"multipart[ \t]*+/[ \t]*+report(?![^ \t;(])", re.IGNORECASE)
"""RFC 6522. Its parameters do not matter, nor whether parsers agree about them."""

_KEYWORD_END = re.compile(rb"[ \t;(]")
"""RFC 3834 §5: comments and parameters may follow."""

_LIST_FIELDS = (b"list-id", b"list-post", b"list-unsubscribe")
"""RFC 2919, RFC 2369."""


def report(
    section: HeaderSection,
    received_at: int,
    signatures: Sequence[VerifiedSignature],
    is_spam: bool | None,
    attached: Sequence[bytes],
) -> Report | None:
    """Return what is to be reported; None: nothing. `received_at`: seconds since 1970.

    Of more signatures than a report holds the first are reported, of more fields nothing.
    """
    autocrypt, openpgp = _bodies(section, b"autocrypt"), _bodies(section, b"openpgp")
    senders = _senders(section)
    if senders is None or max(len(autocrypt), len(openpgp), len(senders)) > FIELDS_MAX:
        return None
    found = Report(
        from_fields=len(section.named(b"from")),
        from_addresses=senders,
        received_at=received_at,
        date=_date(section),
        signatures=tuple(signatures[:FIELDS_MAX]),
        is_spam=is_spam,
        is_automatic=_is_automatic(section),
        autocrypt_fields=autocrypt,
        openpgp_fields=openpgp,
        attached=tuple(attached),
    )
    return None if is_silent(found) and not _is_eloquent(found, section) else found


def submitted(section: HeaderSection, received_at: int) -> Submitted | None:
    """Return what a submission says of its author's own certificate; None: nothing."""
    autocrypt, senders = _bodies(section, b"autocrypt"), _senders(section)
    if not autocrypt or senders is None or max(len(autocrypt), len(senders)) > FIELDS_MAX:
        return None
    return Submitted(
        from_fields=len(section.named(b"from")),
        from_addresses=senders,
        received_at=received_at,
        date=_date(section),
        autocrypt_fields=autocrypt,
    )


def is_silent(found: Report) -> bool:
    """Whether all that `found` says is that there was mail."""
    return not (found.autocrypt_fields or found.openpgp_fields or found.attached)


def _is_eloquent(found: Report, section: HeaderSection) -> bool:
    """Whether it means something that a message is silent."""
    submitted = _auto_submitted(section)
    return (
        found.is_spam is not True
        and not found.is_automatic
        and (not submitted or submitted == [b"no"])
        and not any(section.named(key) for key in _LIST_FIELDS)
        and _is_signed_by_sender(found)
    )


def _is_signed_by_sender(found: Report) -> bool:
    if len(found.from_addresses) != 1:
        return False
    try:
        domain = Mailbox.parse(found.from_addresses[0]).domain
    except InvalidMailbox:
        return False
    return any(signature.domain.lower() == domain for signature in found.signatures)


def _bodies(section: HeaderSection, key: bytes) -> tuple[bytes, ...]:
    return tuple([field.value[:FIELD_OCTETS_MAX] for field in section.named(key)])


def _senders(section: HeaderSection) -> tuple[str, ...] | None:
    """Return the addr-specs in From; None if there are none that everybody reads alike."""
    lists = [addr_specs(field.unfolded) for field in section.named(b"from")]
    if not lists or None in lists:
        return None
    # They are ASCII (mailbox_list).
    return tuple([each.decode("ascii") for found in lists for each in found or ()])


def _date(section: HeaderSection) -> int | None:
    dates = [date_time.parse(field.unfolded) for field in section.named(b"date")]
    # RFC 5322 §3.6: exactly one. Of several nobody knows which one others see.
    only = dates[0] if len(dates) == 1 else None
    return None if only is None else int(only.timestamp())


def _is_automatic(section: HeaderSection) -> bool:
    types = section.named(b"content-type")
    return b"auto-replied" in _auto_submitted(section) or any(
        _REPORT.match(field.unfolded) for field in types
    )


def _auto_submitted(section: HeaderSection) -> list[bytes]:
    fields = section.named(b"auto-submitted")
    return [_KEYWORD_END.split(field.unfolded.lower(), 1)[0] for field in fields]
