"""The Autocrypt header field (Autocrypt Level 1, "The Autocrypt Header") of a mailbox of ours."""

import base64

from keyservice.client import Mailbox, PreferEncrypt
from letterlock.message import CRLF, HeaderField

FIELD_OCTETS_MAX = 10 * 1024
"""Level 1: larger ones must not be sent. Name, folds and line end included."""

_LINE_OCTETS = 76
_FOLD = CRLF + b" "


def autocrypt_field(
    mailbox: Mailbox, keydata: bytes, prefer_encrypt: PreferEncrypt
) -> HeaderField | None:
    """Return the field; None where it would be too large, or `mailbox` is not ASCII.

    `mailbox` is the one in From, with its extension: fields about another one do not count.
    `keydata`: five binary packets, as the key service gives them.
    """
    # Fields beyond ASCII cannot be written through libmilter's Python binding.
    if not mailbox.local_part.isascii():
        return None
    attributes = [b"addr=%b;" % str(mailbox).encode("ascii")]
    # Anything but `mutual` means no preference, and is not written.
    if prefer_encrypt is PreferEncrypt.MUTUAL:
        attributes.append(b"prefer-encrypt=mutual;")
    encoded = base64.b64encode(keydata)
    lines = [encoded[at : at + _LINE_OCTETS] for at in range(0, len(encoded), _LINE_OCTETS)]
    value = b" " + _FOLD.join([*attributes, b"keydata=", *lines])
    field = HeaderField(b"Autocrypt", value)
    return field if len(field.octets) <= FIELD_OCTETS_MAX else None
