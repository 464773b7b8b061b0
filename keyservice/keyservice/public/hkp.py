"""HTTP Keyserver Protocol, version 1 (draft-ietf-openpgp-hkp): exact questions, no uploads.

A name is found if it is a whole mailbox, never by a part of it: an index over parts would be
a list of our users.
"""

import re
from collections.abc import Iterable
from enum import Enum
from typing import assert_never
from urllib.parse import quote

from litestar import Response, get, post
from litestar.exceptions import HTTPException, ValidationException
from litestar.params import FromQuery

from keyservice import packets, signature
from keyservice.keymaterial import created
from keyservice.packets import Component, Packet
from keyservice.public.replies import FromStore, keys, mailbox_in, no_certificate
from keyservice.published import Published, PublishedCertificate

_FINGERPRINT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_KEY_ID = re.compile(r"[0-9a-f]{16}")

_INTEGERS = frozenset({1, 2, 3, 16, 17})
"""RSA, ElGamal, DSA: the size is that of the first integer (RFC 9580 §5.5.5)."""

_CURVES = frozenset({18, 19, 22})
_CURVE_BITS = {
    "2b06010401da470f01": 255,
    "2a8648ce3d030107": 256,
    "2b81040022": 384,
    "2b81040023": 521,
}
"""Ed25519Legacy, NIST P-256, P-384 and P-521 by their OIDs (RFC 9580 §9.2)."""

_NATIVE_BITS = {27: 255, 28: 448}
"""Ed25519, Ed448."""


class Operation(Enum):
    """What can be asked for; `vindex` differs from `index` for people only."""

    GET = "get"
    INDEX = "index"
    VINDEX = "vindex"


@get("/pks/lookup", sync_to_thread=True)
def lookup(
    published: FromStore, op: FromQuery[str] = "", search: FromQuery[str] = ""
) -> Response[bytes]:
    """Return certificates in armor, or an index of them that machines can read."""
    if not op or not search:
        raise ValidationException("op and search are needed")
    try:
        operation = Operation(op)
    except ValueError:
        raise _not_implemented("of the operations there are get, index and vindex") from None
    found = _find(published, search)
    match operation:
        case Operation.GET:
            return keys(found)
        case Operation.INDEX | Operation.VINDEX:
            return _index(found)
        case _:
            assert_never(operation)


@post("/pks/add", sync_to_thread=False)
def add() -> None:
    """Refuse: what is published here is what the provider's own users enrolled."""
    raise _not_implemented("certificates are not taken here")


HANDLERS = (lookup, add)


def by_number(published: Published, number: str) -> PublishedCertificate | None:
    """Return a certificate by fingerprint or 64-bit key ID, in hexadecimal."""
    lowered = number.lower()
    if _FINGERPRINT.fullmatch(lowered):
        return published.by_fingerprint(lowered)
    # Shorter ones are not unique; anybody can make a certificate for a 32-bit key ID.
    return published.by_key_id(lowered) if _KEY_ID.fullmatch(lowered) else None


def _find(published: Published, search: str) -> tuple[PublishedCertificate, ...]:
    if search[:2].lower() == "0x":
        found = by_number(published, search[2:])
        return (found,) if found else ()
    return published.by_mailbox(mailbox_in(search))


def _index(found: Iterable[PublishedCertificate]) -> Response[bytes]:
    entries = [_entry(certificate) for certificate in found]
    if not entries:
        raise no_certificate()
    lines = [f"info:1:{len(entries)}", *(line for entry in entries for line in entry), ""]
    return Response("\n".join(lines).encode(), media_type="text/plain")


def _entry(certificate: PublishedCertificate) -> list[str]:
    primary, *rest = packets.components(packets.split(certificate.octets))
    flags = "r" if certificate.is_revoked else ""
    key = primary.packet
    fields: list[object] = [
        certificate.fingerprint.upper(),
        key.body[5],
        _bits(key) or "",
        created(key),
        certificate.not_after or "",
        flags,
    ]
    user_ids = [component for component in rest if component.packet.tag == packets.USER_ID]
    return [_line("pub", fields), *(_user_id(component, flags) for component in user_ids)]


def _bits(key: Packet) -> int | None:
    """Return the size of a key; None if its algorithm does not say."""
    # RFC 9580 §5.5.2: version 6 has the length of the key material before it.
    material = key.body[10:] if key.body[0] == 6 else key.body[6:]
    if key.body[5] in _INTEGERS:
        return int.from_bytes(material[:2], "big")
    if key.body[5] in _CURVES:
        return _CURVE_BITS.get(material[1 : 1 + material[0]].hex())
    return _NATIVE_BITS.get(key.body[5])


def _user_id(component: Component, flags: str) -> str:
    made_at = max((signature.read(s).made_at or 0 for s in component.signatures), default=0)
    return _line("uid", [quote(component.packet.body, safe=""), made_at or "", "", flags])


def _line(record: str, fields: Iterable[object]) -> str:
    return ":".join([record, *map(str, fields)])


def _not_implemented(reason: str) -> HTTPException:
    return HTTPException(reason, status_code=501)
